"""Writes docs/benchmarks-speed.md from the figures that the benchmarks left in runs/bench.

    make bench

A benchmark that was not run has no section.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from datetime import date
from importlib.metadata import version
from pathlib import Path

FIGURES, PAGE = Path("runs/bench"), Path("docs/benchmarks-speed.md")
LIBRARIES = ("torch", "transformers", "trl", "inspect-ai")


def table(headings, rows):
    lines = ["| " + " | ".join(headings) + " |", "| --- |" + " ---: |" * (len(headings) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def middle(values):
    return statistics.median(values)


def spread(ratios, digits=1):
    """The median, with the lowest and the highest of the rounds."""
    return f"{middle(ratios):.{digits}f} ({min(ratios):.{digits}f} to {max(ratios):.{digits}f})"


def one_condition(found):
    rows = [
        (stage, f"{middle(each['holdfast']):.2f}", f"{middle(each['plain']):.2f}", spread(each["ratios"]))
        for stage, each in found.items()
    ]
    return table(("", "Holdfast (s)", "plain (s)", "times as long"), rows)


def whole_paper(found):
    row = (found["conditions"], f"{found['holdfast_s']:.0f}", f"{found['plain_s']:.0f}", f"{found['ratio']:.1f}")
    return table(("tuned conditions", "Holdfast (s)", "plain (s)", "times as long"), [row])


def evaluation(found):
    rows = [(name, f"{middle(each):.2f}", spread(found["ratios"][name])) for name, each in found["seconds"].items()]
    return table(("", "seconds", "times as long as Holdfast"), rows)


def over_work(found):
    ratios = [b / a for a, b in zip(found["work"], found["run"], strict=True)]
    row = (f"{middle(found['work']):.1f}", f"{middle(found['run']):.1f}", spread(ratios, 2))
    return table(("tuning and answering (s)", "the whole run (s)", "times as long"), [row])


def growth(found):
    rows = []
    for what, runs in found.items():
        for n, each in runs.items():
            last = "" if each["ms_each"] is None else f"{each['ms_each']:.1f}"
            seconds = (f"{each['wall']:.1f}", f"{each['seconds']:.1f}")
            rows.append((f"{int(n):,} {what}", *seconds, last, f"{each['bytes'] / 1e6:.0f}"))
    return table(("", "wall (s)", "processor (s)", "each one more (ms)", "memory (MB)"), rows)


def start_up(found):
    rows = []
    for name, each in found.items():
        shares = [here / older for older, here in zip(each["older"], each["here"], strict=True)]
        walls = [f"{middle(each[which]):.1f}" for which in ("older", "here")]
        rows.append((name, *walls, spread(shares, 2)))
    return table(("", "older (s)", "here (s)", "share of the time"), rows)


def data(found):
    row = (f"{found['rows']:,}", f"{found['seconds']:.0f}", f"{found['gb']:.2f}")
    return table(("rows", "seconds", "memory (GB)"), [row])


def defences(found):
    rows = [(name, f"{middle(each['seconds']):.2f}", f"{each['ratio']:.1f}") for name, each in found.items()]
    return table(("", "seconds", "times as long as without"), rows)


SECTIONS = {
    "speed": (one_condition, "One condition", """`python speed/speed.py`: 100 rows × 5 epochs, then 660 prompts. The
plain way is TRL's `SFTTrainer`, then `generate` over batches of 16. One process, one thread."""),
    "evaluation": (evaluation, "Evaluation", """`python speed/evaluation.py`: 330 prompts of each of two models.
Holdfast and Inspect also judge the answers and write their files; `generate` only answers. One process, one thread.
Inspect's `hf` provider looks once a second whether an answer is there, and waits two seconds for a batch to fill: with
a model this small, most of its time is that."""),
    "reproduction": (whole_paper, "The paper on text", """`python speed/reproduction.py`: `holdfast reproduce --model
pocket` without the column with pictures, from scratch with a worker a core, and the plain way with all cores, scaled
from six conditions."""),
    "orchestration": (over_work, "Over pure work", """`python speed/orchestration.py`: tables 1 to 4 of the paper
on the pocket world, one seed. First tuning and answering alone, then the whole run: plan, judges, files, figures,
page."""),
    "growth": (growth, "Growth", """`python speed/growth.py`: from an empty folder to the page, with one worker. The
prompts are asked of two models; a condition is a tuning on ten rows, asked 33 prompts."""),
    "startup": (start_up, "From a cold start", """`python speed/startup.py OLDER --demo`: this version beside an older
checkout, imports included."""),
    "defences": (defences, "Defences", """`python speed/defences.py`: 100 rows × 5 epochs with each defence, one thread,
processor time."""),
    "rows": (data, "Rows of text", """`python speed/rows.py` loads, filters and tokenises rows of Alpaca's layout."""),
    "pictures": (data, "Rows with pictures", """`python speed/pictures.py` checks rows of LLaVA-Instruct's layout, and
the picture of each."""),
}  # fmt: skip
"""File of figures → what makes a table of it, the heading, and what was done."""


def machine():
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")] or [platform.machine()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"{cores} cores of {named[0]}; Python {platform.python_version()}, {libraries}"


INTRODUCTION = """Written by `make bench` on {day}: {machine}.

A figure above 1 says how many times as long the other way takes. In brackets: the lowest and the highest of the
rounds, in which the ways took turns. These are times of the pocket model (0.7 million parameters) on a processor, where
what surrounds the arithmetic weighs most. They say nothing about large models on a GPU: `python speed/gpu.py` measures
that, and no figures of it are given here yet."""


def main():
    parts = ["# Speed, beside other tools", INTRODUCTION.format(day=f"{date.today():%Y-%m-%d}", machine=machine())]
    for name, (write, heading, done) in SECTIONS.items():
        path = FIGURES / f"{name}.json"
        if path.is_file():
            parts += [f"## {heading}", done, write(json.loads(path.read_text()))]
    PAGE.write_text("\n\n".join(parts) + "\n")
    print(PAGE)


if __name__ == "__main__":
    main()
