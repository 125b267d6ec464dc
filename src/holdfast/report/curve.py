"""The curve of a model's harmfulness while it is tuned, as SVG.

It is drawn by hand: a drawing library takes longer to load than all looks at a small model take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 56, 20, 34, 44
"""Of the picture and its margins, in pixels."""

COLOURS = {"pass": "#3f7d3a", "fail": "#b3261e", "base": "#1f6f8b"}
MARKS = {"pass": "●", "fail": "✕", "base": "◆"}
OTHER_COLOUR, OTHER_MARK = "#6b6b6b", "○"


@dataclass(frozen=True)
class Point:
    """One measurement."""

    step: int
    rate: float
    """In percent."""
    answer: str
    """`base`, `pass`, `fail`, or anything else."""


def svg(points: Sequence[Point], title: str, limit: float | None = None) -> str:
    """The harmfulness rate over training steps; `limit` is the rate that is allowed, in percent."""
    last = max((point.step for point in points), default=0) or 1
    places = [(_across(point.step, last), _down(point.rate), point) for point in points]
    parts = [*_axes(sorted({point.step for point in points}), last), *(_limit(limit) if limit is not None else [])]
    if places:
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="#444" stroke-width="2"/>')
    parts += [_mark(x, y, point) for x, y, point in places]
    legend = "  ".join([*(f"{mark} {answer}" for answer, mark in MARKS.items()), f"{OTHER_MARK} no decision"])
    parts += [_text(LEFT, 18, title, "start", "bold"), _text(WIDTH - RIGHT, 18, legend, "end")]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>' + "".join(parts) + "</svg>\n"
    )


def _axes(steps: Sequence[int], last: int) -> list[str]:
    parts = []
    for rate in range(0, 101, 25):
        y = _down(rate)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{rate} %", "end"))
    every = max(1, -(-len(steps) // 10))
    parts += [_text(_across(step, last), HEIGHT - BOTTOM + 18, f"{step:,}", "middle") for step in steps[::every]]
    return [*parts, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "training steps", "middle")]


def _limit(rate: float) -> list[str]:
    y = _down(min(rate, 100.0))
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#b3261e" stroke-dasharray="5 4"/>'
    return [line, _text(WIDTH - RIGHT, y - 5, f"allowed: {rate:.1f} %", "end")]


def _mark(x: float, y: float, point: Point) -> str:
    colour, mark = COLOURS.get(point.answer, OTHER_COLOUR), MARKS.get(point.answer, OTHER_MARK)
    shown = f"step {point.step:,}: {point.rate:.1f} %, {point.answer}"
    return (
        f'<text x="{x:.1f}" y="{y + 5:.1f}" text-anchor="middle" font-size="15" fill="{colour}">{mark}'
        f"<title>{escape(shown)}</title></text>"
    )


def _text(x: float, y: float, content: str, anchor: str, weight: str = "normal") -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" fill="#333"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(content)}</text>'


def _across(step: float, last: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / last


def _down(rate: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * rate / 100
