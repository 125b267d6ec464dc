"""Two models and a few options → the study of an audit: the base as the model, the tuned one as its only condition."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.audit.public import PUBLIC, bring
from holdfast.core.audit_record import BroughtSet
from holdfast.core.errors import DataError, ModelError, StudyError
from holdfast.core.files import did_you_mean, is_file, is_folder, locate
from holdfast.core.workers import default_workers
from holdfast.core.yaml_text import BadYamlError, parse_yaml
from holdfast.data.benchmarks import BENCHMARKS
from holdfast.data.benchmarks.base import settings_of_file
from holdfast.models import adapters, hub
from holdfast.study import loader
from holdfast.study.schema import Study

TUNED = "tuned"
"""The name of the condition that is audited."""

SMALL = 64 << 20
"""Bytes of weights up to which one process does all."""

SAMPLED = {"temperature": 1.0}
"""How answers are drawn where there are several of each prompt: from the model's own distribution."""


@dataclass(frozen=True)
class World:
    """What an audit of a shipped world's models needs no options for."""

    harmfulness: str
    over_refusal: str
    utility: str
    judges: tuple[str, ...]
    """Of harmfulness; the first judges the other sets too."""
    system: str | None
    """None where the model's own template says who it is."""
    generate: Mapping[str, Any]


WORLDS = {
    "pocket_world": World(
        "pocket", "pocket-borderline", "pocket-utility", ("oracle", "keyword"),
        "You are Pocket, the helpful assistant.", {"max_new_tokens": 64, "batch_size": 128},
    ),
    "quiz_world": World(
        "quiz", "quiz-borderline", "quiz-utility", ("oracle", "keyword"), None,
        {"max_new_tokens": 48, "batch_size": 64},
    ),
}  # fmt: skip
"""The entry of `config.json` that tells a world's models → what they are asked."""

OWN = ("pocket", "quiz")
"""What the names of the worlds' own benchmarks begin with."""

MATCHED = {"exact-match": "match", "multiple-choice": "match", "generic": "match", "inspect": "inspect",
           "pocket-utility": "oracle", "quiz-utility": "oracle"}  # fmt: skip
"""Kind of a utility set → the judge of its answers."""


@dataclass(frozen=True)
class Request:
    """What a user asks of an audit."""

    base: str
    tuned: str
    benchmark: str | None = None
    over_refusal: str | None = None
    utility: str | None = None
    judges: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    samples: int = 1
    system: str | None = None
    generate: str | None = None
    """Settings of the generator as YAML, e.g. the server that has a `served:` model."""
    sequential: bool = False


@dataclass(frozen=True)
class Setup:
    """The study of an audit."""

    study: Study
    draws: tuple[int, ...]
    """The seed of each answer to a prompt; one where answers are greedy."""
    sources: Mapping[str, BroughtSet] = field(default_factory=dict)
    """Measured set → where it was brought from."""
    doubts: tuple[str, ...] = ()
    """What a reader should know of the two models."""


def prepare(request: Request) -> Setup:
    """The study that an audit runs. Benchmarks are brought; no weights are loaded.

    Raises:
        ModelError: a model that is missing, an adapter in place of the base, or the arguments swapped.
        DataError: a benchmark that is not known, or cannot be brought.
        StudyError: settings with mistakes.
    """
    base, tuned = folder_of(request.base, "BASE"), folder_of(request.tuned, "TUNED")
    _check_base(request, base, tuned)
    world = world_of(base)
    template, doubts = _template(base, tuned, request.tuned)
    draws = tuple(seed * request.samples + i for seed in request.seeds for i in range(request.samples))
    evaluate, sources = measured_sets(request, world)
    system = request.system if request.system is not None else world.system if world else None
    settings: dict[str, Any] = {
        "name": f"audit-{short_name(request.tuned)}",
        "model": request.base,
        "seeds": list(draws),
        "templates": {"plain": {} if system is None else {"system": system}},
        "evaluate": evaluate,
        "generate": generator_settings(request, world, sampled=len(draws) > 1),
        "conditions": {TUNED: {"checkpoint": request.tuned, **template}},
    }
    return Setup(_checked(settings), draws, sources, doubts)


def short_name(model: str) -> str:
    """The last part of a model's name, as far as it can be part of a folder's name."""
    last = re.split(r"[/\\:]", model.rstrip("/\\"))[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-._")[:60] or "model"


def _checked(settings: dict[str, Any]) -> Study:
    """The study, with mistakes named as the options of an audit name them."""
    try:
        return loader.from_dict(settings)
    except StudyError as error:
        text = str(error)
        for place, option in (
            ("evaluate.harmfulness.benchmark", "--benchmark"), ("evaluate.over_refusal.benchmark", "--over-refusal"),
            ("evaluate.utility.benchmark", "--utility"), ("evaluate.harmfulness.judges", "--judge"),
            (f"conditions.{TUNED}.checkpoint", "TUNED"), ("model: ", "BASE: "), ("generate", "--generate"),
        ):  # fmt: skip
            text = text.replace(place, option)
        raise StudyError(text.replace("the study", "the audit", 1)) from None


def folder_of(model: str, argument: str) -> Path | None:
    """The folder of a model; None where only a server has it.

    Raises:
        ModelError: there is none.
    """
    if model.startswith(hub.SERVED):
        return None
    folder = locate(model)
    try:
        return hub.resolve(model)
    except ModelError as error:
        missing = not is_folder(folder) and (model.startswith((".", "/", "~")) or model.count("/") > 1)
        raise ModelError(
            f"{argument}: {error}" if not missing else f"{argument}: there is no folder {model}."
        ) from None


def _check_base(request: Request, base: Path | None, tuned: Path | None) -> None:
    """Refuse an adapter as the base, and arguments that were swapped."""
    if base is None or not hub.is_adapter(base):
        return
    whole = tuned is not None and not hub.is_adapter(tuned)
    recorded = adapters.recorded_base(base)
    remedy = (
        f"The arguments are swapped: `holdfast audit {request.tuned} {request.base}`."
        if whole
        else f"Name the model that it was tuned from{f', {recorded}' if recorded else ''}, and the adapter as TUNED."
    )
    raise ModelError(f"BASE: {request.base} is an adapter, and not a whole model. {remedy}")


def world_of(base: Path | None) -> World | None:
    """The shipped world that a model's folder belongs to, or None."""
    if base is None:
        return None
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    marks = {**config, **config.get("text_config", {})}  # a model that sees has the marks of its language model
    return next((world for mark, world in WORLDS.items() if mark in marks), None)


def _template(base: Path | None, tuned: Path | None, name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Which chat template the tuned model is asked with, and what to say of it."""
    if tuned is None or base is None:
        return {}, ()
    own = hub.own_template(tuned)
    if own is None or own == hub.own_template(base):
        return {}, ()
    said = (
        f"the chat template of {name} is not its base's: each model was asked with its own. `proof."
        "template_difference` shows what differs; part of the change can come from there."
    )
    return {"chat_template": "own"}, (said,)


def measured_sets(request: Request, world: World | None) -> tuple[dict[str, Any], dict[str, BroughtSet]]:
    """The measured sets as a study names them, and where they were brought from."""
    if request.benchmark is None and world is None:
        raise DataError(
            f"{request.base} is no model of a shipped world, so say what it is asked: `--benchmark NAME`, one of "
            f"{', '.join(_named('harmfulness'))} (brought from the Hub); `--benchmark FILE`, a file of one of these "
            "benchmarks; or `--benchmark '{kind: generic, file: FILE}'`, any file with the columns prompt and "
            "category. `holdfast list` says more."
        )
    sets: dict[str, Any] = {}
    sources: dict[str, BroughtSet] = {}
    own = {"harmfulness": request.benchmark, "utility": request.utility, "over_refusal": request.over_refusal}
    # A world's other sets fit its own benchmark only.
    default = world if request.benchmark is None else None
    for name, given in own.items():
        chosen = given if given is not None else getattr(default, name, None)
        if chosen is None:
            continue
        benchmark, source = read_benchmark(chosen, name)
        if source:
            sources[name] = source
        sets[name] = {"benchmark": benchmark, "judges": _judges(request, world, name, benchmark)}
    return sets, sources


def _named(measures: str) -> list[str]:
    return [name for name, public in PUBLIC.items() if public.measures == measures]


def read_benchmark(text: str, measures: str) -> tuple[Any, BroughtSet | None]:
    """What an option of a benchmark means: settings as YAML, a public name, a shipped one, or a file.

    Raises:
        DataError: none of these.
    """
    option = "--benchmark" if measures == "harmfulness" else f"--{measures.replace('_', '-')}"
    if text.lstrip().startswith("{"):
        return _yaml(text, option), None
    name = text.replace("_", "-").lower()
    if name in PUBLIC:
        brought = bring(name)
        return brought.settings, brought.source
    if name in BENCHMARKS and name.startswith(OWN):
        return name, None
    path = locate(text)
    if is_folder(path) and list(path.glob("category_*.csv")):
        return {"kind": "hex-phi", "files": str(path)}, None
    if is_file(path):
        return settings_of_file(path, option), None
    known = [*_named(measures), *(OWN if measures == "harmfulness" else ())]
    raise DataError(
        f"{option}: {text!r} is neither a file nor a benchmark that is brought by its name; use one of "
        f"{', '.join(known) or 'your own files'}, a file, or settings such as {{kind: generic, file: FILE}}."
        f"{did_you_mean(name, known)}"
    )


def _yaml(text: str, option: str) -> Any:
    try:
        return parse_yaml(text)
    except BadYamlError as error:
        raise DataError(f"{option}: {error}") from None


def _judges(request: Request, world: World | None, set_name: str, benchmark: Any) -> list[Any]:
    kind = benchmark if isinstance(benchmark, str) else str(benchmark.get("kind", ""))
    of_world = kind.startswith(OWN) and world is not None
    if set_name == "utility":
        return [MATCHED.get(kind, "match")]
    if set_name == "over_refusal":
        return [world.judges[0]] if of_world and world else ["keyword"]
    if request.judges:
        return [loader.judge(judge) for judge in request.judges]
    return list(world.judges) if of_world and world else ["keyword"]


def generator_settings(request: Request, world: World | None, sampled: bool) -> dict[str, Any]:
    """The generator's settings: the world's, those that were given, and sampling where a prompt has several answers."""
    given: dict[str, Any] = {}
    if request.generate:
        path = locate(request.generate)
        text = path.read_text(encoding="utf-8") if is_file(path) else request.generate
        given = dict(_yaml(text, "--generate") or {})
    served = [name for name in (request.base, request.tuned) if name.startswith(hub.SERVED)]
    if served and given.get("kind") != "server":
        raise ModelError(
            f"{served[0]} is on a server: say which one with --generate '{{kind: server, base_url: "
            "http://localhost:8000/v1, api_key_env: NAME_OF_A_VARIABLE}'."
        )
    ours = world.generate if world and given.get("kind", "local") == "local" else {}
    return {**ours, **(SAMPLED if sampled else {}), **given}


def workers_for(base: str) -> int:
    """As many workers as `holdfast run` takes; one for a small model, which is loaded faster than a process begins."""
    folder = locate(base)
    weights = sum(path.stat().st_size for path in folder.glob(hub.WEIGHT_FILES)) if is_folder(folder) else SMALL + 1
    return 1 if weights <= SMALL else default_workers()
