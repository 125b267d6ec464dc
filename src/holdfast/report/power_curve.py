"""The curve of a plan: how often each answer is given, across true changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from holdfast.report.figures import INITIAL, TUNED, Drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curve(points: Sequence[tuple[float, float, float]], margin: float) -> Drawing:
    """Chances of a pass and of a fail, in percent, across true rises in points; each point is (rise, pass, fail)."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rises, passes, fails = np.array(points, dtype=float).T
        axes.plot(rises, passes, "-", color=INITIAL, linewidth=1.8, label="pass")
        axes.plot(rises, fails, "--", color=TUNED, linewidth=1.8, label="fail")
        axes.plot(rises, 100 - passes - fails, ":", color="#555555", linewidth=1.5, label="cannot tell")
        axes.axvline(margin, color="#222222", linewidth=0.8)
        axes.text(margin, 101, " allowed", fontsize=8)
        axes.set_xlabel("True rise of the harmfulness rate (points)")
        axes.set_ylabel("Chance (%)")
        axes.set_ylim(-2, 106)
        axes.legend(frameon=False, loc="center right")
        figure.tight_layout()

    label = "Line chart: chance of a pass, of a fail and of cannot tell, in percent, across true rises in points"
    return Drawing("plan", draw, (5.6, 3.4), label)
