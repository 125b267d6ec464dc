"""Which defence to use for a user's own rows and model: the few on the front, tried on a small budget."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from holdfast.analysis import arena, recommendation
from holdfast.audit import setup
from holdfast.core.arena_record import UNDEFENDED
from holdfast.core.errors import DataError, StudyError
from holdfast.core.files import is_file, locate
from holdfast.core.protocols import Watcher
from holdfast.core.recommendation_record import (
    RECOMMENDATION_FILE,
    RECOMMENDATION_SCHEMA,
    Recommendation,
)
from holdfast.core.results import RunResults
from holdfast.core.rows import read_rows
from holdfast.core.yaml_text import BadYamlError, parse_yaml
from holdfast.study import loader
from holdfast.study import run as runner
from holdfast.study.limits import NO_LIMITS, Limits
from holdfast.study.schema import Study
from holdfast.study.starter import rows_settings

CANDIDATES = Path(__file__).parent / "candidates.yaml"
ATTACK = "your-rows"
"""The name under which the user's rows stand in the study."""
FEWEST = 20
"""Rows below which too few can be held out to tell what was learnt."""

TUNED: Mapping[str, Mapping[str, Any]] = {
    "pocket": {"learning_rate": 6e-5, "batch_size": 16, "epochs": 1},
    "quiz": {"method": "lora", "learning_rate": 2e-4, "batch_size": 8, "epochs": 1},
}  # fmt: skip
"""A world's name → how its models are tuned."""
PLAIN: Mapping[str, Any] = {"method": "lora", "learning_rate": 2e-4, "batch_size": 8, "epochs": 1}
"""How any other model is tuned unless `--tune` says otherwise."""


@dataclass(frozen=True)
class Wanted:
    """What a user asks of a recommendation."""

    data: str
    """A file of training rows, or the settings of a source as YAML."""
    model: str
    benchmark: str | None = None
    over_refusal: str | None = None
    utility: str | None = None
    judges: tuple[str, ...] = ()
    safe: str | None = None
    """A file of `messages` with refusals, for the defences that need one."""
    tune: str | None = None
    """Settings of tuning as YAML."""
    rows: int = 200
    """The most rows that are tuned on."""
    seeds: tuple[int, ...] = (0,)
    system: str | None = None
    generate: str | None = None


def study_of(wanted: Wanted) -> Study:
    """The study that is run: the user's rows as the only attack, on every candidate.

    Raises:
        ModelError, DataError, StudyError: a model, rows, benchmark or settings that cannot be used, and how to mend it.
    """
    base = setup.folder_of(wanted.model, "--model")
    if base is None:
        raise StudyError(
            f"{wanted.model} is on a server, and a defence needs the weights on this machine. Name a folder, an id on "
            "the Hub, or a model of a shipped world."
        )
    world = setup.world_of(base)
    name = world.harmfulness if world else None
    request = setup.Request(
        wanted.model, wanted.model, wanted.benchmark, wanted.over_refusal, wanted.utility, wanted.judges,
        system=wanted.system, generate=wanted.generate,
    )  # fmt: skip
    evaluate, _ = setup.measured_sets(request, world)
    system = wanted.system if wanted.system is not None else world.system if world else None
    data = _data(wanted)
    settings: dict[str, Any] = {
        "name": f"recommend-{setup.short_name(wanted.model)}",
        "model": wanted.model,
        "seeds": list(wanted.seeds),
        "templates": {"plain": {} if system is None else {"system": system}},
        "evaluate": evaluate,
        "generate": setup.generator_settings(request, world, sampled=False),
        "tune": {**TUNED.get(name or "", PLAIN), **_mapping(wanted.tune, "--tune")},
        "defences": candidates(wanted.safe or (f"{name}:safe.jsonl" if name else None)),
        "attacks": {
            ATTACK: {
                "by": "paper",
                "data": {"kind": "split", "data": data, "part": "tuned"},
                "held_out": {"kind": "split", "data": data, "part": "held-out"},
            }
        },
    }
    return _checked(settings)


def _checked(settings: dict[str, Any]) -> Study:
    """The study, with mistakes named as the command's options and argument name them."""
    try:
        return loader.from_dict(settings)
    except StudyError as error:
        text = str(error).replace("the study", "the recommendation", 1)
        for place, option in (
            ("evaluate.harmfulness.benchmark", "--benchmark"), ("evaluate.over_refusal.benchmark", "--over-refusal"),
            ("evaluate.utility.benchmark", "--utility"), ("evaluate.harmfulness.judges", "--judge"),
            (f"attacks.{ATTACK}.held_out.data", "DATA"), (f"attacks.{ATTACK}.data.data", "DATA"),
            (f"attacks.{ATTACK}.tune", "--tune"), ("tune.", "--tune: "), ("generate", "--generate"),
        ):  # fmt: skip
            text = text.replace(place, option)
        raise StudyError(text) from None


def candidates(safe: str | None) -> dict[str, Any]:
    """The defences that are tried, by name; those that need refusals only where there is a file of them."""
    text = CANDIDATES.read_text(encoding="utf-8")
    every = yaml.safe_load(text)
    if safe is None:
        every = {name: settings for name, settings in every.items() if "{safe}" not in json.dumps(settings)}
        return dict(every)
    filled: dict[str, Any] = json.loads(json.dumps(every).replace('"{safe}"', json.dumps(safe)))
    return filled


def _data(wanted: Wanted) -> dict[str, Any]:
    """The settings of the user's rows, as many as the budget allows."""
    if wanted.data.lstrip().startswith("{"):
        return {"n": wanted.rows, **_mapping(wanted.data, "DATA")}
    path = locate(wanted.data)
    if not is_file(path):
        raise DataError(
            f"DATA: there is no file {wanted.data}. Name a file of training rows, or give the settings of a source as "
            "a study does, such as '{kind: alpaca, hub: ID}'."
        )
    n = sum(1 for _ in read_rows(path))
    if n < FEWEST:
        raise DataError(
            f"DATA: {wanted.data} has {n} rows, and at least {FEWEST} are needed: a tenth is held out to see whether "
            "the task is learnt."
        )
    return {**rows_settings(path), **({"n": wanted.rows} if n > wanted.rows else {})}


def _mapping(text: str | None, option: str) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        settings = parse_yaml(text)
    except BadYamlError as error:
        raise DataError(f"{option}: {error}") from None
    if not isinstance(settings, dict):
        raise DataError(f"{option}: expected settings such as '{{epochs: 1}}', found {text[:100]!r}.")
    return settings


def recommend(
    wanted: Wanted, folder: Path, workers: int, watcher: Watcher, limits: Limits = NO_LIMITS,
    replace: bool = False,
) -> tuple[Recommendation, RunResults]:  # fmt: skip
    """Try the candidates, write the run and `recommendation.json` into a folder, and say which to use.

    Raises:
        HoldfastError: as `study_of` and `run.run`.
    """
    study = study_of(wanted)
    done = runner.run(
        study, None, folder, wanted.seeds, workers, watcher, limits=limits, replace_results=replace
    )  # fmt: skip
    runner.write_page(done.run_folder, done.results, show_answers=False)
    made = of_results(wanted, done.results)
    RECOMMENDATION_FILE.write(folder, made)
    return made, done.results


def of_results(wanted: Wanted, results: RunResults) -> Recommendation:
    """What a finished run of the candidates says."""
    found = recommendation.tried(arena.record_of(results), ATTACK)
    chosen, why = recommendation.choose(found)
    settings = next((each.settings for each in found if each.name == chosen), ())
    return Recommendation(
        schema=RECOMMENDATION_SCHEMA,
        evidence=results.evidence,
        model=wanted.model,
        data=wanted.data,
        stand_in=results.model.stand_in,
        chosen=chosen,
        why=why,
        tried=tuple(found),
        study=_study_line(settings),
        trl=_trl_lines(settings),
        unseen=tuple(_unseen(wanted, results)),
    )


def _study_line(settings: Sequence[Mapping[str, Any]]) -> str:
    if not settings:
        return ""
    text = yaml.safe_dump(_short(settings), default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return f"defence: {text.strip()}"


def _trl_lines(settings: Sequence[Mapping[str, Any]]) -> str:
    if not settings:
        return ""
    return (
        "from holdfast.integrations.trl import defended\n"
        f"trainer = defended(SFTTrainer, {_short(settings)!r})(model, train_dataset=rows, args=arguments)"
    )


def _short(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Settings without those that are not set."""
    return [{name: value for name, value in each.items() if value is not None} for each in settings]


def _unseen(wanted: Wanted, results: RunResults) -> list[str]:
    """What a small budget cannot see."""
    n_prompts = results.evaluation.sets["harmfulness"].n_prompts
    facts = next(each for each in results.settings.values() if each.cell and each.cell.defence == UNDEFENDED)
    epochs = (facts.tune or {}).get("epochs", 1)
    record = facts.training[0] if facts.training else {}
    lines = [
        f"It was tuned on {record.get('rows', 'a part')} rows for {epochs} epoch{'s' if epochs != 1 else ''}: more "
        "rows, more epochs or a higher learning rate can undo more safety than was seen.",
        "Only your own rows were tried. Somebody who wants the model to be harmful chooses other rows, and knows the "
        "defence: docs/arena.md says what such attacks leave of it.",
        f"A harmfulness rate below {300.0 / n_prompts:.1f} % can go unseen on {n_prompts} prompts (the rule of three).",
        "The defences have one setting each, which was chosen on small stand-in models. Audit the model that you ship: "
        "`holdfast audit BASE TUNED`.",
    ]
    if len(results.seeds) == 1:
        lines.append("One seed was run: another can give another order. `--seeds 0,1,2` tells.")
    if "utility" not in results.evaluation.sets:
        lines.append("No utility set was asked: what the model could do before may be lost (`--utility`).")
    if results.evaluation.sets["harmfulness"].judges[0].startswith("keyword"):
        lines.append(
            "The keyword judge counts phrases of refusal; a judge that reads the answers may see otherwise (`--judge`)."
        )
    return lines
