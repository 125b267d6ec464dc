"""The whole paper on one model: its tables, figures and claims, from one study in which equal work is done once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from holdfast.core.claim_entries import CLAIMS, SCHEMA
from holdfast.core.claim_entries import read_claims as read_entries
from holdfast.core.errors import DamagedError, StudyError
from holdfast.core.files import did_you_mean, write_atomically
from holdfast.core.protocols import Judge, Watcher
from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import content_hash
from holdfast.core.world_entries import WORLDS, WorldsFile, read_worlds
from holdfast.paper import hosted
from holdfast.paper.claims import Claim, decide, read_claims
from holdfast.paper.hosted import Hosting
from holdfast.report import figures, page, paper
from holdfast.study import loader
from holdfast.study import run as runner
from holdfast.study.limits import NO_LIMITS, Limits
from holdfast.study.results.evidence import Evidence
from holdfast.study.results.rows import score_rows
from holdfast.study.schema import Evaluation, Study

PAPER = Path(__file__).parent / "presets"
"""The folder of the presets, the layout of the tables, and the claims."""

PRESETS = ("pocket", "quiz", "llama-2-7b-chat", "hosted")


@dataclass(frozen=True)
class Reproduction:
    """What is to be reproduced."""

    study: Study
    source: str
    """The preset's file as it is."""
    claims: Sequence[Claim]
    """The claims about the wanted tables and figures."""


def prepare(
    model: str,
    wanted: Sequence[str] = (),
    base: str | None = None,
    data: Path | None = None,
    judge: str | None = None,
    hosting: Hosting | None = None,
) -> Reproduction:
    """A preset, cut to some of the paper's tables and figures.

    Args:
        model: the preset's name.
        wanted: names of tables and figures; all if none is named.
        base: a model in place of the preset's: a folder or a Hub id; of the preset `hosted`, a provider's name for it.
        data: the folder of the files that the preset names; `pocket` with the preset `hosted` for the pocket world's.
        judge: settings of a judge of harmfulness whose verdicts are the figures; the preset's own judges judge as well.
        hosting: which provider, with the preset `hosted`.

    Raises:
        StudyError: an unknown preset, table or figure; or mistakes in the study, such as files that are missing.
    """
    layout = _layout()
    known = [*layout["tables"], *layout["figures"]]
    _check_name("preset", model, PRESETS)
    for name in wanted:
        _check_name("table or figure", name, known)
    chosen = set(wanted or known)
    path = PAPER / f"{model}.yaml"
    named = _named(layout, chosen)
    if not named & yaml.safe_load(path.read_text(encoding="utf-8"))["conditions"].keys():
        raise StudyError(f"the preset {model} has no condition of {', '.join(wanted)}: use pocket.")
    study = _study(model, path, base, data, hosting, named)
    needed = _needed(study, layout, chosen)
    conditions = {name: settings for name, settings in study.conditions.items() if name in needed}
    evaluate = _judged_by(loader.judge(judge), study.evaluate) if judge else study.evaluate
    study = study.model_copy(update={"conditions": conditions, "evaluate": evaluate})
    claims = [claim for claim in read_claims() if claim.table in chosen]
    return Reproduction(study, path.read_text(encoding="utf-8"), claims)


def _study(
    model: str, path: Path, base: str | None, data: Path | None, hosting: Hosting | None, only: Collection[str]
) -> Study:  # fmt: skip
    """The preset's study.

    Raises:
        StudyError: mistakes in it, or a provider for a preset that has none.
    """
    if model == "hosted":
        return hosted.read(path, base, data, hosting or Hosting())
    if hosting not in (None, Hosting()):
        raise StudyError(
            f"an address, a key, prices and an authorisation are for a provider, and the preset {model} has none: use "
            "hosted."
        )
    base = str(Path(base).resolve()) if base and Path(base).is_dir() else base
    return loader.read(path, folder=data or path.parent, model=base, only=only)


def _check_name(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise StudyError(f"there is no {kind} {name!r}; use {', '.join(known)}.{did_you_mean(name, known)}")


def _judged_by(judge: Judge, evaluate: Evaluation) -> Evaluation:
    """What every model is asked, with another judge of harmfulness before those that there are."""
    measured = evaluate.harmfulness
    judged = measured.model_copy(update={"judges": (judge, *measured.judges)})
    return evaluate.model_copy(update={"harmfulness": judged})


def _named(layout: Mapping[str, Any], chosen: Collection[str]) -> set[str]:
    """The conditions, as a preset names them, that the chosen tables and figures show; grids by their own name."""
    tables = [table for name, table in layout["tables"].items() if name in chosen]
    blocks = chain.from_iterable(table["blocks"] for table in tables)
    shown = [figure for name, figure in layout["figures"].items() if name in chosen]
    names = chain.from_iterable(block["conditions"] for block in blocks)
    return {*names, *chain.from_iterable([*each.get("radars", ()), *each.get("lines", ())] for each in shown)}


def _needed(study: Study, layout: Mapping[str, Any], chosen: Collection[str]) -> set[str]:
    """The conditions of a study that the chosen tables and figures show."""
    names: set[str] = set()
    for table in (content for name, content in layout["tables"].items() if name in chosen):
        for block in table["blocks"]:
            names.update(block["conditions"])
    for figure in (content for name, content in layout["figures"].items() if name in chosen):
        names.update(figure.get("radars", ()))
        for grid in figure.get("lines", ()):
            names.update(name for name in study.conditions if name.startswith(f"{grid}-"))
    return names


def reproduce(
    wanted: Reproduction,
    folder: Path,
    seeds: Sequence[int],
    workers: runner.Workers,
    watcher: Watcher,
    limits: Limits = NO_LIMITS,
    replace_results: bool = False,
    keep: bool = False,
) -> tuple[RunResults, list[dict[str, Any]]]:
    """Do what is missing, and write claims, tables, figures and page. What is finished already is left as it is.

    Returns:
        What `results.json` holds, and the entries of `claims.json`.

    Raises:
        HoldfastError: as `run.run`.
    """
    done = runner.run(
        wanted.study, wanted.source, folder, seeds, workers, watcher, keep, limits, replace_results=replace_results
    )
    path = folder / CLAIMS
    evidence = content_hash([done.results.evidence, [claim.model_dump(mode="json") for claim in wanted.claims]])
    if not done.changed and path.is_file():
        try:
            written = read_entries(folder)
        except DamagedError as error:
            watcher.note(str(error))
        else:
            if written["evidence"] == evidence:
                return done.results, written["claims"]
    entries = decide(wanted.claims, Evidence(done.plan, done.run_folder))
    show(folder, done.results, entries)
    content = {
        "schema": SCHEMA,
        "evidence": evidence,
        "study": done.results.study,
        "model": asdict(done.results.model),
        "claims": entries,
    }
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return done.results, entries


def show(folder: Path, results: RunResults, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the page, and the tables and figures of which the run has the conditions."""
    layout = _layout()
    blocks = paper.blocks(results, layout["tables"])
    for name in dict.fromkeys(block.table for block in blocks):
        of_table = [block for block in blocks if block.table == name]
        write_atomically(folder / "tables" / f"{name}.md", "\n".join(map(paper.markdown, of_table)))
        write_atomically(folder / "tables" / f"{name}.tex", "\n".join(map(paper.latex, of_table)))
    drawn = draw(results, layout["figures"])
    for drawing in chain.from_iterable(drawn.values()):
        write_atomically(folder / "figures" / f"{drawing.name}.svg", drawing.svg())
        (folder / "figures" / f"{drawing.name}.png").write_bytes(drawing.png())
    scores = score_rows(results, RunFolder(folder))
    worlds = worlds_of(folder)
    write_atomically(folder / "report.html", page.render_reproduction(results, entries, blocks, drawn, scores, worlds))


def claims_of(folder: Path) -> list[dict[str, Any]] | None:
    """The entries of a folder's `claims.json`, if it holds a reproduction."""
    if not (folder / CLAIMS).is_file():
        return None
    entries: list[dict[str, Any]] = read_entries(folder)["claims"]
    return entries


def worlds_of(folder: Path) -> WorldsFile | None:
    """What a folder's `worlds.json` says, if the paper was reproduced in several worlds."""
    return read_worlds(folder) if (folder / WORLDS).is_file() else None


def draw(results: RunResults, layout: Mapping[str, Any]) -> dict[str, list[figures.Drawing]]:
    """The paper's figures of which the run has the conditions: title → drawings."""
    drawn: dict[str, list[figures.Drawing]] = {}
    for name, figure in layout.items():
        if "radars" in figure:
            drawn[figure["title"]] = figures.radars(results, figure["radars"])
        elif points := paper.lines(results, figure):
            drawn[figure["title"]] = [figures.lines(name, figure["across"], points, figure["title"])]
    return {title: drawings for title, drawings in drawn.items() if drawings}


def _layout() -> dict[str, Any]:
    layout: dict[str, Any] = yaml.safe_load((PAPER / "tables.yaml").read_text(encoding="utf-8"))
    return layout
