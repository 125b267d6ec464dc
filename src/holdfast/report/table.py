"""The terminal's table, in the layout of the paper's tables 1 to 3: metrics down, conditions across."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

from rich.table import Table
from rich.text import Text

from holdfast.report.layout import Cell, Group, groups

HEADING = 15
"""Characters of a condition's name on a line; longer names break behind their hyphens."""


def tables(results: Mapping[str, Any]) -> list[Table]:
    """One table for each way of asking, as rich renders it."""
    return [_table(results, group) for group in groups(results)]


def _table(results: Mapping[str, Any], group: Group) -> Table:
    seeds = len(results["seeds"])
    title = f"{results['study']}: {results['model']['name']}, {seeds} seed{'s' * (seeds > 1)}"
    table = Table(title=title, title_justify="left", show_lines=True)
    table.add_column("")
    for name in group.names:
        table.add_column("\n".join(wrap(name, HEADING)), justify="right")
    for metric, cells in group.rows:
        table.add_row(metric, *map(_text, cells))
    return table


def _text(cell: Cell) -> Text:
    text = Text(cell.value, style="bold")
    if cell.change:
        text.append(f" ({cell.change})", style="not bold")
    for line in (cell.interval, cell.missing):
        if line:
            text.append(f"\n{line}", style="not bold dim")
    return text
