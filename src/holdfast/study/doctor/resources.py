"""Memory against what there is, and tokens, time and money of each stage of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.core.types import Benchmark
from holdfast.models import loading
from holdfast.study.cost_forecast import check_cost
from holdfast.study.doctor import cost_model
from holdfast.study.doctor.checks import Set
from holdfast.study.doctor.cost_model import Shape, Stage
from holdfast.study.doctor.findings import Diagnosis
from holdfast.study.eval_setting import EvalSetting, eval_setting_of
from holdfast.study.schema import Study


def needs(
    study: Study, shape: Shape, sets: Sequence[Set], sizes: dict[str, tuple[int, int]],
    benchmarks: dict[str, Benchmark], n_seeds: int, workers: int, found: Diagnosis,
) -> None:  # fmt: skip
    """Memory against what there is, and tokens, time and money of each stage."""
    found.memory_found = cost_model.memory_found()
    for each in sets:
        tuner: Any = each.settings.tune
        arithmetic = tuner.arithmetic()
        needed = cost_model.tuning_bytes(
            shape, tuner.method, arithmetic, min(tuner.batch_size, len(each.rows)), each.longest,
            tuner.gradient_checkpointing,
        )  # fmt: skip
        found.memory[f"tune {each.name}"] = needed * workers
    longest = max((length for length, _ in sizes.values()), default=0)
    if study.generate.kind == "local":
        local: Any = study.generate
        width = 4 if loading.best_device() == "cpu" else 2
        needed = cost_model.answering_bytes(shape, local.batch_size, longest + local.max_new_tokens, width)
        found.memory["answer"] = needed * workers
    for name, needed in found.memory.items():
        if needed > found.memory_found:
            mend = "Use fewer --workers, a smaller batch_size, gradient_checkpointing, or method: lora."
            found.add("fault", name, f"it needs about {_gib(needed)} of memory with {workers} worker(s), and "
                      f"{_gib(found.memory_found)} are free. {mend}")  # fmt: skip
    found.stages.append(_tuning(study, shape, sets, n_seeds))
    found.stages.append(_answering(study, shape, sizes, benchmarks, n_seeds))


def _tuning(study: Study, shape: Shape, sets: Sequence[Set], n_seeds: int) -> Stage:
    tokens, seconds = 0, 0.0
    runs: dict[str, tuple[Set, int]] = {}
    for settings in study.conditions.values():
        if settings.data is None or getattr(settings.tune, "kind", "") != "local":
            continue
        mine = next((s for s in sets if s.settings.data and s.settings.data.key == settings.data.key), None)
        run = str([settings.data.key, [d.key for d in settings.defence], dict(settings.tune.run)])
        if mine and settings.tune.epochs > runs.get(run, (mine, 0))[1]:
            runs[run] = mine, settings.tune.epochs
    for each, epochs in runs.values():
        tuner: Any = each.settings.tune
        tokens += each.tokens * epochs * n_seeds
        steps = tuner.steps(len(each.rows), epochs)
        seconds += n_seeds * cost_model.tuning_seconds(shape, each.tokens * epochs, steps, tuner.gradient_checkpointing)
    return Stage("tune", tokens, seconds, 0.0)


def _answering(
    study: Study, shape: Shape, sizes: dict[str, tuple[int, int]], benchmarks: dict[str, Benchmark], n_seeds: int
) -> Stage:
    """The most that answering can take: every answer as long as it may be."""
    n_prompts = sum(len(benchmark.prompts) for benchmark in benchmarks.values())
    tokens, seconds, usd, local = 0, 0.0, 0.0, True
    for way, times in _ways(study, n_seeds):
        generator: Any = way.generator(study)
        read = sizes.get(way.ask, (0, 0))[1] * times
        written = n_prompts * generator.max_new_tokens * times
        tokens += read + written
        if generator.kind == "local":
            steps = -(-n_prompts // generator.batch_size) * generator.max_new_tokens * times
            seconds += cost_model.answering_seconds(shape, read, written, steps)
        else:
            local, usd = False, usd + generator.price.usd(read, written) * generator.share_of_price(n_prompts)
    return Stage("answer, at most", tokens, seconds if local else None, usd)


def _ways(study: Study, n_seeds: int) -> list[tuple[EvalSetting, int]]:
    """The way in which each condition is asked, initial ones too, and how many times."""
    ways = [(eval_setting_of(study, settings), n_seeds) for settings in study.conditions.values()]
    initial = {(way.ask, way.decoding): way for way, _ in ways}
    return ways + [(way, n_seeds if way.generator(study).random else 1) for way in initial.values()]


def judging(study: Study, benchmarks: dict[str, Benchmark], n_seeds: int) -> Stage:
    """The most that judging can take: every answer as long as it may be, none judged before, each judge checked."""
    tokens, usd = 0, 0.0
    measured = {name: each for name, each in study.evaluate.sets().items() if name in benchmarks}
    for way, times in _ways(study, n_seeds):
        longest = getattr(way.generator(study), "max_new_tokens", 0)
        for name, each in measured.items():
            for judge in each.judges:
                most = judge.worst(benchmarks[name].policies, benchmarks[name].prompts, longest)
                tokens, usd = tokens + times * most[0], usd + times * most[1]
    judges = [asked for each in measured.values() for judge in each.judges for asked in judge.inner or (judge,)]
    paid = any(judge.paid for judge in judges)
    for judge in {judge.key: judge for judge in judges}.values():
        more = check_cost(judge)
        tokens, usd = tokens + more[0], usd + more[1]
    return Stage("judge, at most", tokens, None if paid else 0.0, usd)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
