"""YAML → a study: what is tuned, on what, and how it is measured. Every mistake in the file is reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, model_validator

from holdfast.benchmarks import BENCHMARKS
from holdfast.data import SOURCES
from holdfast.defences import DEFENCES
from holdfast.errors import StudyError
from holdfast.files import FOLDERS, did_you_mean, locate
from holdfast.generate import GENERATORS
from holdfast.judge import JUDGES
from holdfast.protocols import Defence, Generator, Judge, Source, Suite, Tuner
from holdfast.spec import File, Spec, explained, one_of
from holdfast.tune import TUNERS
from holdfast.types import Template

if not TYPE_CHECKING:
    Source, Defence = one_of(SOURCES), one_of(DEFENCES)
    Suite, Judge = one_of(BENCHMARKS), one_of(JUDGES)
    Tuner, Generator = one_of(TUNERS, default="local"), one_of(GENERATORS, default="local")

INITIAL = "initial"
"""The name of the model before tuning; no condition may take it."""

Location = tuple[str | int, ...]

GRID_NAMES = {"learning_rate": "lr", "batch_size": "batch"}
"""What a grid's settings are called in the names of its conditions."""


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
        return model if model.startswith(tuple(FOLDERS)) else str(folder.resolve())
    if model.startswith((*FOLDERS, ".", "/", "~")) or model.count("/") > 1:
        near = [entry.name for entry in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise explained(f"there is no folder {folder}.{did_you_mean(folder.name, near)}")
    return model


def _some(value: Any) -> Any:
    return [value] if isinstance(value, str | dict) else value


class TemplateSettings(Spec):
    """How a request is put to the model, in training and when asking."""

    system: str | None = None
    system_file: File | None = None
    """A text file that holds the system turn, in place of `system`."""
    user: Annotated[str, AfterValidator(_asks)] = "{prompt}"

    @model_validator(mode="after")
    def _one_system(self) -> TemplateSettings:
        if self.system is not None and self.system_file is not None:
            raise explained("give the system turn as `system` or as `system_file`, not as both")
        return self

    def template(self) -> Template:
        """The template itself."""
        text = self.system_file.read_text(encoding="utf-8").strip() if self.system_file else self.system
        return Template(text, self.user)


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

    label: str | None = None
    """What tables call it, where its name would say too little."""
    data: Source
    defence: Defence | None = None
    template: str | None = None
    """Name of the template that it is tuned with; the study's first if not given."""
    ask: str | None = None
    """Name of the template that it is asked with; the one that it is tuned with if not given."""
    decoding: str | None = None
    """Name of one of the study's decodings; the study's `generate` as it is if not given."""
    factors: dict[str, str] = Field(default_factory=dict)
    """Factor → level, for studies that ask how much of the rate's variance each factor explains."""
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
    decodings: dict[Name, Generator] = Field(default_factory=dict)
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


def read(path: Path, folder: Path | None = None, model: str | None = None) -> Study:
    """Read and check a study file. Nothing is loaded.

    Files are looked for beside the study, or in `folder`; `model` takes the place of the study's own.

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
    if model is not None:
        raw["model"] = model
    expanded = _expand(raw)
    _share(raw)
    problems = [(line, f"{what!r} is given twice; keep one") for line, what in repeated]
    study = None
    try:
        study = Study.model_validate(raw, context={"folder": folder or path.parent})
    except ValidationError as error:
        problems += [_explain(detail, lines, expanded) for detail in error.errors()]
    problems += _cross_check(raw, lines, expanded)
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


def _expand(raw: dict[str, Any]) -> dict[str, str]:
    """Put each condition's `grid` of tuning settings in its place: one condition for each combination.

    Returns:
        The name of each expanded condition → the name that it has in the file.
    """
    conditions, expanded = raw.get("conditions"), {}
    if not isinstance(conditions, dict):
        return {}
    every: dict[str, Any] = {}
    for name, condition in conditions.items():
        grid = condition.get("grid") if isinstance(condition, dict) else None
        if not isinstance(grid, dict) or not all(isinstance(values, list) for values in grid.values()):
            every[name] = condition
            continue
        common = {key: value for key, value in condition.items() if key != "grid"}
        for values in product(*grid.values()):
            chosen = dict(zip(grid, values, strict=True))
            full = "-".join([str(name), *(f"{GRID_NAMES.get(key, key)}-{value}" for key, value in chosen.items())])
            every[full] = {**common, "tune": {**(common.get("tune") or {}), **chosen}}
            expanded[full] = str(name)
    raw["conditions"] = every
    return expanded


def _share(raw: dict[str, Any]) -> None:
    """Give conditions the study's `tune` settings that they do not set, and decodings those of `generate`."""
    _inherit(raw.get("conditions"), "tune", raw.get("tune", {}))
    decodings, common = raw.get("decodings"), raw.get("generate", {})
    if isinstance(decodings, dict) and isinstance(common, dict):
        raw["decodings"] = {
            name: {**common, **settings} if isinstance(settings, dict) else settings
            for name, settings in decodings.items()
        }


def _inherit(conditions: Any, section: str, common: Any) -> None:
    for condition in conditions.values() if isinstance(conditions, dict) else ():
        if isinstance(condition, dict) and isinstance(common, dict) and isinstance(condition.get(section, {}), dict):
            condition[section] = {**common, **condition.get(section, {})}


def _place(location: Location, lines: dict[Location, int], expanded: dict[str, str]) -> tuple[int, str]:
    """Line and name of what is wrong; a setting that conditions share is wrong where the study's `tune` sets it."""
    location = tuple(part for part in location if part != "[key]")
    if location[:1] == ("conditions",) and location[1:2]:
        location = ("conditions", expanded.get(str(location[1]), location[1]), *location[2:])
    if location[:1] == ("conditions",) and location[2:3] == ("tune",) and location not in lines:
        elsewhere = [(*location[:2], "grid", *location[3:]), ("tune", *location[3:])]
        location = next((place for place in elsewhere if place in lines), location)
    nearest = location
    while nearest and nearest not in lines:
        nearest = nearest[:-1]
    return lines.get(nearest, 1), ".".join(map(str, location))


def _explain(detail: Any, lines: dict[Location, int], expanded: dict[str, str]) -> tuple[int, str]:
    line, where = _place(detail["loc"], lines, expanded)
    return line, f"{where}: {detail['msg']}" if where else str(detail["msg"])


def _cross_check(raw: dict[str, Any], lines: dict[Location, int], expanded: dict[str, str]) -> list[tuple[int, str]]:
    """Names in conditions that nothing in the file has."""
    problems = []
    known = {"template": raw.get("templates") or {"plain": {}}, "decoding": raw.get("decodings") or {}}
    known["ask"] = known["template"]
    conditions = raw.get("conditions")
    for name, condition in conditions.items() if isinstance(conditions, dict) else ():
        for field, names in known.items():
            wanted = condition.get(field) if isinstance(condition, dict) else None
            if isinstance(wanted, str) and isinstance(names, dict) and wanted not in names:
                line, where = _place(("conditions", name, field), lines, expanded)
                listed = ", ".join(map(str, names)) or "none, for the study has none"
                what = "decoding" if field == "decoding" else "template"
                problems.append((line, f"{where}: there is no {what} {wanted!r}; use one of {listed}."
                                 f"{did_you_mean(wanted, map(str, names))}"))  # fmt: skip
    return problems
