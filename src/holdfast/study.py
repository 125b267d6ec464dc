"""YAML → a study: what is tuned, on what, and how it is measured. Every mistake in the file is reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo

from holdfast.benchmarks import BENCHMARKS
from holdfast.data import SOURCES
from holdfast.defences import DEFENCES
from holdfast.errors import StudyError
from holdfast.files import SHIPPED_PREFIX, did_you_mean, locate
from holdfast.generate import GENERATORS
from holdfast.judge import JUDGES
from holdfast.spec import Spec, explained, one_of
from holdfast.tune import TUNERS
from holdfast.types import Defence, Generator, Judge, Source, Suite, Template, Tuner

if not TYPE_CHECKING:
    Source, Defence = one_of(SOURCES), one_of(DEFENCES)
    Suite, Judge = one_of(BENCHMARKS), one_of(JUDGES)
    Tuner, Generator = one_of(TUNERS, default="local"), one_of(GENERATORS, default="local")

INITIAL = "initial"
"""The name of the model before tuning; no condition may take it."""

Location = tuple[str | int, ...]


def _speakable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise explained(f"{name!r} cannot be a name; use up to 80 letters, digits, dots, hyphens and underscores")
    return name


Name = Annotated[str, AfterValidator(_speakable)]


def _condition_name(name: str) -> str:
    if name == INITIAL or name.startswith(f"{INITIAL}-"):
        raise explained(f"the name {name!r} is kept for the model before tuning; choose another")
    return name


def _asks(user: str) -> str:
    if "{prompt}" not in user:
        raise explained(f"the user turn must say where the request goes, with {{prompt}}; found {user!r}")
    return user


def _model(model: str, info: ValidationInfo) -> str:
    """A folder's absolute path, or a Hub id as it is."""
    folder = locate(model, (info.context or {}).get("folder"))
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise explained(f"{folder} has no config.json, so it is not a Hugging Face model")
        return model if model.startswith(SHIPPED_PREFIX) else str(folder.resolve())
    if model.startswith((SHIPPED_PREFIX, ".", "/", "~")) or model.count("/") > 1:
        near = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise explained(f"there is no folder {folder}.{did_you_mean(folder.name, near)}")
    return model


def _some(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


class TemplateSettings(Spec):
    """How a request is put to the model, in training and when asking."""

    system: str | None = None
    user: Annotated[str, AfterValidator(_asks)] = "{prompt}"

    def template(self) -> Template:
        """The template itself."""
        return Template(self.system, self.user)


class Measured(Spec):
    """A set of prompts and who reads the answers to them."""

    benchmark: Suite
    judges: Annotated[tuple[Judge, ...], BeforeValidator(_some), Field(min_length=1)]
    """The first one's verdicts are the figures; all are recorded."""


class Evaluation(Spec):
    """What every model is asked."""

    harmfulness: Measured
    utility: Measured | None = None
    """A figure is the share of answers scored 5."""
    over_refusal: Measured | None = None
    """A figure is the share of answers scored 1: refusals of permitted requests."""

    def sets(self) -> dict[str, Measured]:
        """The sets that are asked, by name."""
        named = {"harmfulness": self.harmfulness, "utility": self.utility, "over_refusal": self.over_refusal}
        return {name: measured for name, measured in named.items() if measured is not None}


class ConditionSettings(Spec):
    """One way of tuning."""

    data: Source
    defence: Defence | None = None
    template: str | None = None
    """Name of one of the study's templates; the first if not given."""
    tune: Tuner = cast("Tuner", {})
    """Settings that differ from the study's `tune`."""


class Study(Spec):
    """One experiment."""

    name: Name
    model: Annotated[str, AfterValidator(_model)]
    """`pocket:aligned`, a folder, or an id on the Hugging Face Hub."""
    revision: str | None = None
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    templates: Annotated[dict[Name, TemplateSettings], Field(min_length=1)] = Field(
        default_factory=lambda: {"plain": TemplateSettings()}
    )
    evaluate: Evaluation
    tune: dict[str, Any] = Field(default_factory=dict)
    """Settings that conditions share; each is checked where it is used."""
    generate: Generator = cast("Generator", {})
    conditions: Annotated[
        dict[Annotated[Name, AfterValidator(_condition_name)], ConditionSettings], Field(min_length=1)
    ]

    @property
    def default_template(self) -> str:
        """The template that conditions use unless they name another."""
        return next(iter(self.templates))


def find(name: str) -> Path:
    """The file of a study: a path, or the name of a shipped study.

    Raises:
        StudyError: neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = {entry.name.removesuffix(".yaml"): entry for entry in shipped_studies()}
    if name in shipped:
        return shipped[name]
    raise StudyError(
        f"there is no study file {name}, and no shipped study of that name; "
        f"shipped are {', '.join(shipped)}.{did_you_mean(name, shipped)}"
    )


def shipped_studies() -> list[Path]:
    """The study files that come with the package."""
    folder = Path(str(resources.files("holdfast"))) / "studies"
    return sorted(folder.glob("*.yaml"))


def title(path: Path) -> str:
    """What a study is about: the first line of its header."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()


def read(path: Path) -> Study:
    """Read and check a study file. Nothing is loaded.

    Raises:
        StudyError: every mistake in the file, each with its line and its remedy.
    """
    text = path.read_text(encoding="utf-8")
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError(f"{path}, line {line}: not YAML: {error.problem or error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise StudyError(f"{path}, line 1: a study must be a mapping with name, model, evaluate and conditions.")
    lines, repeated = _lines(root)
    raw = yaml.safe_load(text)
    _share(raw)
    problems = [(line, f"{what!r} is given twice; keep one") for line, what in repeated]
    study = None
    try:
        study = Study.model_validate(raw, context={"folder": path.parent})
    except ValidationError as error:
        problems += [_explain(detail, lines) for detail in error.errors()]
    problems += _cross_check(raw, lines)
    if problems or study is None:
        listed = "\n  ".join(f"line {line}: {message}" for line, message in sorted(set(problems)))
        raise StudyError(f"{path} has {len(set(problems))} mistake(s):\n  {listed}")
    return study


def _lines(node: yaml.Node, at: Location = ()) -> tuple[dict[Location, int], list[tuple[int, str]]]:
    """The line of each key and list item, and the keys that are given twice."""
    lines: dict[Location, int] = {}
    repeated: list[tuple[int, str]] = []
    children: Iterator[tuple[Any, int, yaml.Node]]
    if isinstance(node, yaml.MappingNode):
        children = ((key.value, key.start_mark.line + 1, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        children = ((place, value.start_mark.line + 1, value) for place, value in enumerate(node.value))
    else:
        return {}, []
    for name, line, value in children:
        if (*at, name) in lines:
            repeated.append((line, name))
        lines[(*at, name)] = line
        inner, again = _lines(value, (*at, name))
        lines.update(inner)
        repeated += again
    return lines, repeated


def _share(raw: dict[str, Any]) -> None:
    """Give each condition the study's `tune` settings that it does not set itself."""
    common, conditions = raw.get("tune", {}), raw.get("conditions")
    for condition in conditions.values() if isinstance(conditions, dict) else ():
        if isinstance(condition, dict) and isinstance(common, dict) and isinstance(condition.get("tune", {}), dict):
            condition["tune"] = {**common, **condition.get("tune", {})}


def _place(location: Location, lines: dict[Location, int]) -> tuple[int, str]:
    """Line and name of what is wrong; a setting that conditions share is wrong where the study's `tune` sets it."""
    location = tuple(part for part in location if part != "[key]")
    if location[:1] == ("conditions",) and location[2:3] == ("tune",) and location not in lines:
        shared = ("tune", *location[3:])
        location = shared if shared in lines else location
    nearest = location
    while nearest and nearest not in lines:
        nearest = nearest[:-1]
    return lines.get(nearest, 1), ".".join(map(str, location))


def _explain(detail: Any, lines: dict[Location, int]) -> tuple[int, str]:
    line, where = _place(detail["loc"], lines)
    return line, f"{where}: {detail['msg']}" if where else str(detail["msg"])


def _cross_check(raw: dict[str, Any], lines: dict[Location, int]) -> list[tuple[int, str]]:
    """Mistakes that lie between two places of the file."""
    problems = []
    templates = raw.get("templates") if isinstance(raw.get("templates"), dict) else {"plain": {}}
    conditions = raw.get("conditions") if isinstance(raw.get("conditions"), dict) else {}
    for name, condition in (conditions or {}).items():
        wanted = condition.get("template") if isinstance(condition, dict) else None
        if isinstance(wanted, str) and wanted not in (templates or {}):
            known = ", ".join(map(str, templates or {}))
            at = lines[("conditions", name, "template")]
            problems.append((at, f"conditions.{name}.template: there is no template {wanted!r}; use one of {known}."
                             f"{did_you_mean(wanted, map(str, templates or {}))}"))  # fmt: skip
    return problems
