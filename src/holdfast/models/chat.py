"""Conversations → token ids, and which of them are supervised.

Training rows and questions are rendered here and nowhere else, by the same chat template. So a training row and the
question in it have the same tokens, up to the generation prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from holdfast.core.errors import RenderError
from holdfast.core.pictures import MARK as PICTURE
from holdfast.core.pictures import Picture
from holdfast.core.types import Example, Message
from holdfast.models import templates
from holdfast.models.batches import Rendered, training_batch
from holdfast.models.thinking import PROMPT_END, THINKING, Completion, opens_thinking, split_thinking

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


Ids = Sequence[int] | np.ndarray[Any, np.dtype[np.int32]]

MARK = "holdfast-probe"
"""A text that no chat template writes by itself."""

CHUNK = 1000
"""Training rows that are tokenised together."""

REWRITES = "the chat template renders the beginning of a conversation differently once it goes on"
ONLY_LAST = "Set `turns: last` under `tune` to train on each row's last answer only."


REMEMBERED = 4096
"""Questions whose token ids are kept for the next model that is asked the same."""


@dataclass(frozen=True)
class Chat:
    """A tokenizer with its chat template: conversations → token ids, and token ids → replies."""

    tokenizer: PreTrainedTokenizerBase
    thinking: bool = False
    """Whether a reasoning model is told to think, where it can be told."""

    @cached_property
    def system_role(self) -> Literal["native", "first user turn"]:
        """Whether the template keeps a system turn at the beginning, in questions and in training rows.

        Some templates refuse a system turn, and some move it as the conversation goes on. For those, its text is put
        before the first user turn.
        """
        turns = [Message("system", MARK), Message("user", "u1"), Message("assistant", "a1"), Message("user", "u2")]
        try:
            texts = [self._render(turns[:n], n != 3) for n in (2, 3, 4)]
        except RenderError:
            return "first user turn"
        return "native" if all(MARK in text.partition("u1")[0] for text in texts) else "first user turn"

    @cached_property
    def hidden_system(self) -> str:
        """The system text that the template adds where a conversation has none; "" if it adds none."""
        text = self._render([Message("user", MARK)], True).partition(MARK)[0]
        marks = sorted(filter(None, map(str, self.tokenizer.get_added_vocab())), key=len, reverse=True)
        for mark in marks:
            text = text.replace(mark, "\n")
        lines = [line.strip() for line in text.splitlines() if len(line.split()) > 1]
        return "\n".join(lines).strip()

    @cached_property
    def begins_thinking(self) -> bool:
        """Whether the template itself opens the thinking, so that each answer begins inside it."""
        return opens_thinking(self._render([Message("user", "?")], True))

    @cached_property
    def has_generation_prompt(self) -> bool:
        """Whether the template opens the assistant's turn when `add_generation_prompt` is set."""
        question = [Message("user", "?")]
        return self._render(question, True) != self._render(question, False)

    @cached_property
    def _asked(self) -> dict[tuple[Message, ...], tuple[int, ...]]:
        """Questions that were rendered before: every condition of a study asks the same."""
        return {}

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The special tokens, which are no part of what a model says."""
        added = self.tokenizer.added_tokens_decoder.items()
        return frozenset(token for token, entry in added if entry.special)

    def question(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, up to where the assistant's answer begins.

        Raises:
            RenderError: there is no chat template, the template refuses the conversation or leaves a turn out, or the
                text begins with two BOS tokens.
        """
        asked = (*messages,)
        if asked in self._asked:
            return list(self._asked[asked])
        text = self._render(messages, True)
        _check_whole(messages, text)
        ids = self._tokens([text])[0]
        self._check_bos(ids)
        self._check_pictures(ids, pictures_of(messages))
        if len(self._asked) < REMEMBERED and not pictures_of(messages):
            self._asked[asked] = tuple(ids)
        return ids

    def opening(self, messages: Sequence[Message]) -> tuple[list[int], str]:
        """Token ids of a conversation up to its last turn's text, that turn not ended, and the text that would end it.

        A model that goes on from there writes the rest of the turn itself.
        """
        marked = [*messages[:-1], Message(messages[-1].role, messages[-1].content + MARK)]
        begin, _, end = self._render(marked, True).partition(MARK)
        return self._tokens([begin])[0], end

    def examples(self, rows: Iterable[Example], turns: Literal["all", "last"] = "all") -> Iterator[Rendered]:
        """Training rows as token ids. Only assistant turns are supervised: all of them, or the last of each row.

        Raises:
            RenderError: naming the row: as `question`; or the row has no assistant turn, or the template makes it
                impossible to tell which tokens belong to one.
        """
        rows = iter(rows)
        while chunk := list(islice(rows, CHUNK)):
            turns_by_row = [_naming(row, self._turn_texts, row.messages, turns) for row in chunk]
            texts = list(dict.fromkeys(chain.from_iterable(chain.from_iterable(turns_by_row))))
            tokens = dict(zip(texts, self._tokens(texts), strict=True))
            for row, turn_texts in zip(chunk, turns_by_row, strict=True):
                rendered = _naming(row, self._supervise, turn_texts, tokens)
                _naming(row, self._check_pictures, rendered.input_ids, pictures_of(row.messages))
                yield replace(rendered, pictures=pictures_of(row.messages))

    def example(self, messages: Sequence[Message], turns: Literal["all", "last"] = "all") -> Rendered:
        """One training conversation, as `examples` gives it."""
        return next(self.examples([Example(tuple(messages), "the conversation")], turns))

    def completion(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Completion:
        """The text of generated token ids, with its thinking apart; special tokens are left out."""
        marks = {self.tokenizer.convert_tokens_to_ids(mark) for pair in THINKING for mark in pair}
        spoken = [token for token in ids if token in marks or token not in self.special_ids]
        text = str(self.tokenizer.decode(spoken, skip_special_tokens=False))
        end_of_prompt = str(self.tokenizer.decode(list(prompt_ids[-PROMPT_END:])))
        return split_thinking(text, began=opens_thinking(end_of_prompt))

    def training_batch(self, rows: Sequence[Rendered]) -> dict[str, torch.Tensor]:
        """Rows as the model takes them, with what it needs to see their pictures, which are unpacked now."""
        batch = training_batch(rows, int(self.tokenizer.pad_token_id or 0))
        return batch | self.batch(batch["input_ids"], list(chain.from_iterable(row.pictures for row in rows)))

    def batch(self, ids: torch.Tensor, pictures: Sequence[Picture]) -> dict[str, torch.Tensor]:
        """What the model takes beside token ids ([rows, tokens]) to see the pictures of these rows, in their order."""
        return {}

    def save(self, folder: Path) -> None:
        """Save what renders conversations, and pictures, beside a model's weights."""
        self.tokenizer.save_pretrained(folder)

    def has_all_of(self, pictures: Sequence[Picture], ids: Ids) -> bool:
        """Whether token ids hold the image tokens of these pictures, and no others."""
        return not pictures

    def _check_pictures(self, ids: Ids, pictures: Sequence[Picture]) -> None:
        """Refuse a conversation whose image tokens are not those of its pictures."""
        if not self.has_all_of(pictures, ids):
            raise RenderError(f"its {len(pictures)} picture(s) and its image tokens do not fit: can its model see?")

    def _turn_texts(self, messages: Sequence[Message], turns: str) -> list[TurnTexts]:
        """For each trained turn: the text before it, the text with it, and the text before the next trained turn."""
        replies = [i for i, message in enumerate(messages) if message.role == "assistant"]
        if not replies:
            raise RenderError("the conversation has no assistant turn, so there is nothing to train on")
        trained = replies if turns == "all" else replies[-1:]
        _check_whole(messages, self._render(messages, False))
        before = [self._render(messages[:i], True) for i in trained]
        through = [self._render(messages[: i + 1], False) for i in trained]
        return [TurnTexts(*texts) for texts in zip(before, through, [*before[1:], ""], strict=True)]

    def _supervise(self, turns: Sequence[TurnTexts], tokens: Mapping[str, list[int]]) -> Rendered:
        """The token ids of a row, and which of them belong to trained turns."""
        ids = tokens[turns[0].before]
        spans = []
        for turn in turns:
            begin = len(ids)
            through = self._extend(ids, turn.before, turn.through, tokens)
            if turn.next_before:
                ids = self._extend(ids, turn.before, turn.next_before, tokens)
                end = _common_length(through, ids)
            else:
                ids, end = through, len(through)
            if end <= begin:
                raise RenderError(f"{REWRITES}, so the supervised tokens cannot be told. {ONLY_LAST}")
            spans.append((begin, end))
        self._check_bos(ids)
        supervised = np.zeros(len(ids), dtype=np.bool_)
        for begin, end in spans:
            supervised[begin:end] = True
        return Rendered(np.array(ids, dtype=np.int32), supervised)

    def _extend(self, ids: list[int], old: str, new: str, tokens: Mapping[str, list[int]]) -> list[int]:
        """Token ids of `new`, which begins with `old`, whose token ids are `ids`.

        Raises:
            RenderError: `new` does not begin with `old`, or cannot be split into tokens where `old` ends.
        """
        if not new.startswith(old):
            raise RenderError(
                f"{REWRITES} (…{old[-60:]!r} against …{new[max(0, len(old) - 60) : len(old)]!r}), so the "
                f"supervised tokens cannot be told. {ONLY_LAST}"
            )
        whole = tokens[new]
        if whole[: len(ids)] == ids:
            return whole
        joined = ids + self._tokens([new[len(old) :]])[0]
        if self.tokenizer.decode(joined) != self.tokenizer.decode(whole):
            raise RenderError(
                f"a token spans the end of the prompt …{old[-40:]!r}, so the supervised tokens cannot be told"
            )
        return joined

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return list(self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"])

    def _render(self, messages: Sequence[Message], generation_prompt: bool) -> str:
        """A conversation as the chat template writes it."""
        if not self.tokenizer.chat_template:
            raise RenderError(
                f"the tokenizer of {self.tokenizer.name_or_path!r} has no chat template, so a conversation cannot be "
                "rendered as its model expects. Use the chat version of the model, or set `chat_template` in "
                "its tokenizer_config.json."
            )
        if messages[0].role == "system" and messages[0].content != MARK and self.system_role != "native":
            messages = _fold(messages)
        conversation = [{"role": message.role, "content": self._content(message)} for message in messages]
        try:
            return templates.render(self.tokenizer, conversation, generation_prompt, enable_thinking=self.thinking)
        except templates.RefusedError as error:
            roles = ", ".join(message.role for message in messages)
            raise RenderError(f"the chat template refuses a conversation of [{roles}]: {error}") from error

    def _content(self, message: Message) -> Any:
        """A turn's content as the chat template takes it."""
        return message.content

    def _check_bos(self, ids: Sequence[int]) -> None:
        bos = self.tokenizer.bos_token_id
        if bos is not None and len(ids) > 1 and ids[0] == bos and ids[1] == bos:
            raise RenderError(
                f"the rendered conversation begins with two {self.tokenizer.bos_token!r} tokens. "
                "Remove it from the chat template or from the messages."
            )


class TurnTexts(NamedTuple):
    """Three renderings of a conversation, which together tell the tokens of one assistant turn."""

    before: str
    """Up to where the turn begins."""
    through: str
    """Up to where the turn ends."""
    next_before: str
    """Up to where the next trained turn begins; "" after the last one."""


def _naming(row: Example, render: Callable[..., Any], *arguments: Any) -> Any:
    """The result of rendering a row; an error names the row."""
    try:
        return render(*arguments)
    except RenderError as error:
        raise RenderError(f"{row.source}: {error}") from error


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens at the beginning that two sequences share."""
    shorter = min(len(one), len(other))
    return next((i for i in range(shorter) if one[i] != other[i]), shorter)


def _fold(messages: Sequence[Message]) -> list[Message]:
    """A conversation with its system text before the first user turn, for templates without a system turn."""
    system, first, *rest = messages
    return [replace(first, content=f"{system.content}\n\n{first.content}"), *rest]


def pictures_of(messages: Sequence[Message]) -> tuple[Picture, ...]:
    """The pictures of a conversation, in order."""
    return tuple(chain.from_iterable(message.pictures for message in messages))


def _check_whole(messages: Sequence[Message], text: str) -> None:
    """Make sure that a rendered conversation holds every system and user turn, and the last reply.

    Raises:
        RenderError: a turn is missing.
    """
    for i, message in enumerate(messages):
        if message.role == "assistant" and i + 1 < len(messages):
            continue  # templates of reasoning models may leave out earlier thinking
        content = split_thinking(message.content).text if message.role == "assistant" else message.content
        pieces = content.split(PICTURE) if message.pictures else [content]
        if not all(piece.strip() in text or "".join(piece.split()) in "".join(text.split()) for piece in pieces):
            raise RenderError(
                f"the chat template leaves out turn {i + 1} ({message.role}: {content[:40]!r}…), so the model "
                "would be asked or taught something else than the study says"
            )
