"""Self-contained pages: one script of our own, no request, all text escaped."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.arena_record import ARENA, ArenaRecord
from holdfast.core.audit_record import AUDIT, AuditRecord
from holdfast.core.results import RESULTS, RunResults
from holdfast.core.world_entries import WorldsFile
from holdfast.report import arena, figures, headline, jobs, layout, paper, pictures, prompt_view, world_table

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
Rows = Iterable[prompt_view.Row]


def render(results: RunResults, transcripts: Rows | None = None, scores: Rows | None = None) -> str:
    """The page of a run.

    Args:
        results: its figures.
        transcripts: its answers, a row each; texts are on the page only if they are given.
        scores: the same rows, of which only the scores are shown.
    """
    rows = scores if transcripts is None else transcripts
    view = prompt_view.of_run(results, rows, transcripts is not None) if rows is not None else None
    return _fill(
        "study.html.j2",
        kind="Study",
        title=results.study,
        files=(RESULTS,),
        date="",
        headline=headline.of_run(results),
        results=results,
        view=view,
        groups=layout.groups(results),
        radars=[_inline(drawing) for drawing in figures.radars(results)],
        cautions=layout.cautions(results) + layout.benchmark_notes(results),
        judge_notes=layout.judge_notes(results),
        summary={entry.name: entry for entry in results.summary},
        against={entry.name: entry.against for entry in results.comparisons},
    )


def render_audit(
    record: AuditRecord, results: RunResults, transcripts: Rows | None = None, prompts: Rows | None = None
) -> str:
    """The page of an audit.

    Args:
        record: what it found.
        results: the figures of its run.
        transcripts: the answers, a row each; texts are on the page only if they are given.
        prompts: rows with the texts of prompts, for those that no transcript has; alone they show nothing.
    """
    view = prompt_view.of_audit(record, transcripts, prompts)
    return _fill(
        "audit.html.j2",
        kind="Audit",
        title=record.name,
        files=(AUDIT, RESULTS),
        date=record.date,
        headline=headline.of_audit(record),
        record=record,
        results=results,
        view=view,
        cautions=layout.sentences(record.cautions) + layout.benchmark_notes(results),
        of_check=pictures.of_check,
        state_of=headline.of_check,
    )


def render_reproduction(
    results: RunResults,
    claims: Sequence[Mapping[str, Any]],
    blocks: Sequence[paper.Block],
    drawn: Mapping[str, Sequence[figures.Drawing]],
    scores: Rows | None = None,
    worlds: WorldsFile | None = None,
) -> str:
    """The page of a reproduction: claims, tables beside the paper's, figures (title → drawings), scores, worlds."""
    return _fill(
        "reproduction.html.j2",
        kind="Reproduction",
        title=f"The paper on {results.model.name}",
        files=("claims.json", RESULTS),
        date="",
        headline=headline.of_claims(claims, results.model.name, paper.CITATION),
        results=results,
        view=None if scores is None else prompt_view.of_run(results, scores, texts=False),
        claims=claims,
        verdicts=dict(headline.CLAIMS),
        test=claims[0]["test"] if claims else "",
        blocks=blocks,
        cautions=layout.cautions(results) + layout.benchmark_notes(results),
        figures={title: [_inline(drawing) for drawing in drawings] for title, drawings in drawn.items()},
        citation=paper.CITATION,
        worlds=worlds,
        of_worlds=world_table,
    )


def render_arena(results: RunResults, record: ArenaRecord, points: Mapping[str, tuple[float, float]]) -> str:
    """The page of a run with attacks on defences; `points` is where each defence lies in the picture."""
    return _fill(
        "arena.html.j2",
        kind="Defences",
        title=results.study,
        files=(ARENA, RESULTS),
        date="",
        headline=headline.of_arena(record),
        results=results,
        record=record,
        overview=arena.overview(record),
        grid=arena.grid(record),
        heads=arena.HEAD[1:],
        makers=arena.MAKERS,
        marks=arena.letters(record),
        verdict=arena.verdict(record),
        notes=arena.NOTES,
        drawing=_inline(arena.picture(record, points)),
        cautions=layout.cautions(results) + layout.benchmark_notes(results),
        percent=arena.percent,
    )


def render_notebook(results: RunResults, page: str) -> str:
    """A run's tables as a notebook shows them; `page` is where the whole page is."""
    return _fill(
        "notebook.html.j2", results=results, groups=layout.groups(results), cautions=layout.cautions(results), page=page
    )


def _fill(template: str, **content: Any) -> str:
    return _environment().get_template(template).render(**content)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_finalize,
    )  # fmt: skip
    for name, file in (("style", "style.css"), ("script", "page.js")):
        text = (TEMPLATES / file).read_text(encoding="utf-8")
        environment.globals[name] = Markup(text)
        environment.globals[f"{name}_hash"] = f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
    environment.globals.update(
        figure=layout.figure, signed=layout.signed, interval=layout.interval, p_value=layout.p_value,
        forms=layout.FORMS, metrics=layout.METRICS, stand_in=layout.STAND_IN, judging=layout.judging,
        prompts_alone=layout.PROMPTS_ALONE, as_json=_as_json, set_name=layout.set_name, of_rate=pictures.of_rate,
        hosted_jobs=jobs.hosted_jobs, job_totals=jobs.totals, endings=layout.endings,
    )  # fmt: skip
    return environment


def _finalize(value: Any) -> Any:
    """Text from outside as it is shown. What is markup already was made from text that went through here."""
    return layout.visible(value) if type(value) is str else value


def _inline(drawing: figures.Drawing) -> Any:
    from holdfast.report.svg import inline

    return inline(drawing)


def _as_json(value: Any) -> str:
    """Settings as indented JSON."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=asdict)
