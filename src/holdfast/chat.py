"""A conversation → token ids, and which of them are supervised. The only renderer there is.

What a model is trained on and what it is asked go through the same chat template here, so a training row
and a question agree, token by token, up to the generation prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.errors import RenderError
from holdfast.types import Message

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


THINKING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
"""How reasoning models mark what they think before they reply: where it begins and where it ends."""


@dataclass(frozen=True)
class Reply:
    """What a model said, taken apart."""

    thinking: str
    """What stands inside the marks of thinking; "" if there is none."""
    text: str
    """What stands outside: the reply."""
    finished_thinking: bool
    """False where thinking began and never ended, so that there is no reply."""


def take_apart(text: str, began: bool = False) -> Reply:
    """A model's words as thinking and reply; `began` where the question ends inside thinking already."""
    for begin, end in THINKING:
        head, found, rest = text.partition(begin)
        inside = found and not head.strip()
        if not inside and not (began and end in text):
            continue
        thought, closed, reply = (rest if inside else text).partition(end)
        return Reply(thought.strip(), reply.strip() if closed else "", bool(closed))
    return Reply(text.strip(), "", False) if began else Reply("", text.strip(), True)


@dataclass(frozen=True)
class Rendered:
    """One training row as the model sees it; both fields have one entry a token."""

    input_ids: tuple[int, ...]
    """Token ids of the whole conversation."""
    supervised: tuple[bool, ...]
    """True where the token belongs to an assistant turn, its end-of-turn token included."""

    @property
    def n_supervised(self) -> int:
        """How many tokens the loss is taken over."""
        return sum(self.supervised)


def _text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], generation_prompt: bool) -> str:
    if not tokenizer.chat_template:
        raise RenderError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template, so a conversation cannot be "
            "rendered as its model expects. Use the chat version of the model, or set `chat_template` in "
            "its tokenizer_config.json."
        )
    conversation = [{"role": message.role, "content": message.content} for message in messages]
    try:
        return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=generation_prompt))
    except Exception as error:  # a template is a program: it may raise anything, e.g. "system role not supported"
        roles = ", ".join(message.role for message in messages)
        raise RenderError(f"the chat template refuses a conversation of [{roles}]: {error}") from error


def _extend(tokenizer: PreTrainedTokenizerBase, ids: list[int], old: str, new: str) -> list[int]:
    """Token ids of `new`, of which the first are `ids`, the token ids of `old`.

    Raises:
        RenderError: `new` does not begin with `old`, or cannot be split into tokens where `old` ends.
    """
    if not new.startswith(old):
        raise RenderError(
            "the chat template renders the beginning of a conversation differently once it goes on "
            f"(…{old[-60:]!r} against …{new[max(0, len(old) - 60) : len(old)]!r}), so what is supervised cannot be told"
        )
    whole = list(tokenizer(new, add_special_tokens=False)["input_ids"])
    if whole[: len(ids)] == ids:
        return whole
    joined = ids + list(tokenizer(new[len(old) :], add_special_tokens=False)["input_ids"])
    if tokenizer.decode(joined) != tokenizer.decode(whole):
        raise RenderError(
            f"a token spans the end of the prompt …{old[-40:]!r}, so the supervised tokens cannot be told"
        )
    return joined


def _check_bos(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> None:
    bos = tokenizer.bos_token_id
    if bos is not None and len(ids) > 1 and ids[0] == bos and ids[1] == bos:
        raise RenderError(
            f"the rendered conversation begins with two {tokenizer.bos_token!r} tokens. "
            "Remove it from the chat template or from the messages."
        )


def render_question(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation that waits for the assistant's answer.

    Raises:
        RenderError: no chat template, a conversation that it refuses, or a doubled BOS.
    """
    ids = list(tokenizer(_text(tokenizer, messages, True), add_special_tokens=False)["input_ids"])
    _check_bos(tokenizer, ids)
    return ids


def render_example(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> Rendered:
    """A training conversation as token ids, with every assistant turn supervised and nothing else.

    Raises:
        RenderError: as `render_question`; no assistant turn; or a template that makes the supervised
            tokens impossible to tell.
    """
    ids: list[int] = []
    supervised: list[bool] = []
    text = ""
    for index, message in enumerate(messages):
        if message.role != "assistant":
            continue
        asked = _text(tokenizer, messages[:index], True)
        answered = _text(tokenizer, messages[: index + 1], False)
        ids = _extend(tokenizer, ids, text, asked)
        supervised += [False] * (len(ids) - len(supervised))
        ids = _extend(tokenizer, ids, asked, answered)
        supervised += [True] * (len(ids) - len(supervised))
        text = answered
    if not text:
        raise RenderError("the conversation has no assistant turn, so there is nothing to train on")
    _check_bos(tokenizer, ids)
    return Rendered(tuple(ids), tuple(supervised))


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
        ids[i, :n] = torch.tensor(row.input_ids)
        labels[i, :n] = torch.where(torch.tensor(row.supervised), ids[i, :n], -100)
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
