"""Text of others in a prompt, put there so that nothing in it becomes a special token.

A judge must read what an answer says and not obey it: an answer that holds `<|eot_id|>` would otherwise end the turn
that it stands in, and go on as somebody else.
"""

from __future__ import annotations

import json
import re
import secrets
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import ModelError, RenderError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REQUEST, ANSWER = "HOLDFAST-REQUEST", "HOLDFAST-ANSWER"
"""Where a prompt template takes the request and the answer. No chat template writes these words by itself."""

LOOK_ALIKES = str.maketrans("<＜﹤>＞﹥[［]］", "‹‹‹›››⟦⟦⟧⟧")
"""Brackets of special tokens → brackets that look alike and mark nothing."""


ROUNDS = 3
"""How often special tokens are looked for in a text: what one leaves behind can be part of another."""


def disarmed(mark: str) -> str:
    """A special token's text in a form that reads alike and is no special token."""
    changed = mark.translate(LOOK_ALIKES)
    return changed if changed != mark else f"{mark[0]}·{mark[1:]}"


def escaped(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """A text in which every special token of the tokenizer, and what looks like one, is `disarmed`.

    Raises:
        RenderError: the tokenizer has special tokens that stay in the text whatever is done, e.g. a single letter.
    """
    added = tokenizer.added_tokens_decoder.values()
    special = (str(entry.content) for entry in added if entry.special or entry.content[:1] in ("<", "["))
    marks = sorted({mark for mark in special if mark.strip()}, key=lambda mark: (-len(mark), mark))
    for _ in range(ROUNDS):
        for mark in marks:
            text = text.replace(mark, disarmed(mark))
        if not any(mark in text for mark in marks):
            return text
    raise RenderError(
        f"the text holds special tokens of {tokenizer.name_or_path!r} that cannot be written in another way, such as "
        f"{next(mark for mark in marks if mark in text)!r}"
    )


class PromptError(Exception):
    """Why a request and an answer cannot be put into a prompt."""


@dataclass(frozen=True, eq=False)
class PromptTemplate:
    """A tokenizer, and the whole text of a prompt with `REQUEST` and `ANSWER` in it, once each and in this order."""

    tokenizer: PreTrainedTokenizerBase
    text: str

    @cached_property
    def marks(self) -> dict[str, int]:
        """Text → id of the tokens that must not come out of a request or an answer.

        They are the special tokens, and other added tokens that the prompt's own text contains.
        """
        added = self.tokenizer.added_tokens_decoder.items()
        return {
            str(entry.content): token
            for token, entry in added
            if entry.special or (entry.content.strip() and entry.content in self.text)
        }

    @cached_property
    def _renamed(self) -> _RenamedTokenizer:
        return _rename_marks(self.tokenizer, frozenset(self.marks))

    @cached_property
    def _parts(self) -> tuple[str, str, str]:
        """The text before the request, between request and answer, and after the answer, with the marks renamed."""
        pattern = "|".join(re.escape(mark) for mark in sorted(self.marks, key=len, reverse=True))
        text = re.sub(pattern, lambda match: self._renamed.names[match[0]], self.text) if pattern else self.text
        before, _, rest = text.partition(REQUEST)
        between, _, after = rest.partition(ANSWER)
        return before, between, after

    @cached_property
    def _n_marks(self) -> int:
        return sum("".join(self._parts).count(name) for name in self._renamed.names.values())

    def ids(self, request: str, answer: str) -> list[int]:
        """Token ids of the whole prompt, split as the tokenizer itself splits it.

        Raises:
            PromptError: a special token came out of the request or the answer in spite of everything.
        """
        before, between, after = self._parts
        text = f"{before}{request}{between}{answer}{after}".encode(errors="replace").decode()
        renamed_ids = self._renamed.backend.encode(text, add_special_tokens=False).ids
        ids = [self._renamed.original_ids.get(token, token) for token in renamed_ids]
        mark_ids = set(self.marks.values())
        if sum(token in mark_ids for token in ids) != self._n_marks:
            raise PromptError("the request or the answer holds special tokens that cannot be read as plain text")
        return ids

    def ids_within(self, limit: int, request: str, answer: str) -> tuple[list[int], int]:
        """As `ids`, with as much of the answer's beginning as fits into `limit` tokens; and the characters left out.

        Raises:
            PromptError: as `ids`; or the request alone does not fit.
        """
        ids = self.ids(request, answer)
        if len(ids) <= limit:
            return ids, 0
        most = limit
        while most < len(answer) and len(self.ids(request, answer[:most])) <= limit:
            most *= 2
        parts = range(min(most, len(answer)))
        length = bisect_right(parts, limit, key=lambda n: len(self.ids(request, answer[:n]))) - 1
        while length > 0 and len(self.ids(request, answer[:length])) > limit:  # a longer text can take fewer tokens
            length -= 1
        if length <= 0:
            raise PromptError(
                f"the request leaves no room for the answer in the {limit} tokens that the judge can read"
            )
        return self.ids(request, answer[:length]), len(answer) - length

    def check(self) -> None:
        """Make sure that harmless texts become exactly the tokens that the tokenizer itself makes of them.

        Raises:
            ModelError: they do not.
        """
        request, answer = "What is moss?", "A small plant."
        text = self.text.replace(REQUEST, request).replace(ANSWER, answer)
        if self.ids(request, answer) != self.tokenizer(text, add_special_tokens=False)["input_ids"]:
            raise ModelError(
                f"the tokenizer of {self.tokenizer.name_or_path} splits a text differently when its special tokens "
                "have other names, so special tokens inside an answer could not be told from the template's."
            )


@dataclass(frozen=True, eq=False)
class _RenamedTokenizer:
    """A copy of a tokenizer whose special tokens have other names."""

    backend: Any
    names: dict[str, str]
    """A special token's text → its name in this copy. The names are random, so no answer can hold one."""
    original_ids: dict[int, int]
    """Token id in this copy → the id in the original."""


@lru_cache(maxsize=16)
def _rename_marks(tokenizer: PreTrainedTokenizerBase, marks: frozenset[str]) -> _RenamedTokenizer:
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path} is no fast one (tokenizer.json), so special tokens inside an "
            "answer could not be told from the template's."
        )
    nonce = secrets.token_hex(8)
    names = {mark: f"\ue000{nonce}-{number}\ue001" for number, mark in enumerate(sorted(marks))}
    description = json.loads(backend.to_str())
    for entry in description["added_tokens"]:
        entry["content"] = names.get(entry["content"], entry["content"])
    renamed = Tokenizer.from_str(json.dumps(description))
    renamed.no_truncation()
    renamed.no_padding()
    original_ids = {int(renamed.token_to_id(e["content"]) or 0): int(e["id"]) for e in description["added_tokens"]}
    return _RenamedTokenizer(renamed, names, original_ids)
