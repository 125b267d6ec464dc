"""One self-contained page: no script, nothing fetched, all text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.report import figures, layout


def render(results: Mapping[str, Any], transcripts: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The page of a run; answers are on it only where transcripts are given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals.update(
        figure=layout.figure, signed=layout.signed, interval=layout.interval, p_value=layout.p_value,
        metrics=layout.METRICS, stand_in=layout.STAND_IN,
    )  # fmt: skip
    return environment.get_template("page.html.j2").render(
        results=results,
        groups=layout.groups(results),
        # The figures' text is escaped where they are made, as XML.
        radars=[Markup(radar) for radar in figures.radars(results)],
        bars=Markup(figures.bars(results)),
        transcripts=transcripts,
    )
