"""What 10,000 audits a day take, by simulation: machines, waiting, and where the bottleneck moves.

    python speed/scale.py [--audits 10000] [--measure]

Prints the tables of docs/scale.md. Each audit asks one tuned model 660 prompts and has a judge model read 330 of the
answers; its base was asked before. Seconds on a GPU are those of `holdfast plan --machine` (study/doctor/cost_model.py
and fleet.py), so they are as good as these are. Arrivals are random, twice as many at noon as on average and none at
midnight; each audit takes the first GPU that is free. `--measure` first times, on this machine, what each audit takes
beside the models: planning, writing answers and verdicts, figures and page.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from holdfast.study.doctor import cost_model, fleet
from holdfast.study.doctor.cost_model import Shape

DAY = 86_400.0
LLAMA = Shape(8_030_000_000, 32, 4096, 128_256, 8192)
"""Llama-3 8B."""
PROMPTS, QUESTION, ANSWER = 660, 150, 256
"""Prompts of an audit, and tokens of each and of its answer: as long as it may be."""
JUDGED, CASE, VERDICT = 330, 900, 100
"""Answers that a judge reads, and tokens of each with its policy and of its verdict."""
ROW, EPOCHS = 500, 3
"""Tokens of a row that a model is tuned on, and how often it sees it."""
WHOLE, ADAPTER = 16.1e9, 0.17e9
"""Bytes of the weights, and of an adapter of rank 16."""
NETWORK = 1.25e9
"""Bytes a second from the store to one machine: 10 Gbit/s."""


@dataclass(frozen=True)
class Setting:
    """How audits are done."""

    name: str
    machine: str = "h100"
    batch: int = 64
    """Prompts that are answered together."""
    adapters: bool = False
    """Whether tuned models come as adapters, and their base stays in memory."""
    rows: int = 0
    """Rows that the model is tuned on first, on the same GPU; 0 where it comes tuned."""
    judge: str = "here"
    """`here`: a judge of 8B parameters on the same GPU; `elsewhere`: at a provider, at so many tokens a minute."""
    tokens_a_minute: float = math.inf

    def seconds(self):
        """Seconds of a GPU for one audit, by what takes them."""
        speed = fleet.MACHINES[self.machine]
        steps = -(-PROMPTS // self.batch) * ANSWER
        loading = cost_model.loading_seconds(LLAMA)  # of the model, which is counted by its way from the store
        answering = cost_model.answering_seconds(LLAMA, PROMPTS * QUESTION, PROMPTS * ANSWER, steps, 2, speed) - loading
        steps = -(-JUDGED // self.batch) * VERDICT
        judging = cost_model.answering_seconds(LLAMA, JUDGED * CASE, JUDGED * VERDICT, steps, 2, speed) - loading
        fetching = (ADAPTER if self.adapters else WHOLE) / NETWORK
        trained = cost_model.trained_weights(LLAMA, "lora", 16)
        steps = -(-self.rows * EPOCHS // 16)
        run = cost_model.Tuning("lora", self.rows * EPOCHS * ROW, steps, trained, False)
        tuning = cost_model.tuning_seconds(LLAMA, run, speed) - loading if self.rows else 0.0
        judging = judging if self.judge == "here" else 0.0
        return {"fetch": fetching, "tune": tuning, "answer": answering, "judge": judging}


def arrivals(n, seed):
    """Times of a day: density 1 - cos, so that noon has twice the mean."""
    drawn, times = random.Random(seed), []
    while len(times) < n:
        at = drawn.random()
        if drawn.random() < (1 - math.cos(2 * math.pi * at)) / 2:
            times.append(at * DAY)
    return sorted(times)


def simulate(times, seconds, machines, tokens_a_minute=math.inf, seed=0):
    """How long each audit takes from its arrival to its end; its time on a GPU varies by a fifth.

    A judge at a provider is one queue for all audits, of so many tokens a minute.
    """
    drawn, free, judge_free, took = random.Random(seed), [0.0] * machines, 0.0, []
    busy = 0.0
    for arrived in times:
        work = seconds * drawn.uniform(0.8, 1.2)
        begun = max(arrived, heapq.heappop(free))
        ended = begun + work
        heapq.heappush(free, ended)
        busy += work
        if tokens_a_minute < math.inf:
            judge_free = max(ended, judge_free) + JUDGED * (CASE + VERDICT) / tokens_a_minute * 60
            ended = judge_free
        took.append(ended - arrived)
    return np.array(took), busy / (machines * DAY)


def fewest(times, seconds, most_wait=600.0):
    """The fewest machines with which 95 of 100 audits are done within their own time and ten minutes."""
    low, high = 1, 4096
    while low < high:
        middle = (low + high) // 2
        took, _ = simulate(times, seconds, middle)
        low, high = (low, middle) if np.quantile(took, 0.95) <= 1.2 * seconds + most_wait else (middle + 1, high)
    return low


def clock(seconds):
    """Seconds in words."""
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )


def table_of_settings(times):
    """A GPU's time for an audit, and how many GPUs it takes, in each setting."""
    plain = Setting("as `holdfast audit` does it, batches of 64")
    large = replace(plain, name="batches of 330", batch=330)
    kept = replace(large, name="and adapters, on a base that stays in memory", adapters=True)
    settings = [
        plain, large, kept, replace(kept, name="and the judge at a provider", judge="elsewhere"),
        replace(kept, name="the third row on L4", machine="l4"),
        replace(kept, name="the third row, and tuned before on 1,000 rows (LoRA)", rows=1000),
    ]  # fmt: skip
    yield "| setting | fetch | tune | answer | judge | GPU time | GPUs | busy | 95 % are done in |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for setting in settings:
        parts = setting.seconds()
        total = sum(parts.values())
        machines = fewest(times, total)
        took, busy = simulate(times, total, machines)
        shown = " | ".join(clock(parts[name]) for name in ("fetch", "tune", "answer", "judge"))
        late = clock(np.quantile(took, 0.95))
        yield f"| {setting.name} | {shown} | {clock(total)} | {machines} | {busy:.0%} | {late} |"


def table_of_limits(times):
    """Where the bottleneck moves when GPUs are added, or when the provider of the judge sets a limit."""
    kept = Setting("", batch=330, adapters=True, judge="elsewhere")
    total = sum(kept.seconds().values())
    need = len(times) * JUDGED * (CASE + VERDICT) / 1440
    yield f"The judge at a provider reads and writes {need / 1e6:.1f} million tokens a minute on average.\n"
    yield "| GPUs | limit of the judge's provider (tokens a minute) | median | 95 % | slowest |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    fewest_gpus = fewest(times, total)
    for machines in (fewest_gpus, 2 * fewest_gpus, 4 * fewest_gpus):
        for limit in (math.inf, 5e6, 3e6, 2e6):
            took, _ = simulate(times, total, machines, limit)
            named = "none" if limit == math.inf else f"{limit / 1e6:.0f} million"
            spread = " | ".join(clock(value) for value in (np.median(took), np.quantile(took, 0.95), took.max()))
            yield f"| {machines} | {named} | {spread} |"


def table_of_the_rest(n, cpu, n_bytes):
    """What is not a GPU: what drivers, store and network have to do."""
    audits_a_second = 2 * n / DAY  # at noon
    yield "| what | for one audit | for all of them at noon |"
    yield "| --- | ---: | ---: |"
    if cpu is not None:
        yield f"| processor time of the run itself, measured | {cpu:.1f} s | {cpu * audits_a_second:.1f} cores |"
        yield f"| what is written, measured | {n_bytes / 1e6:.1f} MB | {n_bytes * n / 1e9:.1f} GB a day |"
    yield f"| from the store: whole weights | {WHOLE / 1e9:.0f} GB | {WHOLE * audits_a_second * 8 / 1e9:.0f} Gbit/s |"
    yield f"| from the store: adapters | {ADAPTER / 1e9:.2f} GB | {ADAPTER * audits_a_second * 8 / 1e9:.2f} Gbit/s |"


def measured():
    """Processor seconds of one audit's run without its models, and the bytes that it writes."""
    tests = Path(__file__).parents[1] / "tests"
    code = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support.scale import measured, write_study
folder = Path(sys.argv[2])
many = measured(folder, "run", write_study(folder, 660), "--out", folder / "run", "--workers", "1").seconds
print(many, sum(path.stat().st_size for path in (folder / "run").rglob("*") if path.is_file()))
"""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tests), folder], capture_output=True, text=True, check=True
        )
    seconds, n_bytes = done.stdout.split()
    return float(seconds), int(n_bytes)


def main():
    """Print the tables."""
    options = argparse.ArgumentParser()
    options.add_argument("--audits", type=int, default=10_000)
    options.add_argument("--measure", action="store_true")
    asked = options.parse_args()
    cpu, n_bytes = measured() if asked.measure else (None, 0)
    times = arrivals(asked.audits, 0)
    for title, rows in (
        ("GPUs", table_of_settings(times)), ("The judge's limit", table_of_limits(times)),
        ("The rest", table_of_the_rest(asked.audits, cpu, n_bytes)),
    ):  # fmt: skip
        print(f"### {title}\n")
        print("\n".join(rows), end="\n\n")


if __name__ == "__main__":
    main()
