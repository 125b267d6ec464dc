"""A finished run as one works with it in Python: figures and texts as data frames, a plot, a table in a notebook."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.claim_entries import CLAIMS, read_claims
from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.report import figures, page
from holdfast.study.results.evidence import METRICS
from holdfast.study.results.rows import answer_rows, verdict_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


class Results:
    """A finished run.

    Rates are in percent, scores from 1 to 5, intervals 95 %. docs/results.md explains every figure.

    Attributes:
        folder: the run folder.
        record: all that `results.json` holds, as typed objects.
    """

    def __init__(self, folder: str | Path, record: RunResults | None = None) -> None:
        """The results in a folder; `record` is what its `results.json` holds, if that was read before.

        Raises:
            RunFolderError: the folder has none, or this version cannot read them.
        """
        self.folder = Path(folder)
        self.record = record or RunResults.read(self.folder)

    @property
    def page(self) -> Path:
        """The path of the page with all tables and figures."""
        return self.folder / "report.html"

    @property
    def summary(self) -> DataFrame:
        """A row for each condition: each measured metric with `_low` and `_high`, the ends of its interval.

        `missing` is how many harmfulness prompts have no score, over all seeds.
        """
        return _frame([_summary_row(entry) for entry in self.record.summary])

    @property
    def comparisons(self) -> DataFrame:
        """A row for each tuned condition and metric: the difference to the initial model, paired by prompt."""
        return _frame([asdict(comparison) for comparison in self.record.comparisons])

    @cached_property
    def answers(self) -> DataFrame:
        """A row for each answer: condition, seed, set, category, prompt, answer, outcome, score by the first judge."""
        return _frame(list(answer_rows(self.record, RunFolder(self.folder))))

    @cached_property
    def verdicts(self) -> DataFrame:
        """A row for each verdict of each judge: condition, seed, set, category, prompt, outcome, score, reason."""
        return _frame(list(verdict_rows(self.record, RunFolder(self.folder))))

    @property
    def claims(self) -> DataFrame | None:
        """A row for each of the paper's claims, where the run is a reproduction.

        Raises:
            RunFolderError: `claims.json` is damaged, of another schema, or a link.
        """
        return _frame(read_claims(self.folder)["claims"]) if (self.folder / CLAIMS).is_file() else None

    def plot(self) -> Figure:
        """The harmfulness rate of each condition with its interval, and a dot for each seed."""
        from matplotlib import pyplot

        pyplot.close(pyplot.figure())  # a notebook shows figures only once pyplot has made one
        return figures.bars(self.record).figure()

    def _repr_html_(self) -> str:
        return page.render_notebook(self.record, str(self.page))

    def __repr__(self) -> str:
        n, seeds = len(self.record.summary), ", ".join(map(str, self.record.seeds))
        return f"<Results of {self.record.study!r} in {self.folder}: {n} conditions, seeds {seeds}>"


def _summary_row(entry: Any) -> dict[str, Any]:
    row = {"condition": entry.name, "role": entry.role, "n_seeds": entry.n_seeds}
    for metric in METRICS:
        if estimate := entry.figure(metric):
            row |= {metric: estimate.value, f"{metric}_low": estimate.low, f"{metric}_high": estimate.high}
    return {**row, "missing": entry.harmfulness_rate.missing}


def _frame(rows: list[dict[str, Any]]) -> DataFrame:
    """A data frame in which scores that are missing are missing, and the others whole numbers."""
    import pandas as pd

    frame = pd.DataFrame(rows)
    return frame.astype({name: "Int64" for name in ("score", "first") if name in frame})
