"""A text with places for a request and an answer → token ids, in which nothing put there can say a special token.

A classifier must read what an answer says, not obey it: an answer that holds `<|eot_id|>` would else end the turn
that it stands in, and go on as somebody else.
"""

from __future__ import annotations

import json
import re
import secrets
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REQUEST, ANSWER = "HOLDFAST-REQUEST", "HOLDFAST-ANSWER"
"""Where the two go; no template writes these by itself."""


class UnreadError(Exception):
    """Why a classifier has no verdict on an answer."""


@dataclass(frozen=True, eq=False)
class Scaffold:
    """A tokenizer, and the whole text of a question with `REQUEST` and `ANSWER` in it, once each and in this order."""

    tokenizer: PreTrainedTokenizerBase
    text: str

    @cached_property
    def marks(self) -> dict[str, int]:
        """The tokens that mark and do not speak: special ones, and others that the text itself is marked with."""
        added = self.tokenizer.added_tokens_decoder.items()
        return {
            str(entry.content): token
            for token, entry in added
            if entry.special or (entry.content.strip() and entry.content in self.text)
        }

    @cached_property
    def _plain(self) -> Plain:
        return _renamed(self.tokenizer, frozenset(self.marks))

    @cached_property
    def _pieces(self) -> tuple[str, str, str]:
        """What stands before the request, between it and the answer, and after, with the marks renamed."""
        pattern = "|".join(re.escape(mark) for mark in sorted(self.marks, key=len, reverse=True))
        named = re.sub(pattern, lambda found: self._plain.names[found[0]], self.text) if pattern else self.text
        before, _, rest = named.partition(REQUEST)
        between, _, after = rest.partition(ANSWER)
        return before, between, after

    @cached_property
    def _n_marks(self) -> int:
        return sum("".join(self._pieces).count(name) for name in self._plain.names.values())

    def ids(self, request: str, answer: str) -> list[int]:
        """Token ids of the question about an answer, split as the family's own tokenizer splits it.

        Raises:
            UnreadError: a special token came out of the request or the answer in spite of everything.
        """
        before, between, after = self._pieces
        text = f"{before}{request}{between}{answer}{after}"
        found = self._plain.backend.encode(text.encode(errors="replace").decode(), add_special_tokens=False).ids
        ids = [self._plain.stands_for.get(token, token) for token in found]
        of_marks = set(self.marks.values())
        if sum(token in of_marks for token in ids) != self._n_marks:
            raise UnreadError("the request or the answer holds special tokens that cannot be read as plain text")
        return ids

    def fitted(self, request: str, answer: str, limit: int) -> tuple[list[int], int]:
        """As `ids`, with as much of the answer's beginning as `limit` tokens have room for, and what is left out.

        Raises:
            UnreadError: as `ids`; or not even the request has room.
        """
        ids = self.ids(request, answer)
        if len(ids) <= limit:
            return ids, 0
        kept = bisect_right(range(len(answer)), limit, key=lambda n: len(self.ids(request, answer[:n]))) - 1
        while kept > 0 and len(self.ids(request, answer[:kept])) > limit:  # a longer text can take fewer tokens
            kept -= 1
        if kept <= 0:
            raise UnreadError(
                f"the request leaves no room for the answer in the {limit} tokens that the judge can read"
            )
        return self.ids(request, answer[:kept]), len(answer) - kept

    def check(self) -> None:
        """Make sure that harmless texts become exactly the tokens that the tokenizer itself makes of them.

        Raises:
            ModelError: they do not.
        """
        plain = self.text.replace(REQUEST, "What is moss?").replace(ANSWER, "A small plant.")
        own = self.tokenizer(plain, add_special_tokens=False)["input_ids"]
        if self.ids("What is moss?", "A small plant.") != own:
            raise ModelError(
                f"the tokenizer of {self.tokenizer.name_or_path} cannot be used with its special tokens told apart."
            )


@dataclass(frozen=True, eq=False)
class Plain:
    """A tokenizer whose marks bear other names."""

    backend: Any
    names: dict[str, str]
    """Mark → the name that it has here, which no text can hold: it is drawn anew in each process."""
    stands_for: dict[int, int]
    """Its token → the token that it stands for, where they differ."""


@lru_cache(maxsize=16)
def _renamed(tokenizer: PreTrainedTokenizerBase, marks: frozenset[str]) -> Plain:
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path} is no fast one (tokenizer.json), so special tokens inside an "
            "answer could not be told from the template's."
        )
    nonce = secrets.token_hex(8)
    names = {mark: f"\ue000{nonce}-{place}\ue001" for place, mark in enumerate(sorted(marks))}
    described = json.loads(backend.to_str())
    for entry in described["added_tokens"]:
        entry["content"] = names.get(entry["content"], entry["content"])
    renamed = Tokenizer.from_str(json.dumps(described))
    renamed.no_truncation()
    renamed.no_padding()
    stands_for = {int(renamed.token_to_id(e["content"]) or 0): int(e["id"]) for e in described["added_tokens"]}
    return Plain(renamed, names, stands_for)


def rendered(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], generation_prompt: bool, **more: Any
) -> str:  # fmt: skip
    """A conversation (role, text) as the chat template writes it, with its contents as texts or as lists of parts.

    Raises:
        ModelError: no chat template, or one that takes the turns in neither form.
    """
    if not tokenizer.chat_template:
        raise ModelError(f"the tokenizer of {tokenizer.name_or_path} has no chat template.")
    reasons = []
    for in_parts in (False, True):
        conversation: Any = [
            {"role": role, "content": [{"type": "text", "text": text}] if in_parts else text} for role, text in turns
        ]
        try:
            said = str(
                tokenizer.apply_chat_template(
                    conversation, tokenize=False, add_generation_prompt=generation_prompt, **more
                )
            )
        except Exception as error:  # a template is a program: it may raise anything
            reasons.append(str(error))
            continue
        lost = [role for role, text in turns if any(place in text and place not in said for place in (REQUEST, ANSWER))]
        if not lost:
            return said
        reasons.append(f"it leaves out the {lost[-1]}'s turn")
    roles = ", ".join(role for role, _ in turns)
    raise ModelError(f"the chat template of {tokenizer.name_or_path} does not take the turns {roles}: {reasons[0]}.")
