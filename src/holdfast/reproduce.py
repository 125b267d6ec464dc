"""The whole paper on one model: its tables, figures and claims, from one study in which equal work is done once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from holdfast import run as runner
from holdfast import study as studies
from holdfast.claims import Claim, decide, read_claims
from holdfast.errors import StudyError
from holdfast.files import did_you_mean, write_atomically
from holdfast.report import figures, page, paper
from holdfast.results import Evidence
from holdfast.study import Study

PAPER = Path(__file__).parent / "studies" / "paper"
"""The presets, the layout of the tables, and the claims."""

PRESETS = ("pocket", "llama-2-7b-chat", "hosted")
SCHEMA = 1
"""Raised when a field of `claims.json` changes its meaning or goes away."""


@dataclass(frozen=True)
class Reproduction:
    """What is to be reproduced."""

    study: Study
    source: str
    """The preset's file as it is."""
    tables: Mapping[str, Any]
    """The wanted tables, as `tables.yaml` lays them out."""
    figures: Mapping[str, Any]
    """The wanted figures, likewise."""
    claims: Sequence[Claim]
    """The claims about the wanted tables and figures."""


def prepare(model: str, wanted: Sequence[str] = (), base: str | None = None, data: Path | None = None) -> Reproduction:
    """A preset, cut to the wanted tables and figures (all if none is named).

    Raises:
        StudyError: an unknown preset, table or figure; or mistakes in the study, such as files that are missing.
    """
    if model not in PRESETS:
        raise StudyError(
            f"there is no preset {model!r}; use one of {', '.join(PRESETS)}.{did_you_mean(model, PRESETS)}"
        )
    layout = yaml.safe_load((PAPER / "tables.yaml").read_text(encoding="utf-8"))
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
    study = studies.read(path, folder=data or path.parent, model=base)
    if model == "hosted":
        raise StudyError(
            f"{path.name} is in order, but this version cannot run hosted fine-tuning yet; use another preset."
        )
    kept = {name: c for name, c in study.conditions.items() if _is_needed(name, tables, drawn)}
    study = study.model_copy(update={"conditions": kept})
    return Reproduction(study, path.read_text(encoding="utf-8"), tables, drawn, claims)


def _is_needed(condition: str, tables: Mapping[str, Any], drawn: Mapping[str, Any]) -> bool:
    in_tables = any(condition in block["conditions"] for table in tables.values() for block in table["blocks"])
    in_radars = any(condition in figure.get("radars", ()) for figure in drawn.values())
    return (
        in_tables
        or in_radars
        or any(condition.startswith(f"{grid}-") for figure in drawn.values() for grid in figure.get("lines", ()))
    )


def reproduce(
    wanted: Reproduction, folder: Path, seeds: Sequence[int], workers: int, watcher: runner.Watcher
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Do what is missing, and write claims, tables, figures and page; nothing is written again that is there.

    Returns:
        What `results.json` holds, and the entries of `claims.json`.

    Raises:
        HoldfastError: as `run.run`.
    """
    done = runner.run(wanted.study, wanted.source, folder, seeds, workers, watcher)
    path = folder / "claims.json"
    if not done.changed and path.is_file():
        return done.results, json.loads(path.read_text(encoding="utf-8"))["claims"]
    entries = decide(wanted.claims, Evidence(done.plan, done.store))
    blocks = paper.blocks(done.results, wanted.tables)
    for name in wanted.tables:
        mine = [block for block in blocks if block.table == name]
        write_atomically(folder / "tables" / f"{name}.md", "\n".join(map(paper.markdown, mine)))
        write_atomically(folder / "tables" / f"{name}.tex", "\n".join(map(paper.latex, mine)))
    drawn = draw(done.results, wanted.figures)
    for drawings in drawn.values():
        for drawing in drawings:
            write_atomically(folder / "figures" / f"{drawing.name}.svg", drawing.svg())
            (folder / "figures" / f"{drawing.name}.png").write_bytes(drawing.png())
    write_atomically(folder / "report.html", page.render_reproduction(done.results, entries, wanted.tables, drawn))
    stated = {"schema": SCHEMA, "study": done.results["study"], "model": done.results["model"], "claims": entries}
    write_atomically(path, json.dumps(stated, indent=1, ensure_ascii=False) + "\n")
    return done.results, entries


def draw(results: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, list[figures.Drawing]]:
    """The paper's figures: title → drawings."""
    drawn = {}
    for name, figure in wanted.items():
        if "radars" in figure:
            drawn[figure["title"]] = figures.radars(results, figure["radars"])
        else:
            found = paper.lines(results, figure)
            drawn[figure["title"]] = [figures.lines(name, figure["across"], found, figure["title"])]
    return drawn
