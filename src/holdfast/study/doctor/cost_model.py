"""Memory and time of tuning and answering, as formulas of a model's shape and of the machine's speed.

Times were fitted to Llamas of 0.7, 23 and 76 million parameters on one CPU thread. They are good to a factor of about
two there, and of about three elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from holdfast.study.doctor.machine import Speed

BYTES_TO_TUNE = {"float32": 16, "mixed": 16, "bfloat16": 8}
"""Bytes that a trained weight takes in full tuning: itself, its gradient and AdamW's two moments."""

EFFICIENCY = 0.7
"""Share of the measured arithmetic that a model's large multiplications reach."""

TOKEN_OPERATIONS = {"tune": 600_000, "read": 200_000, "write": 650_000}
"""Operations that each token costs in each layer beside the multiplications with weights: attention, norms, cache."""

LAYER_STARTS = {"tune": 1700, "write": 460}
"""Small operations that each layer starts in each step, however small the model."""

OPERATIONS_TO_TUNE = {"full": 6, "lora": 4, "qlora": 4}
"""Operations for each weight and token: two forward, two to pass gradients back, two for the weight's own gradient."""

OPTIMIZER_BYTES = 50
"""Bytes that AdamW reads and writes for each trained weight in each step."""

SECONDS_TO_START = 8.0
"""Time to start processes and import libraries, and to write the results at the end."""

SECONDS_TO_TUNE_AT_ALL = 0.5
"""Time to set up one training run and to save its weights, beside reading the model."""

READING = 1e9
"""Bytes a second in which weights are read from disk."""


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
class Tuning:
    """One training run, as far as its time depends on it."""

    method: str
    """`full`, `lora` or `qlora`."""
    tokens: int
    """Tokens of all epochs."""
    steps: int
    """Steps of the optimizer."""
    trained: int
    """Weights that are trained."""
    recomputed: bool
    """Whether activations are computed again in the backward pass."""


def tuning_bytes(shape: Shape, method: str, precision: str, rows: int, length: int, recomputed: bool) -> int:
    """Memory for tuning: weights, gradients, moments, activations and logits of a batch of rows of a length."""
    per_weight = {"full": BYTES_TO_TUNE[precision], "lora": 4 if precision != "bfloat16" else 2, "qlora": 0.6}[method]
    kept = 2 if recomputed else 34  # bytes a token, layer and hidden unit (Korthikanti et al. 2022, 2205.05198)
    tokens = rows * length
    activations = tokens * shape.layers * shape.hidden * kept
    logits = tokens * shape.vocabulary * 10
    return int(shape.parameters * per_weight + activations + logits)


def answering_bytes(shape: Shape, rows: int, length: int, bytes_a_weight: int) -> int:
    """Memory for answering: weights, and keys and values of a batch of conversations of a length."""
    return shape.parameters * bytes_a_weight + 2 * rows * length * shape.layers * shape.hidden * bytes_a_weight


def trained_weights(shape: Shape, method: str, rank: int) -> int:
    """How many weights are trained: all, or two thin matrices for each of about seven modules in each layer."""
    return shape.parameters if method == "full" else min(shape.parameters, 14 * shape.layers * shape.hidden * rank)


def tuning_seconds(shape: Shape, run: Tuning, speed: Speed) -> float:
    """Time of one training run."""
    a_weight = OPERATIONS_TO_TUNE[run.method] + (2 if run.recomputed else 0)
    operations = run.tokens * (a_weight * shape.parameters + shape.layers * TOKEN_OPERATIONS["tune"])
    a_step = shape.layers * LAYER_STARTS["tune"] * speed.latency + run.trained * OPTIMIZER_BYTES / speed.bandwidth
    return _arithmetic(operations, speed) + run.steps * a_step + SECONDS_TO_TUNE_AT_ALL + loading_seconds(shape)


def answering_seconds(shape: Shape, read: int, written: int, steps: int, bytes_a_weight: int, speed: Speed) -> float:
    """Time of answering: questions are read at once, and answers written token by token, in so many steps in all."""
    operations = read * (2 * shape.parameters + shape.layers * TOKEN_OPERATIONS["read"])
    operations += written * (2 * shape.parameters + shape.layers * TOKEN_OPERATIONS["write"])
    a_step = shape.layers * LAYER_STARTS["write"] * speed.latency
    a_step += shape.parameters * bytes_a_weight / speed.bandwidth
    return _arithmetic(operations, speed) + steps * a_step + loading_seconds(shape)


def loading_seconds(shape: Shape) -> float:
    """Time to read a model's weights once."""
    return 4 * shape.parameters / READING


def _arithmetic(operations: float, speed: Speed) -> float:
    return operations / (EFFICIENCY * speed.arithmetic)


def makespan(seconds: Iterable[float], workers: int) -> float:
    """Time until all jobs are done, if each worker takes the longest job that is left."""
    busy = [0.0] * workers
    for job in sorted(seconds, reverse=True):
        busy[busy.index(min(busy))] += job
    return max(busy)
