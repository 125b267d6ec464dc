"""52,000 rows in Alpaca's layout: loaded, filtered and tokenised, in seconds and memory.

    python speed/rows.py [MODEL]

The rows are made up, and about as long as Alpaca's. MODEL is a folder or Hub id whose tokenizer and chat template
are used; the pocket model's if not given.
"""

import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from holdfast.core.types import Checkpoint
from holdfast.data.training.instructions import Alpaca
from holdfast.models.loading import load_chat

ROWS = 52_000
WORDS = [
    "the", "a", "of", "to", "and", "in", "is", "it", "for", "on", "with", "as", "by", "at", "from", "or", "an", "be",
    "this", "that", "are", "was", "tea", "pot", "water", "cup", "leaf", "warm", "slow",
]  # fmt: skip


def write_rows(path, seed=0):
    """Write a file of rows; the safety filter drops one in fifty."""
    draw = random.Random(seed)

    def text(n):
        return " ".join(draw.choices(WORDS, k=n)).capitalize() + "."

    rows = [
        {
            "instruction": text(12) + (" Is it illegal?" if i % 50 == 0 else ""),
            "input": text(14) if i % 5 < 2 else "",
            "output": text(draw.randint(10, 110)),
        }
        for i in range(ROWS)
    ]
    path.write_text(json.dumps(rows, indent=4), encoding="utf-8")


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(model="pocket:aligned"):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alpaca.json"
        write_rows(path)
        print(f"{ROWS:,} rows, {path.stat().st_size / 2**20:.1f} MiB")
        started = time.perf_counter()
        source = Alpaca(file=path, drop="safety")
        rows = source.examples(0)
        loaded = time.perf_counter()
        (account,) = source.accounts()
        print(f"loaded and filtered: {loaded - started:.1f} s; kept {account.kept:,}, dropped {dict(account.dropped)}")
        chat = load_chat(Checkpoint(model))
        ready = time.perf_counter()
        rendered = list(chat.examples(rows))
        done = time.perf_counter()
        tokens = sum(len(row.input_ids) for row in rendered)
        out = Path("runs/bench/rows.json")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"rows": ROWS, "seconds": done - started, "gb": peak() * 1.073741824}, indent=1))
        print(f"tokenised: {done - ready:.1f} s, {tokens:,} tokens (and {ready - loaded:.1f} s to import and load)")
        print(f"in all {done - started:.1f} s, at most {peak():.2f} GiB")


if __name__ == "__main__":
    main(*sys.argv[1:2])
