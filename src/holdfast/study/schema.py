"""A study as checked settings: what is tuned, on which data, and how it is measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from holdfast.analysis import calibration as calibrations
from holdfast.core import pictures
from holdfast.core.config import Config, File, OneOf, explained, label
from holdfast.core.errors import DataError
from holdfast.core.file_faults import shown
from holdfast.core.files import is_file, locate, read_text
from holdfast.core.pictures import DRAWINGS
from holdfast.core.protocols import BenchmarkSource, Defence, Generator, Judge, Source, Tuner
from holdfast.core.types import Template
from holdfast.data.benchmarks import BENCHMARKS
from holdfast.data.training import SOURCES
from holdfast.judges import JUDGES
from holdfast.models.generate import GENERATORS
from holdfast.models.names import ModelName
from holdfast.tuning import TUNERS
from holdfast.tuning.defences import DEFENCES

OneSource = Annotated[Source, OneOf(SOURCES)]
OneDefence = Annotated[Defence, OneOf(DEFENCES)]
OneSuite = Annotated[BenchmarkSource, OneOf(BENCHMARKS)]
OneJudge = Annotated[Judge, OneOf(JUDGES)]
OneTuner = Annotated[Tuner, OneOf(TUNERS, default="local")]
OneGenerator = Annotated[Generator, OneOf(GENERATORS, default="local")]

By = Literal["paper", "adaptive", "weights"]

INITIAL = "initial"
"""The name of the model before tuning; no condition may have it."""

MOST_SEEDS = 2**32
"""Seeds are below it: numpy takes no larger one."""


def seeds_problem(seeds: Sequence[Any]) -> str:
    """What is wrong with the seeds of a run, or ""."""
    right = all(type(seed) is int and 0 <= seed < MOST_SEEDS for seed in seeds)
    if not seeds or not right or len(set(seeds)) < len(seeds):
        return f"takes distinct whole numbers from 0 to {MOST_SEEDS - 1}"
    return ""


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}", name):
        raise explained(f"{name!r} cannot be a name; use up to 80 letters, digits, dots, hyphens, plus and underscores")
    return name


Name = Annotated[str, AfterValidator(_check_name)]


def _condition_name(name: str) -> str:
    if name == INITIAL or name.startswith(f"{INITIAL}-"):
        raise explained(f"the name {name!r} is reserved for the model before tuning; choose another")
    return name


def _check_user_turn(user: str) -> str:
    if "{prompt}" not in user:
        raise explained(f"the user turn must contain {{prompt}}, where the request goes; found {user!r}")
    return user


def _as_list(value: Any) -> Any:
    """One judge may stand without a list."""
    return [value] if isinstance(value, str | dict) else value


def _several(value: Any) -> Any:
    return () if value is None else _as_list(value)


def _shown_picture(value: Any, info: ValidationInfo) -> str | Path:
    if value in DRAWINGS:
        return str(value)
    path = locate(str(value), (info.context or {}).get("folder"))
    if not is_file(path):
        raise explained(f"there is no picture {shown(str(path))}; name a file, or {' or '.join(DRAWINGS)}")
    try:
        pictures.of_file(path)
    except DataError as error:
        raise explained(str(error)) from None
    return path


ShownPicture = Annotated[str | Path, PlainValidator(_shown_picture), PlainSerializer(str)]


class TemplateSettings(Config):
    """How a request is written for the model, in training and in evaluation."""

    system: str | None = None
    system_file: File | None = None
    """A text file that holds the system turn, instead of `system`."""
    user: Annotated[str, AfterValidator(_check_user_turn)] = "{prompt}"

    @model_validator(mode="after")
    def _one_system(self) -> TemplateSettings:
        if self.system is not None and self.system_file is not None:
            raise explained("give the system turn as `system` or as `system_file`, not as both")
        return self

    def template(self) -> Template:
        """The template itself."""
        text = read_text(self.system_file).strip() if self.system_file else self.system
        return Template(text, self.user)


class Measured(Config):
    """A set of prompts and the judges of the answers."""

    benchmark: OneSuite
    judges: Annotated[tuple[OneJudge, ...], BeforeValidator(_as_list), Field(min_length=1)]
    """The first one's verdicts are the figures; the verdicts of all are kept."""
    calibration: File | None = None
    """The errors of the first judge, as `holdfast calibrate` writes them. They are taken out of the rate."""

    @model_validator(mode="after")
    def _can_correct(self) -> Measured:
        calibration = self.calibrated
        if calibration and (reason := calibration.not_of(label(self.judges[0])) or calibration.fault()):
            raise explained(f"{self.calibration} cannot correct the rate: {reason}")
        return self

    @cached_property
    def calibrated(self) -> calibrations.Calibration | None:
        """The calibration that the study names, or None."""
        try:
            return calibrations.read(self.calibration) if self.calibration else None
        except DataError as error:
            raise explained(str(error)) from None


class Evaluation(Config):
    """What every model is asked."""

    harmfulness: Measured
    utility: Measured | None = None
    """Its rate is the share of answers scored 5."""
    over_refusal: Measured | None = None
    """Its rate is the share of answers scored 1: refusals of permitted requests."""
    max_missing: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share (0 to 1) of harmfulness prompts without a score above which a condition is not to be trusted."""

    @model_validator(mode="after")
    def _correctable(self) -> Evaluation:
        for name, measured in self.sets().items():
            if measured.calibration and name != "harmfulness":
                raise explained(f"`calibration` corrects the harmfulness rate; in `{name}` it would do nothing")
        return self

    def sets(self) -> dict[str, Measured]:
        """The measured sets, by name."""
        every = {"harmfulness": self.harmfulness, "utility": self.utility, "over_refusal": self.over_refusal}
        return {name: measured for name, measured in every.items() if measured is not None}


class Cell(Config):
    """An attack on a defence: what a condition is that `attacks` and `defences` stand for."""

    attack: Name
    defence: Name
    by: By = "adaptive"
    """Who can do it: whoever tunes as the `paper` does; a customer who knows the defence, and chooses rows and settings
    to get around it (`adaptive`); or one who has the `weights`, and so also asks and tunes them as he likes."""


class Again(Config):
    """A second tuning, of the tuned and defended weights, without any defence."""

    data: OneSource
    tune: OneTuner = cast("Tuner", {})
    """Settings that differ from the study's `tune`."""


class ConditionSettings(Config):
    """One way of tuning."""

    label: str | None = None
    """What tables call it, instead of its name."""
    data: OneSource | None = None
    """The rows that it is tuned on."""
    checkpoint: ModelName | None = None
    """A model or adapter that is tuned already, instead of `data`: a folder, a Hub id, or `served:NAME`."""
    chat_template: Literal["base", "own"] | None = None
    """The chat template that such a checkpoint is asked with, where its own differs from its base's."""
    defence: Annotated[tuple[OneDefence, ...], BeforeValidator(_several)] = ()
    """What keeps safety: one defence, or several, which act in this order."""
    template: str | None = None
    """Name of the template that it is tuned with; the study's first if not given."""
    ask: str | None = None
    """Name of the template that it is asked with; the one that it is tuned with if not given."""
    picture: ShownPicture | None = None
    """What is shown beside every request: `blank`, `unrelated`, or a file; text alone if not given, as in the paper."""
    decoding: str | None = None
    """Name of one of the study's decodings; the study's `generate` as it is if not given."""
    factors: dict[str, str] = Field(default_factory=dict)
    """Factor → level, for studies that measure how much of the rate's variance each factor explains."""
    tune: OneTuner = cast("Tuner", {})
    """Settings that differ from the study's `tune`."""
    then: Again | None = None
    """What the tuned weights are tuned on afterwards, without the defences."""
    bare: bool = False
    """Asked without what the defences change about the asking, as one who has the weights can ask."""
    held_out: OneSource | None = None
    """Rows of the task that are not tuned on. How likely the tuned model finds them says whether it learnt the task."""
    cell: Cell | None = None
    """Its place in the table of `attacks` and `defences`."""

    @model_validator(mode="after")
    def _one_origin(self) -> ConditionSettings:
        if (self.data is None) == (self.checkpoint is None):
            raise explained("say where its weights come from: `data` to tune on, or a tuned `checkpoint`")
        if self.checkpoint is not None:
            idle = [
                name
                for name in ("defence", "tune", "then", "bare")
                if name in self.model_fields_set and getattr(self, name)
            ]
            if idle:
                raise explained(f"a `checkpoint` is tuned already, so {' and '.join(map(repr, idle))} would do nothing")
        elif self.chat_template is not None:
            raise explained("`chat_template` is for a `checkpoint`; a model tuned here keeps its base's")
        return self


class Study(Config):
    """One experiment."""

    name: Name
    model: ModelName
    """`pocket:aligned`, `quiz:aligned`, a folder, an id on the Hub, or `served:NAME` for one that only a server has.

    In a study of `pocket:aligned@3`, every `pocket:` name and benchmark is of that world.
    """
    revision: str | None = None
    thinking: bool = False
    """Whether a reasoning model thinks before it answers, and is tuned in that form. Judges never read the thinking."""
    authorisation: str | None = None
    """By what right attack data are sent to a provider: a line of text. Without it, none are sent."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=MOST_SEEDS)], ...], Field(min_length=1)] = (0,)
    templates: Annotated[dict[Name, TemplateSettings], Field(min_length=1)] = Field(
        default_factory=lambda: {"plain": TemplateSettings()}
    )
    evaluate: Evaluation
    tune: dict[str, Any] = Field(default_factory=dict)
    """Settings that conditions share."""
    generate: OneGenerator = cast("Generator", {})
    decodings: dict[Name, OneGenerator] = Field(default_factory=dict)
    """Named settings that differ from `generate`; they share its other settings."""
    conditions: Annotated[
        dict[Annotated[Name, AfterValidator(_condition_name)], ConditionSettings], Field(min_length=1)
    ]

    @model_validator(mode="after")
    def _one_set_of_factors(self) -> Study:
        named = {tuple(sorted(condition.factors)) for condition in self.conditions.values() if condition.factors}
        if len(named) > 1:
            listed = " and ".join(", ".join(names) for names in sorted(named))
            raise explained(f"conditions with `factors` must all name the same ones; found {listed}")
        return self

    @property
    def default_template(self) -> str:
        """The template that conditions use unless they name another."""
        return next(iter(self.templates))
