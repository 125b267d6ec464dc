"""YAML → a study, with the line of each mistake; every mistake in the file is reported at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from holdfast.core.config import one_of
from holdfast.core.errors import StudyError
from holdfast.core.files import did_you_mean, read_text
from holdfast.core.protocols import Judge
from holdfast.judges import JUDGES
from holdfast.study.schema import Study

Location = tuple[str | int, ...]

GRID_NAMES = {"learning_rate": "lr", "batch_size": "batch"}
"""What a grid's settings are called in the names of its conditions."""


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
    folder = Path(__file__).parent / "studies"
    return sorted(folder.glob("*.yaml"))


def title(path: Path) -> str:
    """What a study is about: the first line of its header."""
    return read_text(path).splitlines()[0].removeprefix("#").strip()


def read(path: Path, folder: Path | None = None, model: str | None = None) -> Study:
    """Read and check a study file. Nothing is loaded.

    Files are looked for beside the study, or in `folder`; `model` takes the place of the study's own.

    Raises:
        StudyError: every mistake in the file, each with its line and its remedy.
    """
    text = read_text(path)
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
        problems += [_explain(detail, lines, expanded) for detail in _causes(error)]
    problems += _cross_check(raw, lines, expanded)
    if problems or study is None:
        listed = _listed(problems)
        raise StudyError(f"{path} has {len(listed)} mistake(s):\n  " + "\n  ".join(listed))
    return study


def _listed(problems: list[tuple[int, str]]) -> list[str]:
    """Each mistake once, where it comes first, with the other lines that have it."""
    places: dict[str, list[tuple[int, str]]] = {}
    for line, message in sorted(set(problems)):
        places.setdefault(message.partition(": ")[2] or message, []).append((line, message))
    listed = []
    for found in places.values():
        (first, message), others = found[0], sorted({line for line, _ in found[1:]} - {found[0][0]})
        also = f" (also {', '.join(map(str, others))})" if others else ""
        listed.append(f"line {first}{also}: {message}")
    return listed


def _causes(error: ValidationError) -> list[Any]:
    """The mistakes, without those that only follow from one further inside: items that are wrong leave a list short."""
    details = error.errors()
    locations = [detail["loc"] for detail in details]

    def follows(detail: Any) -> bool:
        where = detail["loc"]
        inner = any(len(other) > len(where) and other[: len(where)] == where for other in locations)
        return inner and "after validation, not 0" in detail["msg"]

    return [detail for detail in details if not follows(detail)]


def judge(text: str) -> Judge:
    """A judge by its name, by its settings as YAML, or by a YAML file that holds them as a study's `judges` does.

    Raises:
        StudyError: it is none, or its settings have mistakes.
    """
    named = os.path.isfile(text)  # noqa: PTH113 - settings can be too long for a path, which this allows
    try:
        settings = yaml.safe_load(read_text(Path(text)) if named else text)
        folder = Path(text).parent if named else Path()
        found: Judge = TypeAdapter(one_of(JUDGES)).validate_python(settings, context={"folder": folder})
    except yaml.YAMLError as error:
        raise StudyError(f"{text}: not YAML: {error}") from None
    except ValidationError as error:
        listed = "\n  ".join(_explain(detail, {}, {})[1] for detail in error.errors())
        raise StudyError(f"{text} is no judge:\n  {listed}") from None
    return found


def read_judges(path: Path) -> tuple[str, tuple[Judge, ...]]:
    """The name and the harmfulness judges of a study; or of a file that holds the settings of one judge.

    Raises:
        StudyError: the file is neither.
    """
    try:
        raw = yaml.safe_load(read_text(path))
    except yaml.YAMLError:
        raw = None
    if isinstance(raw, dict) and "kind" in raw:
        return path.stem, (judge(str(path)),)
    study = read(path)
    return study.name, study.evaluate.harmfulness.judges


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
        if not isinstance(condition, dict) or "checkpoint" in condition:
            continue
        if isinstance(common, dict) and isinstance(condition.get(section, {}), dict):
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
