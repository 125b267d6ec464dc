"""The house: its rooms on their floors."""

import re
from pathlib import Path
from textwrap import wrap

from figures.canvas import COLOURS, svg

ROOT = Path(__file__).parents[3]
FLOORS = (
    ("cli",), ("api",), ("service",), ("paper", "audit", "integrations"), ("study",), ("tuning", "judges", "worlds"),
    ("models", "data", "analysis", "report"), ("core",),
)  # fmt: skip
"""From the top; a room imports only rooms below it."""
ARROWS = ("study", "condition", "checkpoint", "answer", "verdict", "estimate", "report")


def rooms():
    """Room → what it is for, as the architecture page says."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    return dict(re.findall(r"^\| `([a-z]+)` \| ([^|]+?) \|", text, re.M))


def draw():
    """The picture."""
    said = rooms()

    def picture(axis):
        for place, names in enumerate(FLOORS):
            y, width = len(FLOORS) - place, 12 / len(names)
            for number, name in enumerate(names):
                x = number * width
                axis.fill([x + 0.05, x + width - 0.05, x + width - 0.05, x + 0.05], [y, y, y + 0.86, y + 0.86],
                          facecolor="none", edgecolor=COLOURS["base"], linewidth=1.2)  # fmt: skip
                axis.text(x + width / 2, y + 0.62, name, ha="center", va="center", weight="bold")
                lines = wrap(said[name], int(width * 9))
                axis.text(x + width / 2, y + 0.25, "\n".join(lines[:2]), ha="center", va="center", fontsize=7.5)
        axis.text(6, 0.45, "  →  ".join(ARROWS), ha="center", va="center", color=COLOURS["harm"])
        axis.set_xlim(-0.1, 12.1)
        axis.set_ylim(0.1, len(FLOORS) + 1)
        axis.axis("off")

    listed = "; ".join(", ".join(names) for names in FLOORS)
    return svg(picture, f"The rooms of the package, floor by floor from the top: {listed}.", 8.8, 5.6), {}
