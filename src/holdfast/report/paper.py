"""A reproduction beside the paper: its tables side by side, its figures, and the verdict on each claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.results import RunResults, Summary
from holdfast.core.types import Estimate
from holdfast.report import latex as latex_table
from holdfast.report import layout
from holdfast.report.figures import Points

CITATION = "Qi et al. 2023, arXiv 2310.03693"


@dataclass(frozen=True)
class Line:
    """One row of a table: a figure and its interval for each condition. The paper's figures have no interval: ""."""

    who: str
    cells: tuple[tuple[str, str], ...]
    measured: bool


@dataclass(frozen=True)
class Block:
    """Conditions side by side: the measured figures, and those of the paper."""

    table: str
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


def called(results: RunResults, name: str) -> str:
    """What tables call a condition: its label, or its name."""
    return results.settings[name].label or name


def blocks(results: RunResults, tables: Mapping[str, Any]) -> list[Block]:
    """The paper's tables of which this run has all conditions."""
    summary = {entry.name: entry for entry in results.summary}
    ended = layout.outcomes_without_figures(results)
    blocks = []
    for table, content in tables.items():
        for block in content["blocks"]:
            names = block["conditions"]
            if set(names) <= {*summary, *ended} and not set(names) <= ended.keys():
                lines = _measured(results, [summary.get(name) or ended[name] for name in names])
                lines += _printed(block["paper"])
                columns = tuple(called(results, name) for name in block["conditions"])
                blocks.append(Block(table, content["title"], columns, tuple(lines)))
    return blocks


def _measured(results: RunResults, entries: Sequence[Summary | str]) -> list[Line]:
    """A line for each metric; a condition without figures has what became of it in their place."""
    who = f"measured, {results.model.name}"
    if results.model.stand_in:
        who += ", a stand-in"
    lines = []
    for metric, (title, _) in layout.METRICS.items():
        texts = [_cell(metric, entry) for entry in entries]
        if all(texts):
            lines.append(Line(f"{title}: {who}", tuple(filter(None, texts)), measured=True))
    return lines


def _cell(metric: str, entry: Summary | str) -> tuple[str, str] | None:
    """A figure and its interval, what is in its place, or None where the study does not measure it."""
    if isinstance(entry, str):
        return entry, ""
    estimate = entry.figure(metric)
    cell = layout.cell(metric, estimate, None)
    return (cell.value, cell.interval) if estimate else None


def _printed(paper: Mapping[str, Sequence[Sequence[float]]]) -> list[Line]:
    lines = []
    for index, metric in enumerate(("harmfulness_score", "harmfulness_rate")):
        for model, figures in paper.items():
            cells = tuple((layout.figure(metric, figure[index]), "") for figure in figures)
            lines.append(Line(f"{layout.METRICS[metric][0]}: the paper, {model}", cells, False))
    return lines


def _texts(line: Line) -> list[str]:
    return [f"{value} ({interval})" if interval else value for value, interval in line.cells]


def markdown(block: Block) -> str:
    """A block as a Markdown table."""
    rows = [
        ("", *block.columns),
        ("---",) * (len(block.columns) + 1),
        *((line.who, *_texts(line)) for line in block.lines),
    ]
    body = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    note = f"\n{layout.PROMPTS_ALONE}\n".replace("*", "\\*") if _marked(block) else ""
    return f"### {block.title}\n\n{body}\n{note}"


def latex(block: Block) -> str:
    """A block as a LaTeX table (packages: booktabs)."""
    rows = [[line.who, *_texts(line)] for line in block.lines]
    notes = [layout.PROMPTS_ALONE] if _marked(block) else []
    return latex_table.table(block.title, ["", *block.columns], rows, notes)


def _marked(block: Block) -> bool:
    """Whether an interval of the block is over prompts alone."""
    return any(interval.endswith("*") for line in block.lines for _, interval in line.cells)


def lines(results: RunResults, figure: Mapping[str, Any]) -> dict[str, Points]:
    """A figure's lines: label → points of a setting's value and the rate there, in order."""
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    for grid, label in figure["lines"].items():
        for entry in results.summary:
            tune = results.settings[entry.name].tune
            if tune and entry.name.startswith(f"{grid}-"):
                line = f"{label} {tune[figure['by']]:g}" if "by" in figure else label
                lines.setdefault(line, []).append((tune[figure["across"]], entry.harmfulness_rate))
    return {label: sorted(points, key=lambda point: point[0]) for label, points in lines.items()}
