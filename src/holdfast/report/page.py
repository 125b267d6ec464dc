"""Self-contained pages: no script, no request, all text escaped."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from holdfast.core.results import RunResults
from holdfast.report import figures, layout, paper


def render(results: RunResults, transcripts: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The page of a run. Answers are on it only if there are `transcripts`."""
    return _fill(
        "page.html.j2",
        results=results,
        groups=layout.groups(results),
        radars=[_inline(drawing) for drawing in figures.radars(results)],
        bars=_inline(figures.bars(results)),
        transcripts=transcripts,
        cautions=layout.cautions(results),
        judge_notes=layout.judge_notes(results),
    )


def render_reproduction(
    results: RunResults,
    claims: Sequence[Mapping[str, Any]],
    blocks: Sequence[paper.Block],
    drawn: Mapping[str, Sequence[figures.Drawing]],
) -> str:
    """The page of a reproduction: claims, tables beside the paper's, and figures (title → drawings)."""
    return _fill(
        "reproduction.html.j2",
        results=results,
        claims=claims,
        test=claims[0]["test"] if claims else "",
        blocks=blocks,
        cautions=layout.cautions(results),
        figures={title: [_inline(drawing) for drawing in drawings] for title, drawings in drawn.items()},
        citation=paper.CITATION,
    )


def render_notebook(results: RunResults, page: str) -> str:
    """A run's tables as a notebook shows them; `page` is where the whole page is."""
    return _fill(
        "notebook.html.j2", results=results, groups=layout.groups(results), cautions=layout.cautions(results), page=page
    )


def _fill(template: str, **content: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals.update(
        figure=layout.figure, signed=layout.signed, interval=layout.interval, p_value=layout.p_value,
        metrics=layout.METRICS, stand_in=layout.STAND_IN, prompts_alone=layout.PROMPTS_ALONE, judging=layout.judging,
        as_json=_as_json,
    )  # fmt: skip
    return environment.get_template(template).render(**content)


def _inline(drawing: figures.Drawing) -> Any:
    """A figure's SVG, whose text is escaped where it is made, as XML."""
    from markupsafe import Markup

    return Markup(drawing.svg())


def _as_json(value: Any) -> str:
    """Settings as indented JSON."""
    return json.dumps(value, indent=1, ensure_ascii=False, default=asdict)
