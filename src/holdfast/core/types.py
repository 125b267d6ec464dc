"""The types that every room uses. All are frozen, and each field has a docstring."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from holdfast.core.pictures import MARK, Picture

Role = Literal["system", "user", "assistant"]
Outcome = Literal["answered", "truncated", "blocked", "backend_error"]
Ending = Literal["blocked", "failed", "cancelled"]
Reading = Literal["scored", "unparsed", "judge_refused", "judge_error"]
Over = Literal["prompts", "prompts and seeds", "prompts and labels", "prompts, seeds and labels"]

ROLES: tuple[Role, ...] = ("system", "user", "assistant")
OUTCOMES: tuple[Outcome, ...] = ("answered", "truncated", "blocked", "backend_error")
READINGS: tuple[Reading, ...] = ("scored", "unparsed", "judge_refused", "judge_error")

LONGEST_REASON = 2000
"""Characters of a judge's reason, or of why an answer failed, that are kept."""
LONGEST_NAME = 300
"""Characters of a server's name for its model that are kept."""


def cut(text: str, most: int) -> str:
    """A text of at most so many characters, which says at its end if it was longer."""
    mark = f"… (cut: {len(text):,} characters in all)"
    return text if len(text) <= most else text[: most - len(mark)] + mark


def content_hash(value: Any) -> str:
    """The first 16 hex digits of the SHA-256 of a value's canonical JSON."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    """Who speaks."""
    content: str
    """The text of the turn; where it has pictures, with `<image>` in the place of each."""
    pictures: tuple[Picture, ...] = ()
    """Its pictures, in the order of their places."""


@dataclass(frozen=True)
class Example:
    """One training conversation."""

    messages: tuple[Message, ...]
    """The turns, in order; at least one is the assistant's."""
    source: str
    """Where it came from: a file and line."""

    @cached_property
    def id(self) -> str:
        """The hash of its content."""
        seen = [picture.sha256 for message in self.messages for picture in message.pictures]
        turns: list[Any] = [[message.role, message.content] for message in self.messages]
        return content_hash([*turns, seen] if seen else turns)


@dataclass(frozen=True)
class Account:
    """How many rows of one file or data set were used, refused or filtered out. Every row is counted."""

    name: str
    """The file or data set."""
    rows: int
    """Rows that the file or data set has."""
    refused: int
    """Rows that cannot be trained on, and were dropped because the study says so."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Filter → how many of the readable rows it dropped."""

    @property
    def kept(self) -> int:
        """Rows that are left to draw from."""
        return self.rows - self.refused - sum(self.dropped.values())


@dataclass(frozen=True)
class Prompt:
    """One benchmark item."""

    category: str
    """Its category, as the benchmark names it."""
    text: str
    """What the model is asked."""
    reference: Mapping[str, Any] = field(default_factory=dict)
    """What its judge needs beside the text, e.g. the true steps of a pocket thing."""
    history: tuple[Message, ...] = ()
    """Turns that come before the text, e.g. worked examples of a utility set."""

    @cached_property
    def id(self) -> str:
        """The hash of its content."""
        before = [[[turn.role, turn.content] for turn in self.history]] if self.history else []
        return content_hash([self.category, self.text, self.reference, *before])


@dataclass(frozen=True)
class Benchmark:
    """A set of prompts by category, each with the policy that its judge reads."""

    name: str
    """The name shown in tables."""
    prompts: tuple[Prompt, ...]
    """All prompts, in file order; ids are distinct."""
    policies: Mapping[str, str] = field(default_factory=dict)
    """Category → the policy text that forbids it; empty where the benchmark has none."""
    notes: tuple[str, ...] = ()
    """What a reader of its figures must know, e.g. that upstream withholds a category."""

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """The categories, in order of first appearance."""
        return tuple(dict.fromkeys(prompt.category for prompt in self.prompts))

    @cached_property
    def key(self) -> str:
        """The hash of its content."""
        return content_hash([[prompt.id for prompt in self.prompts], dict(self.policies)])


@dataclass(frozen=True)
class Template:
    """How a request is put to the model, in training and when asking."""

    system: str | None = None
    """The system turn, or None for no system turn."""
    user: str = "{prompt}"
    """The user turn, with `{prompt}` where the request goes."""
    picture: Picture | None = None
    """What is shown before the last user turn, beside the request; None where the text stands alone."""

    def wrap(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """A conversation put in this template; one that brings a system turn of its own keeps its text."""
        own = any(message.role == "system" for message in messages)
        turns = list(messages) if own else [self._put(message) for message in messages]
        if self.picture is not None:
            last, shown = turns[-1], (self.picture, *turns[-1].pictures)
            turns[-1] = replace(last, content=f"{MARK}\n{last.content}", pictures=shown)
        return tuple(turns) if own or self.system is None else (Message("system", self.system), *turns)

    def _put(self, message: Message) -> Message:
        user = self.user.replace("{prompt}", message.content)
        return replace(message, content=user) if message.role == "user" else message


@dataclass(frozen=True)
class Condition:
    """Everything that determines one tuned model and its evaluation."""

    name: str
    """The name in the study; `initial`, or `initial-<template>`, before tuning."""
    role: Literal["initial", "tuned"]
    """Whether it is the model before or after tuning."""
    seed: int
    """Seed of the data draw, of tuning and of sampled answers."""
    ask: str
    """Name of the template that it is asked with."""
    decoding: str | None
    """Name of its decoding; None for the study's own."""
    training: Mapping[str, Any] | None
    """What determines the weights: base, rows, hyperparameters, epochs, seed; None for the initial model."""
    asking: Mapping[str, Any]
    """What determines the answers: base, template, decoding and prompts."""

    @cached_property
    def key(self) -> str:
        """The hash of exactly what determines it; its name is not part of that."""
        return content_hash([self.training, self.asking])


@dataclass(frozen=True)
class Checkpoint:
    """What tuning made, or the initial model."""

    base: str
    """Path or Hub id of the model it is, or was tuned from."""
    revision: str | None = None
    """Hub revision of the base."""
    folder: Path | None = None
    """Folder of the full weights or adapter; None for the initial model."""
    served: str | None = None
    """The name under which a server has it; None where it is on disk."""
    thinking: bool = False
    """Whether a reasoning model thinks before it replies, where this can be switched."""
    own_template: bool = False
    """Whether its own chat template is used; else its base's, if that is another model."""


@dataclass(frozen=True)
class Tuned:
    """A checkpoint that tuning made, and how it was made."""

    checkpoint: Checkpoint
    """The weights: a folder, or a name on a server."""
    training: Mapping[str, Any]
    """The training record: rows, steps, losses, seconds and what else the tuner counts."""


@dataclass(frozen=True)
class NoCheckpoint:
    """Why a provider gave no checkpoint: a result of its own, with the provider's words for it. No error."""

    outcome: Ending
    """`blocked` by the provider's checks of the data or of the tuned model; `failed`; or `cancelled`."""
    message: str
    """The provider's own message."""
    training: Mapping[str, Any]
    """The training record, as far as the tuning went."""


@dataclass(frozen=True)
class Answer:
    """One checkpoint's reply to one prompt."""

    prompt_id: str
    """The prompt's id."""
    outcome: Outcome
    """`answered`; `truncated` at the token limit; `blocked`: nothing came back, the reply was filtered or
    empty; `backend_error`: the back end failed."""
    text: str
    """The reply, without special tokens; "" when blocked or failed."""
    tokens: int = 0
    """Generated tokens, the end of turn and any thinking included."""
    detail: str = ""
    """Why, when it was not answered; at most `LONGEST_REASON` characters."""
    thinking: str = ""
    """What a reasoning model thought before it replied; no judge reads it."""
    prompt_tokens: int = 0
    """Tokens that the model was asked with."""
    usd: float = 0.0
    """What it cost, in US dollars, failed attempts included; 0 where no price is known or nothing is paid."""

    def __post_init__(self) -> None:
        """Cut a detail that is too long."""
        object.__setattr__(self, "detail", cut(self.detail, LONGEST_REASON))

    @cached_property
    def digest(self) -> str:
        """The hash of what a judge reads of it."""
        return content_hash([self.text, self.outcome])


@dataclass(frozen=True)
class Verdict:
    """One judge's reading of one answer. Never a made-up score."""

    prompt_id: str
    """The prompt's id."""
    reading: Reading
    """`scored`, or why there is no score."""
    score: int | None
    """1 (refuses or harmless) to 5 (fulfils the request in full violation); None unless scored."""
    reason: str = ""
    """What the judge gave as its reason; at most `LONGEST_REASON` characters."""
    model: str = ""
    """The model that judged, as its server names it; "" where no model did."""
    left_out: int = 0
    """Characters of a long answer that the judge was not shown."""
    usd: float = 0.0
    """What it cost, in US dollars."""
    by: Literal["", "first", "then", "audit"] = ""
    """Which judge of a cascade decided: the cheap `first`, the costly one because the first was not certain
    (`then`), or the costly one to check the first (`audit`)."""
    first: int | None = None
    """The score that the first judge of a cascade gave."""
    from_cache: bool = False
    """Whether it was bought before, by this run or another, and cost nothing now."""
    answer_digest: str = ""
    """The digest of the answer that was judged, in a run folder; "" elsewhere."""

    def __post_init__(self) -> None:
        """Refuse a score that is missing, made up or out of range, and cut a reason that is too long."""
        object.__setattr__(self, "reason", cut(self.reason, LONGEST_REASON))
        object.__setattr__(self, "model", cut(self.model, LONGEST_NAME))
        scored = self.reading == "scored"
        right = self.score in (1, 2, 3, 4, 5) and not isinstance(self.score, bool)
        if scored != (self.score is not None) or (scored and not right):
            raise ValueError(f"a verdict that is {self.reading!r} cannot have the score {self.score!r}")


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float | None
    """The figure; None when no verdict was scored."""
    low: float | None
    """Lower end of the interval."""
    high: float | None
    """Upper end of the interval."""
    n: int
    """How many verdicts it rests on."""
    missing: int
    """How many prompts have no score."""
    bound_low: float
    """The figure if every missing verdict were the lowest it can be."""
    bound_high: float
    """The figure if every missing verdict were the highest it can be."""
    method: str
    """How the interval was computed."""
    over: Over
    """What the interval is over: what would be drawn anew if the run were repeated."""
    warning: str = ""
    """Why the figure may not mean what it says, or ""."""


@dataclass(frozen=True)
class Comparison:
    """A paired difference, tuned minus initial, on the same prompts."""

    name: str
    """The tuned condition."""
    metric: str
    """`harmfulness_score`, or a rate in percent: `harmfulness_rate`, `utility`, `over_refusal`."""
    initial: float
    """The initial model's figure on the paired prompts."""
    tuned: float
    """The tuned model's figure on the paired prompts, seeds averaged."""
    difference: float
    """tuned − initial."""
    low: float
    """Lower end of the 95 % interval of the difference."""
    high: float
    """Upper end of the 95 % interval of the difference."""
    p_value: float
    """Two-sided p-value of no difference."""
    test: str
    """How the p-value was computed."""
    over: Over
    """What interval and p-value are over: what would be drawn anew if the run were repeated."""
    n_seeds: int
    """Seeds of the tuned condition."""
    n_pairs: int
    """Prompts with a score on both sides in at least one seed."""
    against: str = ""
    """The initial condition, which was asked in the same way."""
