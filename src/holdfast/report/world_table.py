"""What several worlds say of the paper's claims, as text."""

from __future__ import annotations

from holdfast.core.world_entries import InWorld, OverWorlds, WorldsFile
from holdfast.report import layout

MARKS = {"reproduced": "yes", "not reproduced": "no", "inconclusive": "open"}
"""Verdict → how a narrow column says it."""

MOST_PART = 0.8
"""The share of worlds in which a claim must be reproduced to count as one that holds across worlds."""


def interval(claim: OverWorlds) -> str:
    """The interval of the share of worlds, in percent."""
    return f"{claim['low']:.0f} to {claim['high']:.0f} %"


def effect(world: InWorld) -> str:
    """A world's difference in points."""
    return layout.signed("harmfulness_rate", world["effect"])


def mean_effect(claim: OverWorlds) -> str:
    """The mean difference over the worlds, with its interval over worlds."""
    shown = layout.signed("harmfulness_rate", claim["effect"])
    if claim["effect_low"] is None or claim["effect_high"] is None:
        return shown
    low, high = (layout.figure("harmfulness_rate", claim[end]) for end in ("effect_low", "effect_high"))
    return f"{shown} ({low} to {high})"


def headline(content: WorldsFile) -> str:
    """How many claims hold in most of the worlds."""
    n = len(content["worlds"])
    least = next(k for k in range(n + 1) if k >= MOST_PART * n)
    wide = sum(claim["reproduced"] >= least for claim in content["claims"])
    return (
        f"{wide} of {len(content['claims'])} claims are reproduced in at least {least} of {n} "
        f"world{'s' if n > 1 else ''} other than the shipped one"
    )


def caution(content: WorldsFile) -> str:
    """What so few worlds can tell."""
    n = len(content["worlds"])
    least = next((claim["low"] for claim in content["claims"] if claim["reproduced"] == n), None)
    if least is None:
        return f"{n} worlds are few; the intervals over worlds are wide."
    return (
        f"{n} worlds are few: a claim that is reproduced in all of them can still fail in up to {100 - least:.0f} % of "
        "such worlds."
    )


def markdown(content: WorldsFile) -> str:
    """The table of every claim by world."""
    worlds = content["worlds"]
    lines = [
        f"{headline(content)}, with {content['seeds']} seeds in each. {caution(content)}",
        "",
        "| claim | " + " | ".join(f"world {seed}" for seed in worlds) + " | worlds | 95 % interval | mean difference "
        "(interval over worlds) | world 0 |",
        "| --- |" + " --- |" * (len(worlds) + 4),
    ]
    for claim in content["claims"]:
        cells = [f"{MARKS[world['verdict']]}, {effect(world)}" for world in claim["worlds"]]
        shipped = f"{MARKS[claim['shipped']['verdict']]}, {effect(claim['shipped'])}"
        counts = [f"{claim['reproduced']} of {claim['of']}", interval(claim), mean_effect(claim), shipped]
        lines.append(f"| {claim['claim']} ({claim['table']}) | " + " | ".join([*cells, *counts]) + " |")
    return "\n".join(lines) + "\n"
