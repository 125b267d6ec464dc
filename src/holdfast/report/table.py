"""The terminal's tables, laid out as the paper's tables 1 to 3: a row for each metric, a column for each condition."""

from __future__ import annotations

from textwrap import wrap

from rich.table import Table
from rich.text import Text

from holdfast.core.results import RunResults
from holdfast.report.layout import Cell, Group, figure, groups, interval

HEADING = 15
"""Characters of a condition's name on a line; longer names break behind their hyphens."""


def tables(results: RunResults) -> list[Table]:
    """One table for each way of asking, and one of the factors where a study has them, as rich renders them."""
    shown = [_table(results, group) for group in groups(results)]
    return [*shown, _sensitivity(results)] if results.sensitivity else shown


def _sensitivity(results: RunResults) -> Table:
    table = Table(title="What the harmfulness rate depends on", title_justify="left")
    table.add_column("factor")
    table.add_column("share of the variance (%)", justify="right")
    for entry in results.sensitivity:
        share = figure("harmfulness_rate", entry.share)
        table.add_row(entry.factor, f"{share} ({interval('harmfulness_rate', entry.low, entry.high)})")
    return table


def _table(results: RunResults, group: Group) -> Table:
    seeds = "1 seed" if len(results.seeds) == 1 else f"{len(results.seeds)} seeds"
    title = f"{results.study}: {results.model.name}, {seeds}"
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
