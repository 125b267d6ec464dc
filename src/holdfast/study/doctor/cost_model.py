"""How much memory, time and money a study needs: estimates from shapes and counts, made before anything is loaded.

Times are rough, good to a factor of about three: they rest on a short measurement of this machine's arithmetic.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from holdfast.models import loading

BYTES_TO_TUNE = {"float32": 16, "mixed": 16, "bfloat16": 8}
"""Bytes a trained weight takes in full tuning: itself, its gradient and AdamW's two moments."""

EFFICIENCY = {"tune": 0.4, "read": 0.4, "write": 0.3}
"""Share of the measured arithmetic that tuning, reading questions and writing answers reach at their best."""

FILLED_BY = {"cpu": 8, "cuda": 300, "mps": 50}
"""Answers that must be written at once before arithmetic, and not reading the weights, takes the time."""

OVERHEAD = {"tune": 0.006, "write": 0.0007}
"""Seconds that each layer costs in each step, however small the model."""


@dataclass(frozen=True)
class Shape:
    """What of a model its needs follow from."""

    parameters: int
    layers: int
    hidden: int
    vocabulary: int
    context: int | None
    """Tokens that it can attend to; None where its configuration does not say."""


@dataclass(frozen=True)
class Stage:
    """One stage of a run: what it handles, and what it takes."""

    name: str
    tokens: int
    """Tokens trained on, or read and written; for answers, the most that can be written."""
    seconds: float | None
    """None where somebody else's machine does the work."""
    usd: float
    """The most that it can cost at the prices that the study names."""


def tuning_bytes(shape: Shape, method: str, precision: str, rows: int, length: int, checkpointed: bool) -> int:
    """Memory for tuning: weights, gradients, moments, activations and logits of a batch of rows of a length."""
    per_weight = {"full": BYTES_TO_TUNE[precision], "lora": 4 if precision != "bfloat16" else 2, "qlora": 0.6}[method]
    kept = 2 if checkpointed else 34  # bytes a token, layer and hidden unit (Korthikanti et al. 2022, 2205.05198)
    tokens = rows * length
    activations = tokens * shape.layers * shape.hidden * kept
    logits = tokens * shape.vocabulary * 10
    return int(shape.parameters * per_weight + activations + logits)


def answering_bytes(shape: Shape, rows: int, length: int, bytes_a_weight: int) -> int:
    """Memory for answering: weights, and keys and values of a batch of conversations of a length."""
    return shape.parameters * bytes_a_weight + 2 * rows * length * shape.layers * shape.hidden * bytes_a_weight


def tuning_seconds(shape: Shape, tokens: int, steps: int, checkpointed: bool) -> float:
    """Time for tuning: six operations a weight and token, eight where activations are computed again."""
    operations = (8 if checkpointed else 6) * shape.parameters * tokens
    return operations / (speed() * EFFICIENCY["tune"]) + steps * shape.layers * OVERHEAD["tune"]


def answering_seconds(shape: Shape, read: int, written: int, steps: int) -> float:
    """Time for answering: two operations a weight and token, reading at once and writing token by token."""
    reading = 2 * shape.parameters * read / (speed() * EFFICIENCY["read"])
    filled = min(1.0, written / max(steps, 1) / FILLED_BY[loading.best_device()])
    writing = 2 * shape.parameters * written / (speed() * EFFICIENCY["write"] * filled)
    return reading + writing + steps * shape.layers * OVERHEAD["write"]


@cache
def speed() -> float:
    """Operations a second of this machine's best device, by a short multiplication of matrices."""
    import torch

    device = loading.best_device()
    kind = torch.float32 if device == "cpu" else torch.bfloat16
    size = 512 if device == "cpu" else 4096
    a = torch.ones(size, size, device=device, dtype=kind)
    best = math.inf
    for _ in range(30):
        started = time.perf_counter()
        (a @ a).sum().item()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def memory_found() -> int:
    """Bytes that are free: of the GPU where there is one, else of the machine."""
    import torch

    if torch.cuda.is_available():
        return sum(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
