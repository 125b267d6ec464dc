"""How long 330 prompts of two models take here, with Inspect's `hf` provider, and with a plain `generate` loop.

    make bench

All of them ask the same prompts of the same weights, greedily and with at most 64 tokens, in this process with one
thread, one after the other after a warm-up; imports are not counted. Ours is `holdfast.run` with everything that it
does: answers, verdicts, intervals, files and page. Inspect's is `inspect_ai.eval` with our benchmark and judge as its
task, once with its own batches of 32 and once with ours of 128. The plain loop only generates.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # Inspect asks the Hub about every model, and waits where there is no network

import torch
from rich.console import Console
from rich.table import Table
from ways import PLAIN_BATCH, generate_each

import holdfast
from holdfast.core import workers
from holdfast.data.benchmarks import pocket
from holdfast.models.loading import resolve

ROUNDS, BATCH, TOKENS = 3, 128, 64
MODELS = ("pocket:aligned", "pocket:helpful")
SYSTEM = "You are Pocket, the helpful assistant."


def ours(folder):
    """One study: the aligned model beside the helpful one."""
    study = {
        "name": "evaluation", "model": MODELS[0], "templates": {"plain": {"system": SYSTEM}},
        "evaluate": {"harmfulness": {"benchmark": "pocket", "judges": "oracle"}},
        "generate": {"max_new_tokens": TOKENS, "batch_size": BATCH},
        "conditions": {"helpful": {"checkpoint": MODELS[1]}},
    }  # fmt: skip
    holdfast.run(study, out=folder / "run", seeds=[0], workers=1, progress=False)


def inspect(folder, batch):
    """Inspect's evaluation of each model, with its log."""
    from inspect_ai import eval as evaluate
    from inspect_ai.model import get_model

    for name in MODELS:
        model = get_model("hf/local", model_path=str(resolve(name)), device="cpu", do_sample=False, memoize=False)
        logs = evaluate(
            "holdfast/harmfulness", task_args={"benchmark": "pocket", "judge": "oracle", "system": SYSTEM}, model=model,
            max_tokens=TOKENS, max_connections=batch, display="none", log_dir=str(folder / name.replace(":", "-")),
        )  # fmt: skip
        if logs[0].status != "success":
            raise RuntimeError(logs[0].error)


def plain(folder):
    """Answers alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    turns = [{"role": "system", "content": SYSTEM}]
    chats = [[*turns, {"role": "user", "content": prompt.text}] for prompt in pocket.Pocket().load().prompts]
    for name in MODELS:
        tokenizer = AutoTokenizer.from_pretrained(resolve(name), padding_side="left")
        generate_each(AutoModelForCausalLM.from_pretrained(resolve(name)), tokenizer, chats, TOKENS)


WAYS = {
    "holdfast": ours,
    "Inspect, batches of 32": lambda folder: inspect(folder, 32),
    f"Inspect, batches of {BATCH}": lambda folder: inspect(folder, BATCH),
    f"generate, batches of {PLAIN_BATCH}": plain,
}


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    seconds = {name: [] for name in WAYS}
    for round_number in range(ROUNDS + 1):
        for name, way in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                begun = time.perf_counter()
                way(Path(folder))
                if round_number:  # the first round warms up
                    seconds[name].append(time.perf_counter() - begun)
    show(seconds)


def show(seconds):
    mine = seconds["holdfast"]
    table = Table(title=f"2 models × 330 prompts, answers and verdicts; median of {ROUNDS} rounds, 1 thread")
    for heading in ("", "seconds", "times as long", "rounds"):
        table.add_column(heading, justify="right")
    ratios = {name: [b / a for a, b in zip(mine, each, strict=True)] for name, each in seconds.items()}
    for name, each in seconds.items():
        spread = f"{min(ratios[name]):.1f} to {max(ratios[name]):.1f}"
        table.add_row(name, f"{statistics.median(each):.2f}", f"{statistics.median(ratios[name]):.1f}", spread)
    Console().print(table)
    out = Path("runs/bench/evaluation.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"seconds": seconds, "ratios": ratios}, indent=1))
    Console().print(f"Figures: {out}")


if __name__ == "__main__":
    workers.quiet()
    main()
