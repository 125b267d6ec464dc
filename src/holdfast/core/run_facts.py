"""What a run measured and how: the part of `results.json` that is known without any answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.core.types import Ending


@dataclass(frozen=True)
class ChatFacts:
    """How a model is spoken to."""

    template: str
    """The hash of its chat template."""
    system_role: str
    """`native`, or where the system turn's text goes instead."""
    hidden_system: str
    """The system turn that the template writes where none is given, or ""."""
    thinking: str
    """`off`, `on` or `always`: whether the model thinks before it answers."""


@dataclass(frozen=True)
class ModelFacts:
    """The initial model."""

    name: str
    """As the study names it."""
    architecture: str
    """As its configuration names it; `served` where only a server has it."""
    stand_in: bool
    """Whether it is a shipped world's model, whose figures are no evidence about any other model."""
    chat: ChatFacts | None
    """None for a served model."""
    fingerprint: str
    """The hash of weights, configuration, tokenizer and chat template; of its name for a served model."""


@dataclass(frozen=True)
class MeasuredSet:
    """A set of prompts and its judges."""

    benchmark: str
    n_prompts: int
    key: str
    """The hash of its content."""
    judges: tuple[str, ...]
    """Name and key of each judge. The first one's verdicts are the figures."""
    notes: tuple[str, ...] = ()
    """Each way in which the prompts differ from the set that upstream publishes."""


@dataclass(frozen=True)
class Evaluation:
    """What every model was asked, and how."""

    sets: Mapping[str, MeasuredSet]
    """The measured sets by name: harmfulness, utility, over_refusal."""
    categories: tuple[str, ...]
    """The categories of the harmfulness prompts."""
    generate: Mapping[str, Any]
    """The generator's settings."""
    decodings: Mapping[str, Mapping[str, Any]]
    """Named settings that differ from `generate`."""
    templates: Mapping[str, Mapping[str, Any]]
    """The templates by name."""


@dataclass(frozen=True)
class RowAccount:
    """What became of the rows of one file or data set."""

    name: str
    rows: int
    refused: int
    dropped: Mapping[str, int]
    """Filter → how many rows it dropped."""
    kept: int


@dataclass(frozen=True)
class CellFacts:
    """A condition's place in the table of a study's `attacks` and `defences`."""

    attack: str
    defence: str
    by: Literal["paper", "adaptive", "weights"]
    """Who can do it: see docs/arena.md."""


@dataclass(frozen=True)
class ConditionFacts:
    """The exact settings of a condition, and how it was tuned."""

    role: Literal["initial", "tuned"]
    ask: str
    """The template that it is asked with."""
    decoding: str | None
    """None for the study's `generate`."""
    keys: tuple[str, ...]
    """The key of each seed."""
    label: str | None = None
    """What tables call it, where its name would say too little."""
    template: str | None = None
    """The template that it was tuned with; None for the initial model."""
    factors: Mapping[str, str] = field(default_factory=dict)
    checkpoint: str | None = None
    """The tuned model or adapter that the study names."""
    data: Mapping[str, Any] | None = None
    accounts: tuple[RowAccount, ...] = ()
    defence: tuple[Mapping[str, Any], ...] = ()
    tune: Mapping[str, Any] | None = None
    training: tuple[Mapping[str, Any], ...] = ()
    """A training record for each seed."""
    then: Mapping[str, Any] | None = None
    """What it was tuned on afterwards, without its defences."""
    bare: bool = False
    """Whether it was asked without what its defences change about the asking."""
    held_out: Mapping[str, Any] | None = None
    """The rows of its task that were not tuned on."""
    cell: CellFacts | None = None
    """Its place in a table of attacks and defences."""
    picture: str | None = None
    """What was shown beside every request: `blank`, `unrelated`, or a file's name; None for text alone."""


@dataclass(frozen=True)
class Ended:
    """A condition of one seed of which a provider gave no model, and which so has no figures."""

    name: str
    seed: int
    key: str
    """The hash of everything that determines it."""
    outcome: Ending
    """`blocked` by the provider's checks, `failed`, or `cancelled`."""
    about: Literal["data", "model", ""]
    """What the provider's checks refused: the rows, or the tuned model."""
    message: str
    """The provider's own message."""
