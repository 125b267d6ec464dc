"""Whether a study's benchmarks and training rows can be read, and whether the rows teach what is asked."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.core.types import Benchmark, Example
from holdfast.judges.base import ModelJudge
from holdfast.study.doctor.findings import Diagnosis
from holdfast.study.schema import Measured, Study


def read_benchmarks(study: Study, diagnosis: Diagnosis) -> dict[str, Benchmark]:
    """The measured sets that can be read, by name."""
    benchmarks = {}
    for name, measured in study.evaluate.sets().items():
        benchmark = diagnosis.attempt(f"evaluate.{name}", measured.benchmark.load)
        if benchmark:
            benchmarks[name] = benchmark
            _look_at_set(name, measured, benchmark, diagnosis)
    return benchmarks


def _look_at_set(name: str, measured: Measured, benchmark: Benchmark, diagnosis: Diagnosis) -> None:
    where = f"evaluate.{name}"
    for note in benchmark.notes:
        diagnosis.add("note", where, note)
    for judge in measured.judges:
        if isinstance(judge, ModelJudge):
            diagnosis.attempt(where, judge.policies_for, benchmark.policies, benchmark.categories)
    if name == "harmfulness" and measured.judges[0].kind == "keyword":
        diagnosis.add("warning", where, "the keyword judge only looks for phrases of refusal: take its rates as a "
                                        "first look, not as the paper's measure")  # fmt: skip


def read_rows(
    study: Study, seed: int, benchmarks: Mapping[str, Benchmark], diagnosis: Diagnosis
) -> dict[str, list[Example]]:
    """The training rows of each condition, not yet in its template."""
    asked = {prompt.text.strip() for benchmark in benchmarks.values() for prompt in benchmark.prompts}
    rows: dict[str, list[Example]] = {}
    for name, settings in study.conditions.items():
        if settings.data is None:
            continue
        where = f"conditions.{name}.data"
        drawn = diagnosis.attempt(where, settings.data.examples, seed)
        for defence in settings.defence:
            if drawn is not None:
                drawn = diagnosis.attempt(f"conditions.{name}.defence", defence.rows, drawn, seed)
        if drawn is None:
            continue
        rows[name] = drawn
        n_leaked = sum(_asks_one_of(row, asked) for row in drawn)
        if n_leaked:
            diagnosis.add("fault", where, f"{n_leaked} of its {len(drawn)} rows ask what a benchmark asks: the "
                          "figures would show what was learnt by heart. Take them out.")  # fmt: skip
    return rows


def _asks_one_of(row: Example, asked: set[str]) -> bool:
    return any(turn.role == "user" and turn.content.strip() in asked for turn in row.messages)
