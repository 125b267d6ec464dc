"""YAML or a dict → a study. Every mistake is reported at once, with its line."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from holdfast.core.config import OneOf, label
from holdfast.core.errors import DataError, StudyError
from holdfast.core.file_faults import shown
from holdfast.core.files import did_you_mean, is_file, read_text
from holdfast.core.protocols import Judge
from holdfast.core.yaml_text import MOST_CHARACTERS, BadYamlError, compose, parse_yaml, read_yaml, values
from holdfast.judges import JUDGES
from holdfast.models.names import ModelName
from holdfast.study import one_world
from holdfast.study.expansion import Location, Origin, expand
from holdfast.study.schema import Study
from holdfast.tuning import TUNERS

MOST_LISTED, LONGEST_LISTED = 100, 1000
"""How many mistakes one error lists, and the characters that it says of each."""


def find(name: str) -> Path:
    """The file of a study: a path, or the name of a shipped study.

    Raises:
        StudyError: neither.
    """
    path = Path(name)
    if is_file(path):
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


def read(
    path: Path, folder: Path | None = None, model: str | None = None, only: Collection[str] | None = None
) -> Study:
    """Read and check a study file. Nothing is loaded.

    Files are looked for beside the study, or in `folder`; `model` takes the place of the study's own. With `only`,
    conditions of other names are left out before anything of them is looked for.

    Raises:
        StudyError: every mistake in the file, each with its line and its remedy.
    """
    try:
        root = compose(read_text(path, MOST_CHARACTERS * 4))
        if not isinstance(root, yaml.MappingNode):
            raise BadYamlError(1, "a study must be a mapping with name, model, evaluate and conditions.")
        lines, repeated = _lines(root)
        raw = values(root)
    except BadYamlError as error:
        raise StudyError(f"{path}, {error}") from None
    if only is not None and isinstance(raw.get("conditions"), dict):
        raw["conditions"] = {name: each for name, each in raw["conditions"].items() if name in only}
    repetitions = [(line, f"{shown(name)} is given twice; keep one") for line, name in repeated]
    return _check(raw, str(path), folder or path.parent, model, lines, repetitions)


def from_dict(settings: Mapping[str, Any], folder: Path | None = None, model: str | None = None) -> Study:
    """Check a study that was made in Python: a dict with the keys of a study file. Nothing is loaded.

    Files are looked for in `folder`, or in the working folder; `model` takes the place of the study's own.

    Raises:
        StudyError: every mistake, each with its remedy.
    """
    return _check(deepcopy(dict(settings)), "the study", folder or Path(), model, {}, [])


def with_model(study: Study, model: str, folder: Path | None = None) -> Study:
    """A study of another model: a name or a folder, relative to `folder` or the working folder.

    Raises:
        StudyError: there is no such folder, or it holds no model.
    """
    try:
        name = TypeAdapter[str](ModelName).validate_python(model, context={"folder": folder or Path()})
    except ValidationError as error:
        raise StudyError(f"model: {error.errors()[0]['msg']}") from None
    return study.model_copy(update={"model": name})


def _check(
    raw: dict[str, Any], name: str, folder: Path, model: str | None, lines: dict[Location, int],
    problems: list[tuple[int, str]],
) -> Study:  # fmt: skip
    """The study that settings make; `lines` has the line of each setting, and `problems` what is known to be wrong."""
    if model is not None:
        raw["model"] = model
    origins = expand(raw, name)
    unused = _unused_tune(raw, folder)
    _share(raw)
    try:
        study = Study.model_validate(raw, context={"folder": folder, "world": one_world.home(raw.get("model"), folder)})
        details = one_world.mixed(study)
    except ValidationError as error:
        study, details = None, _causes(error.errors())
    problems = problems + [_explain(detail, lines, origins) for detail in [*unused, *details]]
    problems += _cross_check(raw, lines, origins)
    if problems or study is None:
        listed = _listed(problems, numbered=bool(lines))
        more = [f"… and {len(listed) - MOST_LISTED} more"] if len(listed) > MOST_LISTED else []
        shortened = [each if len(each) <= LONGEST_LISTED else f"{each[:LONGEST_LISTED]}…" for each in listed]
        raise StudyError(f"{name} has {len(listed)} mistake(s):\n  " + "\n  ".join(shortened[:MOST_LISTED] + more))
    return study


def _unused_tune(raw: dict[str, Any], folder: Path) -> list[Any]:
    """The mistakes in the study's `tune` where no condition uses it, and so none would show them."""
    conditions = raw.get("conditions")
    settings = conditions.values() if isinstance(conditions, dict) else ()
    if any(isinstance(condition, dict) and "checkpoint" not in condition for condition in settings):
        return []
    try:
        TypeAdapter(Annotated[Any, OneOf(TUNERS, default="local")]).validate_python(
            raw.get("tune", {}), context={"folder": folder}
        )
    except ValidationError as error:
        return [{**detail, "loc": ("tune", *detail["loc"])} for detail in error.errors()]
    return []


def _listed(problems: list[tuple[int, str]], numbered: bool) -> list[str]:
    """Each mistake once. `numbered`: with the line where it comes first, and the other lines that have it."""
    by_message: dict[str, list[tuple[int, str]]] = {}
    for line, message in sorted(set(problems)):
        by_message.setdefault(message.partition(": ")[2] or message, []).append((line, message))
    listed = []
    for same in by_message.values():
        first, message = same[0]
        others = sorted({line for line, _ in same} - {first})
        also = f" (also {', '.join(map(str, others))})" if others else ""
        listed.append(f"line {first}{also}: {message}" if numbered else message)
    return listed


def _causes(details: Sequence[Any]) -> list[Any]:
    """The mistakes, without those that only follow from one further inside: items that are wrong leave a list short."""
    outer = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}

    def follows(detail: Any) -> bool:
        return detail["loc"] in outer and "after validation, not 0" in detail["msg"]

    return [detail for detail in details if not follows(detail)]


def judge(text: str) -> Judge:
    """A judge by its name, by its settings as YAML, or by a YAML file that holds them as a study's `judges` does.

    Raises:
        StudyError: it is none, or its settings have mistakes.
        DataError: the file cannot be read as YAML.
    """
    try:
        settings = read_yaml(Path(text)) if is_file(Path(text)) else parse_yaml(text)
        folder = Path(text).parent if is_file(Path(text)) else Path()
        made: Judge = TypeAdapter(Annotated[Any, OneOf(JUDGES)]).validate_python(settings, context={"folder": folder})
    except BadYamlError as error:
        raise StudyError(f"{shown(text)} is no judge: {error}") from None
    except ValidationError as error:
        details = error.errors()[:MOST_LISTED]
        listed = "\n  ".join(_explain(detail, {}, {})[1][:LONGEST_LISTED] for detail in details)
        raise StudyError(f"{shown(text)} is no judge:\n  {listed}") from None
    return made


def in_run(text: str) -> str:
    """The name under which a run has a judge: that of its settings or their file; a name stays as it is."""
    return label(judge(text)) if is_file(Path(text)) or text.lstrip().startswith("{") else text


def read_judges(path: Path) -> tuple[str, tuple[Judge, ...]]:
    """The name and the harmfulness judges of a study; or of a file that holds the settings of one judge.

    Raises:
        StudyError: the file is neither.
    """
    try:
        is_judge = "kind" in (read_yaml(path) or ())
    except (DataError, TypeError):
        is_judge = False
    if is_judge:
        return path.stem, (judge(str(path)),)
    study = read(path)
    return study.name, study.evaluate.harmfulness.judges


def _lines(node: yaml.Node, at: Location = ()) -> tuple[dict[Location, int], list[tuple[int, str]]]:
    """The line of each key and list item, and the keys that occur twice."""
    lines: dict[Location, int] = {}
    repeated: list[tuple[int, str]] = []
    children: Iterator[tuple[Any, int, yaml.Node]]
    if isinstance(node, yaml.MappingNode):
        children = ((key.value, key.start_mark.line + 1, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        children = ((index, value.start_mark.line + 1, value) for index, value in enumerate(node.value))
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
        for settings in (condition, condition.get("then")):
            if isinstance(settings, dict) and isinstance(common, dict) and isinstance(settings.get(section, {}), dict):
                settings[section] = {**common, **settings.get(section, {})}


def _place(location: Location, lines: dict[Location, int], origins: Mapping[str, Origin]) -> tuple[int, str]:
    """Line and name of what is wrong; a setting that conditions share is wrong where the study's `tune` sets it."""
    location = tuple(part for part in location if part != "[key]")
    if location[:1] == ("conditions",) and location[1:2]:
        origin = origins.get(str(location[1]), Origin(location[:2]))
        location = origin.of(location[2:])
    if location[:1] in (("conditions",), ("attacks",)) and location[2:3] == ("tune",) and location not in lines:
        elsewhere = [(*location[:2], "grid", *location[3:]), ("tune", *location[3:])]
        location = next((candidate for candidate in elsewhere if candidate in lines), location)
    nearest = location
    while nearest and nearest not in lines:
        nearest = nearest[:-1]
    return lines.get(nearest, 1), ".".join(map(str, location))


def _explain(detail: Any, lines: dict[Location, int], origins: Mapping[str, Origin]) -> tuple[int, str]:
    line, name = _place(detail["loc"], lines, origins)
    return line, f"{name}: {detail['msg']}" if name else str(detail["msg"])


def _cross_check(
    raw: dict[str, Any], lines: dict[Location, int], origins: Mapping[str, Origin]
) -> list[tuple[int, str]]:
    """Conditions that name a template or a decoding that the study does not have."""
    templates, decodings = raw.get("templates") or {"plain": {}}, raw.get("decodings") or {}
    known = {"template": ("template", templates), "ask": ("template", templates), "decoding": ("decoding", decodings)}
    conditions = raw.get("conditions")
    problems: list[tuple[int, str]] = []
    for name, condition in conditions.items() if isinstance(conditions, dict) else ():
        if len(problems) > MOST_LISTED:
            break
        for field, (kind, names) in known.items():
            wanted = condition.get(field) if isinstance(condition, dict) else None
            if isinstance(wanted, str) and isinstance(names, dict) and wanted not in names:
                line, setting = _place(("conditions", name, field), lines, origins)
                problems.append((line, f"{setting}: there is no {kind} {wanted!r}; {_allowed(wanted, names)}"))
    return problems


def _allowed(wanted: str, names: Mapping[str, Any]) -> str:
    listed = ", ".join(map(str, names)) or "none, for the study has none"
    return f"use one of {listed}.{did_you_mean(wanted, map(str, names))}"


def text_of(settings: Mapping[str, Any]) -> str | None:
    """A dict as YAML, if all of it can be YAML."""
    try:
        return yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError:
        return None
