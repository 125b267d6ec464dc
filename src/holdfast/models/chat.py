"""A conversation → token ids, and which of them are supervised. The only renderer there is.

What a model is trained on and what it is asked go through the same chat template here, so a training row
and a question agree, token by token, up to the generation prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from holdfast.core.errors import RenderError
from holdfast.core.types import Example, Message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


DATE = datetime(2024, 7, 26)
"""The day that templates which write today's date are told, so that a question is the same on every day."""

MARK = "holdfast-probe"
"""A text that no template writes by itself."""

AT_ONCE = 1000
"""Training rows that are tokenised together."""

REWRITES = "the chat template renders the beginning of a conversation differently once it goes on"
ONLY_LAST = "Set `turns: last` under `tune` to train on each row's last answer only."

THINKING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
"""How reasoning models mark what they think before they reply: where it begins and where it ends."""


PROMPT_END = 16
"""Tokens at the end of a prompt that are read to see whether it opens the thinking."""


@dataclass(frozen=True)
class Completion:
    """The text that a model generated, with its thinking kept apart."""

    thinking: str
    """The text between the marks of thinking; "" if there is none."""
    text: str
    """The reply: everything outside the marks."""
    finished_thinking: bool
    """False where thinking began and never ended, so that there is no reply."""


def split_thinking(text: str, began: bool = False) -> Completion:
    """A generated text as thinking and reply. `began` says that the prompt itself opened the thinking."""
    for begin, end in THINKING:
        before, begin_mark, after = text.partition(begin)
        opens_with_thinking = bool(begin_mark) and not before.strip()
        if not opens_with_thinking and not (began and end in text):
            continue
        thinking, end_mark, reply = (after if opens_with_thinking else text).partition(end)
        return Completion(thinking.strip(), reply.strip() if end_mark else "", bool(end_mark))
    return Completion(text.strip(), "", False) if began else Completion("", text.strip(), True)


@dataclass(frozen=True, eq=False)
class Rendered:
    """One training row as the model sees it; both fields have one entry a token."""

    input_ids: np.ndarray[Any, np.dtype[np.int32]]
    """Token ids of the whole conversation."""
    supervised: np.ndarray[Any, np.dtype[np.bool_]]
    """True where the token belongs to an assistant turn that is trained on, its end-of-turn token included."""

    @property
    def n_supervised(self) -> int:
        """How many tokens the loss is taken over."""
        return int(self.supervised.sum())


@dataclass(frozen=True)
class Chat:
    """A tokenizer, and how a conversation is put through its chat template."""

    tokenizer: PreTrainedTokenizerBase
    thinking: bool = False
    """Whether a model that can be told to think is told to."""

    @cached_property
    def system_role(self) -> Literal["native", "first user turn"]:
        """Whether the template keeps a system turn at the beginning, in questions and in training rows.

        Some refuse one, some move it as the conversation goes on; then its text goes before the first user turn.
        """
        talk = [Message("system", MARK), Message("user", "u1"), Message("assistant", "a1"), Message("user", "u2")]
        try:
            texts = [self._template(talk[:n], n != 3) for n in (2, 3, 4)]
        except RenderError:
            return "first user turn"
        return "native" if all(MARK in text.partition("u1")[0] for text in texts) else "first user turn"

    @cached_property
    def hidden_system(self) -> str:
        """What the template says before the first user turn when nobody gave a system turn; "" if nothing."""
        text = self._template([Message("user", MARK)], True).partition(MARK)[0]
        marks = sorted(filter(None, map(str, self.tokenizer.get_added_vocab())), key=len, reverse=True)
        for mark in marks:
            text = text.replace(mark, "\n")
        said = "\n".join(line.strip() for line in text.splitlines() if len(line.split()) > 1)
        return said.strip()

    @cached_property
    def begins_thinking(self) -> bool:
        """Whether a question ends inside thinking, so that an answer begins there."""
        return _opens_thinking(self._template([Message("user", "?")], True))

    @cached_property
    def has_generation_prompt(self) -> bool:
        """Whether the template opens the assistant's turn when it is asked to."""
        asked = [Message("user", "?")]
        return self._template(asked, True) != self._template(asked, False)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that mark and do not speak."""
        added = self.tokenizer.added_tokens_decoder.items()
        return frozenset(token for token, entry in added if entry.special)

    def question(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation that waits for the assistant's answer.

        Raises:
            RenderError: no chat template, a conversation that it refuses or leaves out, or a doubled BOS.
        """
        text = self._asked(messages)
        _check_whole(messages, text)
        ids = self._tokens([text])[0]
        self._check_bos(ids)
        return ids

    def examples(self, rows: Iterable[Example], turns: Literal["all", "last"] = "all") -> Iterator[Rendered]:
        """Training rows as token ids, with all assistant turns, or the last of each row, supervised and nothing else.

        Raises:
            RenderError: naming the row: as `question`; no assistant turn; or a template that makes the
                supervised tokens impossible to tell.
        """
        rows = iter(rows)
        while chunk := list(islice(rows, AT_ONCE)):
            texts = [self._named(row, self._texts, row.messages, turns) for row in chunk]
            needed = list(dict.fromkeys(text for turn_texts in texts for turn in turn_texts for text in turn))
            tokens = dict(zip(needed, self._tokens(needed), strict=True))
            for row, turn_texts in zip(chunk, texts, strict=True):
                yield self._named(row, self._supervise, turn_texts, tokens)

    def example(self, messages: Sequence[Message], turns: Literal["all", "last"] = "all") -> Rendered:
        """One training conversation, as `examples` gives it."""
        return next(self.examples([Example(tuple(messages), "the conversation")], turns))

    def completion(self, prompt_ids: Sequence[int], ids: Sequence[int]) -> Completion:
        """The text of generated token ids, with its thinking apart; special tokens are left out."""
        marks = {self.tokenizer.convert_tokens_to_ids(mark) for pair in THINKING for mark in pair}
        spoken = [token for token in ids if token in marks or token not in self.special_ids]
        text = str(self.tokenizer.decode(spoken, skip_special_tokens=False))
        end_of_prompt = str(self.tokenizer.decode(list(prompt_ids[-PROMPT_END:])))
        return split_thinking(text, began=_opens_thinking(end_of_prompt))

    def _texts(self, messages: Sequence[Message], turns: str) -> list[Turn]:
        """The text up to each trained turn, up to its end, and up to where the next question ends."""
        spoken = [place for place, message in enumerate(messages) if message.role == "assistant"]
        if not spoken:
            raise RenderError("the conversation has no assistant turn, so there is nothing to train on")
        trained = spoken if turns == "all" else spoken[-1:]
        asked = [self._asked(messages[:place]) for place in trained]
        _check_whole(messages, self._template(messages, False))
        return [
            Turn(asked[i], self._template(messages[: place + 1], False), asked[i + 1] if i + 1 < len(asked) else "")
            for i, place in enumerate(trained)
        ]

    def _supervise(self, turns: Sequence[Turn], tokens: Mapping[str, list[int]]) -> Rendered:
        ids = tokens[turns[0].asked]
        spans = []
        for turn in turns:
            begin = len(ids)
            answered = self._extend(ids, turn.asked, turn.answered, tokens)
            if turn.next_asked:
                ids = self._extend(ids, turn.asked, turn.next_asked, tokens)
                end = _common(answered, ids)
            else:
                ids, end = answered, len(answered)
            if end <= begin:
                raise RenderError(f"{REWRITES}, so what is supervised cannot be told. {ONLY_LAST}")
            spans.append((begin, end))
        self._check_bos(ids)
        supervised = np.zeros(len(ids), dtype=np.bool_)
        for begin, end in spans:
            supervised[begin:end] = True
        return Rendered(np.array(ids, dtype=np.int32), supervised)

    def _extend(self, ids: list[int], old: str, new: str, tokens: Mapping[str, list[int]]) -> list[int]:
        """Token ids of `new`, of which the first are `ids`, the token ids of `old`.

        Raises:
            RenderError: `new` does not begin with `old`, or cannot be split into tokens where `old` ends.
        """
        if not new.startswith(old):
            raise RenderError(
                f"{REWRITES} (…{old[-60:]!r} against …{new[max(0, len(old) - 60) : len(old)]!r}), so what is "
                f"supervised cannot be told. {ONLY_LAST}"
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

    def _named(self, row: Example, render: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return render(*arguments)
        except RenderError as error:
            raise RenderError(f"{row.source}: {error}") from error

    def _asked(self, messages: Sequence[Message]) -> str:
        return self._template(messages, True)

    def _template(self, messages: Sequence[Message], generation_prompt: bool) -> str:
        """A conversation as the chat template writes it."""
        if not self.tokenizer.chat_template:
            raise RenderError(
                f"the tokenizer of {self.tokenizer.name_or_path!r} has no chat template, so a conversation cannot be "
                "rendered as its model expects. Use the chat version of the model, or set `chat_template` in "
                "its tokenizer_config.json."
            )
        if messages[0].role == "system" and messages[0].content != MARK and self.system_role != "native":
            messages = _fold(messages)
        conversation = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self.tokenizer.apply_chat_template(
                conversation, tokenize=False, add_generation_prompt=generation_prompt,
                enable_thinking=self.thinking, date_string=DATE.strftime("%d %b %Y"), strftime_now=DATE.strftime,
            )  # fmt: skip
        except Exception as error:  # a template is a program: it may raise anything, e.g. "system role not supported"
            roles = ", ".join(message.role for message in messages)
            raise RenderError(f"the chat template refuses a conversation of [{roles}]: {error}") from error
        return str(text)

    def _check_bos(self, ids: Sequence[int]) -> None:
        bos = self.tokenizer.bos_token_id
        if bos is not None and len(ids) > 1 and ids[0] == bos and ids[1] == bos:
            raise RenderError(
                f"the rendered conversation begins with two {self.tokenizer.bos_token!r} tokens. "
                "Remove it from the chat template or from the messages."
            )


class Turn(NamedTuple):
    """The texts that tell which tokens of one assistant turn are its own."""

    asked: str
    answered: str
    next_asked: str


def _opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends inside thinking, so that the completion begins there."""
    return prompt.rstrip().endswith(tuple(begin for begin, _ in THINKING))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def _fold(messages: Sequence[Message]) -> list[Message]:
    """A conversation whose system text stands before the first user turn, for templates without a system turn."""
    system, first, *rest = messages
    return [Message(first.role, f"{system.content}\n\n{first.content}"), *rest]


def _check_whole(messages: Sequence[Message], text: str) -> None:
    """Refuse a template that leaves out a system or user turn, or the last reply."""
    for place, message in enumerate(messages):
        if message.role == "assistant" and place + 1 < len(messages):
            continue  # templates of reasoning models leave out earlier thinking, and are free to
        content = split_thinking(message.content).text if message.role == "assistant" else message.content
        if content.strip() not in text and "".join(content.split()) not in "".join(text.split()):
            raise RenderError(
                f"the chat template leaves out turn {place + 1} ({message.role}: {content[:40]!r}…), so the model "
                "would be asked or taught something else than the study says"
            )


def training_batch(rows: Sequence[Rendered], pad: int) -> dict[str, torch.Tensor]:
    """Rows → `input_ids`, `attention_mask` and `labels` of shape [rows, longest], padded on the right.

    What is padding is told by place and never by token id, so an end of turn stays supervised also where
    it serves as the padding token.
    """
    import torch

    longest = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), -100)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for i, row in enumerate(rows):
        n = len(row.input_ids)
        ids[i, :n] = torch.from_numpy(row.input_ids)
        labels[i, :n] = torch.where(torch.from_numpy(row.supervised), ids[i, :n], -100)
        mask[i, :n] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def question_batch(questions: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """Questions → `input_ids` and `attention_mask` of shape [questions, longest], padded on the left."""
    import torch

    longest = max(map(len, questions))
    return {
        "input_ids": torch.tensor([[pad] * (longest - len(ids)) + list(ids) for ids in questions]),
        "attention_mask": torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in questions]),
    }
