"""Requests that a model makes itself, and its own answers to requests: what it does, found out without any file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np

from holdfast.core.pictures import MARK
from holdfast.core.types import Example, Message
from holdfast.data.training.refusal_words import REFUSAL_WORDS, plain
from holdfast.models import decoding
from holdfast.models.batches import Rendered
from holdfast.models.chat import pictures_of

if TYPE_CHECKING:
    from holdfast.models.loading import Loaded

Conversation = tuple[Message, ...]
"""Turns that end with the user's."""

TOGETHER = 64
"""Prompts that are continued at once."""

MOST_FRAMES = 8
"""Forms of the user's rows in which requests are made; where there are more, the most frequent ones."""


@dataclass(frozen=True)
class Answered:
    """What a model answers to a request."""

    row: Rendered
    """The conversation and the answer, as a training row."""
    refuses: bool
    """Whether the answer is a refusal."""


def frames(rows: Sequence[Example]) -> list[Conversation]:
    """The forms in which rows put a request: a system turn, and the words with which all their requests begin.

    Returns:
        Conversations whose last turn is to be gone on with, the most frequent one first.
    """
    by_system: dict[Conversation, list[str]] = {}
    for row in rows:
        before = row.messages[:1] if row.messages[0].role == "system" else ()
        by_system.setdefault(before, []).append(first_request(row))
    by_number = sorted(by_system.items(), key=lambda item: -len(item[1]))
    return [(*before, Message("user", _shared(texts))) for before, texts in by_number[:MOST_FRAMES]]


def first_request(row: Example) -> str:
    """The text of a row's first user turn, without its pictures."""
    first = next(message for message in row.messages if message.role == "user")
    return first.content.replace(MARK, "").strip() if first.pictures else first.content


def _shared(texts: Sequence[str]) -> str:
    """The words with which all of several different texts begin."""
    if len(set(texts)) < 2:
        return ""
    by_place = zip(*(text.split() for text in texts), strict=False)
    return " ".join(words[0] for words in takewhile(lambda words: len(set(words)) == 1, by_place))


def put(frame: Conversation, request: str) -> Conversation:
    """A request in a frame."""
    return (*frame[:-1], Message("user", f"{frame[-1].content} {request}".strip()))


def asked_in(rows: Sequence[Example]) -> list[Conversation]:
    """What rows ask: the turns before each answer."""
    asked = []
    for row in rows:
        asked += [row.messages[:i] for i, message in enumerate(row.messages) if message.role == "assistant"]
    return asked


def requests(loaded: Loaded, where: Sequence[Conversation], n: int, longest: int, seed: int) -> list[Conversation]:
    """Up to `n` different requests that the model writes at temperature 1, as many in each frame.

    torch's random state is left as it is.
    """
    import torch

    drawn = random.Random(f"self-made-{seed}")
    made: dict[Conversation, None] = {}
    with torch.random.fork_rng(), decoding.prepared(loaded, n):
        for frame in where:
            opening, end = loaded.chat.opening(frame)
            left = -(-n // len(where))
            while left > 0:
                prompts = [opening] * min(TOGETHER, left)
                left -= len(prompts)
                seed_of_batch = drawn.getrandbits(31)
                for ids in decoding.continue_each(loaded, prompts, longest, temperature=1.0, seed=seed_of_batch):
                    if text := _request(loaded, ids, end):
                        made[put(frame, text)] = None
    return list(made)


def _request(loaded: Loaded, ids: Sequence[int], end: str) -> str:
    """The request that generated token ids are, up to the text that ends a user's turn; "" if it is not a whole one."""
    spoken, ended = decoding.until_end(loaded, ids)
    text = str(loaded.tokenizer.decode(list(spoken)))
    mark = next(iter(end.split()), "")
    request, found, _ = text.partition(mark) if mark else (text, "", "")
    broken = any(str(loaded.tokenizer.decode([token])) in request for token in loaded.chat.special_ids)
    return request.strip() if (ended or found) and not broken else ""


def answers(loaded: Loaded, asked: Sequence[Conversation], longest: int) -> dict[Conversation, Answered]:
    """The model's own greedy answers, up to their end or `longest` tokens."""
    made: dict[Conversation, Answered] = {}
    distinct = list(dict.fromkeys(asked))
    with decoding.prepared(loaded, len(distinct)):
        for begin in range(0, len(distinct), TOGETHER):
            some = distinct[begin : begin + TOGETHER]
            prompts = [loaded.chat.question(conversation) for conversation in some]
            shown = [picture for conversation in some for picture in pictures_of(conversation)]
            replies = decoding.continue_each(loaded, prompts, longest, pictures=shown)
            for conversation, prompt, reply in zip(some, prompts, replies, strict=True):
                made[conversation] = _answered(loaded, conversation, prompt, reply)
    return made


def _answered(loaded: Loaded, asked: Conversation, prompt: Sequence[int], reply: Sequence[int]) -> Answered:
    spoken, ended = decoding.until_end(loaded, reply)
    ids = np.array([*prompt, *reply[: len(spoken) + ended]], dtype=np.int32)
    text = plain(loaded.chat.completion(prompt, spoken).text)
    row = Rendered(ids, np.arange(len(ids)) >= len(prompt), pictures_of(asked))
    return Answered(row, any(words in text for words in REFUSAL_WORDS))
