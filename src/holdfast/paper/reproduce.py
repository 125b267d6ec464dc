"""The whole paper on one model: its tables, figures and claims, from one study in which equal work is done once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from holdfast.core.errors import StudyError
from holdfast.core.files import did_you_mean, write_atomically
from holdfast.core.protocols import Judge, Watcher
from holdfast.core.results import RunResults
from holdfast.core.types import content_hash
from holdfast.paper.claims import Claim, decide, read_claims
from holdfast.report import figures, page, paper
from holdfast.study import loader as studies
from holdfast.study import run as runner
from holdfast.study.results.evidence import Evidence
from holdfast.study.schema import Evaluation, Study

PAPER = Path(__file__).parent / "presets"
"""The presets, the layout of the tables, and the claims."""

PRESETS = ("pocket", "llama-2-7b-chat", "hosted")
CLAIMS = "claims.json"
SCHEMA = 1
"""Raised when a field of `claims.json` changes its meaning or goes away."""


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
) -> Reproduction:
    """A preset, cut to the wanted tables and figures (all if none is named); `judge` reads beside its own, and decides.

    Raises:
        StudyError: an unknown preset, table or figure; or mistakes in the study, such as files that are missing.
    """
    if model not in PRESETS:
        raise StudyError(
            f"there is no preset {model!r}; use one of {', '.join(PRESETS)}.{did_you_mean(model, PRESETS)}"
        )
    layout = _layout()
    known = [*layout["tables"], *layout["figures"]]
    for name in wanted:
        if name not in known:
            raise StudyError(
                f"there is no {name!r} in the paper; use some of {', '.join(known)}.{did_you_mean(name, known)}"
            )
    chosen = set(wanted or known)
    tables = {name: content for name, content in layout["tables"].items() if name in chosen}
    drawn = {name: content for name, content in layout["figures"].items() if name in chosen}
    claims = [claim for claim in read_claims() if claim.table in chosen]
    path = PAPER / f"{model}.yaml"
    base = str(Path(base).resolve()) if base and Path(base).is_dir() else base
    study = studies.read(path, folder=data or path.parent, model=base)
    if model == "hosted":
        raise StudyError(
            f"{path.name} is in order, but this version cannot run hosted fine-tuning yet; use another preset."
        )
    kept = {name: c for name, c in study.conditions.items() if _is_needed(name, tables, drawn)}
    evaluate = _judged_by(studies.judge(judge), study.evaluate) if judge else study.evaluate
    study = study.model_copy(update={"conditions": kept, "evaluate": evaluate})
    return Reproduction(study, path.read_text(encoding="utf-8"), claims)


def _judged_by(judge: Judge, evaluate: Evaluation) -> Evaluation:
    """What every model is asked, with another judge of harmfulness before those that there are."""
    measured = evaluate.harmfulness
    judged = measured.model_copy(update={"judges": (judge, *measured.judges)})
    return evaluate.model_copy(update={"harmfulness": judged})


def _is_needed(condition: str, tables: Mapping[str, Any], drawn: Mapping[str, Any]) -> bool:
    named = [name for table in tables.values() for block in table["blocks"] for name in block["conditions"]]
    named += [name for figure in drawn.values() for name in figure.get("radars", ())]
    grids = [grid for figure in drawn.values() for grid in figure.get("lines", ())]
    return condition in named or any(condition.startswith(f"{grid}-") for grid in grids)


def reproduce(
    wanted: Reproduction,
    folder: Path,
    seeds: Sequence[int],
    workers: int,
    watcher: Watcher,
    limits: runner.Limits = runner.NO_LIMITS,
) -> tuple[RunResults, list[dict[str, Any]]]:
    """Do what is missing, and write claims, tables, figures and page; nothing is written again that is there.

    Returns:
        What `results.json` holds, and the entries of `claims.json`.

    Raises:
        HoldfastError: as `run.run`.
    """
    done = runner.run(wanted.study, wanted.source, folder, seeds, workers, watcher, limits=limits)
    path = folder / CLAIMS
    basis = content_hash([done.results.evidence, [claim.model_dump(mode="json") for claim in wanted.claims]])
    if path.is_file() and (stated := json.loads(path.read_text(encoding="utf-8")))["evidence"] == basis:
        return done.results, stated["claims"]
    entries = decide(wanted.claims, Evidence(done.plan, done.store))
    show(folder, done.results, entries)
    stated = {"schema": SCHEMA, "evidence": basis, "study": done.results.study, "model": asdict(done.results.model)}
    write_atomically(path, json.dumps({**stated, "claims": entries}, indent=1, ensure_ascii=False) + "\n")
    return done.results, entries


def show(folder: Path, results: RunResults, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write the page, and the tables and figures of which the run has the conditions."""
    layout = _layout()
    blocks = paper.blocks(results, layout["tables"])
    for name in dict.fromkeys(block.table for block in blocks):
        mine = [block for block in blocks if block.table == name]
        write_atomically(folder / "tables" / f"{name}.md", "\n".join(map(paper.markdown, mine)))
        write_atomically(folder / "tables" / f"{name}.tex", "\n".join(map(paper.latex, mine)))
    drawn = draw(results, layout["figures"])
    for drawing in (drawing for drawings in drawn.values() for drawing in drawings):
        write_atomically(folder / "figures" / f"{drawing.name}.svg", drawing.svg())
        (folder / "figures" / f"{drawing.name}.png").write_bytes(drawing.png())
    write_atomically(folder / "report.html", page.render_reproduction(results, entries, blocks, drawn))


def claims_of(folder: Path) -> list[dict[str, Any]] | None:
    """The entries of a folder's `claims.json`, if it holds a reproduction."""
    path = folder / CLAIMS
    if not path.is_file():
        return None
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["claims"]
    return entries


def draw(results: RunResults, layout: Mapping[str, Any]) -> dict[str, list[figures.Drawing]]:
    """The paper's figures of which the run has the conditions: title → drawings."""
    drawn: dict[str, list[figures.Drawing]] = {}
    for name, figure in layout.items():
        if "radars" in figure:
            drawn[figure["title"]] = figures.radars(results, figure["radars"])
        elif found := paper.lines(results, figure):
            drawn[figure["title"]] = [figures.lines(name, figure["across"], found, figure["title"])]
    return {title: drawings for title, drawings in drawn.items() if drawings}


def _layout() -> dict[str, Any]:
    layout: dict[str, Any] = yaml.safe_load((PAPER / "tables.yaml").read_text(encoding="utf-8"))
    return layout
