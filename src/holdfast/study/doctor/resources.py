"""What a study takes: tokens, time and money of each stage, and memory and disk against what is free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holdfast.core.protocols import Generator
from holdfast.core.types import Benchmark
from holdfast.core.workers import usable_cores
from holdfast.models import loading
from holdfast.study.cost_forecast import check_cost
from holdfast.study.doctor import cost_model, machine
from holdfast.study.doctor.cost_model import Shape, Tuning
from holdfast.study.doctor.findings import Diagnosis, Stage
from holdfast.study.doctor.machine import Speed
from holdfast.study.doctor.rendering import Questions, TrainingSet
from holdfast.study.eval_setting import EvalSetting, eval_setting_of, template_of
from holdfast.study.schema import ConditionSettings, Study

ANSWER_BYTES, VERDICT_BYTES, TOKEN_BYTES = 400, 400, 4
"""Bytes on disk of an answer and of a verdict beside the answer's text, and of each token of the text."""

LONG_RUN = 60.0
"""Seconds after which tuning keeps a checkpoint to go on from: weights, and two moments for each trained weight."""


@dataclass
class Load:
    """What one job takes: a training run with the answers of its conditions, or answers of a model as it is."""

    copies: int = 1
    """How many times it is done: once for each seed on which it depends."""
    tuning: Tuning | None = None
    epochs: set[int] = field(default_factory=set)
    """The epochs after which its checkpoints are kept."""
    settings: list[EvalSetting] = field(default_factory=list)
    """How each of its conditions is asked."""


@dataclass(frozen=True)
class Facts:
    """What is known of a study before it is run."""

    study: Study
    shape: Shape
    training_sets: Mapping[str, TrainingSet]
    """By condition."""
    questions: Mapping[str, Questions]
    """By template."""
    benchmarks: Mapping[str, Benchmark]
    n_seeds: int
    workers: int

    @property
    def n_prompts(self) -> int:
        """Prompts that each condition is asked."""
        return sum(len(benchmark.prompts) for benchmark in self.benchmarks.values())


def loads(facts: Facts) -> list[Load]:
    """The jobs of a study. Conditions that differ only in their epochs share one training run."""
    by_run: dict[str, Load] = {}
    for name, condition in facts.study.conditions.items():
        setting = eval_setting_of(facts.study, condition)
        load = by_run.setdefault(_run_of(facts.study, name, condition), Load())
        load.settings.append(setting)
        if condition.data is not None or setting.generator(facts.study).random:
            load.copies = facts.n_seeds
        if name in facts.training_sets:
            load.epochs.add(condition.tune.epochs)
            load.tuning = tuning_of(facts, name, condition, max(load.epochs))
    initial = dict.fromkeys(setting for load in by_run.values() for setting in load.settings)
    random = {setting: setting.generator(facts.study).random for setting in initial}
    return [*by_run.values(), *(Load(facts.n_seeds if random[each] else 1, settings=[each]) for each in initial)]


def _run_of(study: Study, name: str, condition: ConditionSettings) -> str:
    """What a condition's training run depends on; the condition's name where nothing is tuned here."""
    if condition.data is None:
        return name
    defences = [defence.model_dump(mode="json") for defence in condition.defence]
    return str([condition.data.key, defences, template_of(study, condition), dict(condition.tune.run)])


def tuning_of(facts: Facts, name: str, condition: ConditionSettings, epochs: int) -> Tuning:
    """The training run of a condition, up to so many epochs."""
    tuner: Any = condition.tune
    rows = facts.training_sets[name]
    trained = cost_model.trained_weights(facts.shape, tuner.method, tuner.lora.rank)
    steps = tuner.steps(rows.n_rows, epochs)
    return Tuning(tuner.method, rows.tokens * epochs, steps, trained, tuner.gradient_checkpointing)


def stages(facts: Facts) -> list[Stage]:
    """Tuning and answering: tokens, time with all workers at work, and money. Answers are as long as they may be."""
    jobs = [load for load in loads(facts) for _ in range(load.copies)]
    seconds = job_seconds(facts, machine.speed())
    tuned, answered = [each for each, _ in seconds], [each for _, each in seconds]
    workers = max(1, min(facts.workers, len(jobs), usable_cores()))
    alone = sum(tuned) + sum(answered)
    together = cost_model.makespan([a + b for a, b in zip(tuned, answered, strict=True)], workers)
    speed_up = together / alone if alone else 1.0
    tokens = sum(job.tuning.tokens for job in jobs if job.tuning)
    read_and_written = [_answer_tokens(facts, setting) for job in jobs for setting in job.settings]
    usd = sum(_answering_usd(facts, setting) for job in jobs for setting in job.settings)
    is_local = facts.study.generate.kind == "local"
    return [
        Stage("start and finish", 0, cost_model.SECONDS_TO_START, 0.0),
        Stage("tune", tokens, sum(tuned) * speed_up, 0.0),
        Stage("answer, at most", sum(map(sum, read_and_written)), sum(answered) * speed_up if is_local else None, usd),
    ]


def job_seconds(facts: Facts, speed: Speed, bytes_a_weight: int | None = None) -> list[tuple[float, float]]:
    """Seconds of tuning and of answering of each job, on one worker of a speed."""
    weight = bytes_a_weight or _bytes_a_weight()
    found = []
    for job in loads(facts):
        answered = sum(_answering_seconds(facts, setting, speed, weight) for setting in job.settings)
        found += [(_tuning_seconds(facts, job, speed), answered)] * job.copies
    return found


def _tuning_seconds(facts: Facts, job: Load, speed: Speed) -> float:
    return cost_model.tuning_seconds(facts.shape, job.tuning, speed) if job.tuning else 0.0


def _answer_tokens(facts: Facts, setting: EvalSetting) -> tuple[int, int]:
    """Tokens that are read, and the most that can be written, where all prompts are asked in a setting."""
    generator: Any = setting.generator(facts.study)
    questions = facts.questions.get(setting.ask)
    return questions.tokens if questions else 0, facts.n_prompts * generator.max_new_tokens


def _answering_seconds(facts: Facts, setting: EvalSetting, speed: Speed, bytes_a_weight: int) -> float:
    generator: Any = setting.generator(facts.study)
    if generator.kind != "local":
        return 0.0
    read, written = _answer_tokens(facts, setting)
    steps = -(-facts.n_prompts // generator.batch_size) * generator.max_new_tokens
    return cost_model.answering_seconds(facts.shape, read, written, steps, bytes_a_weight, speed)


def _answering_usd(facts: Facts, setting: EvalSetting) -> float:
    generator: Any = setting.generator(facts.study)
    if generator.kind == "local":
        return 0.0
    return float(generator.price.usd(*_answer_tokens(facts, setting)) * generator.share_of_price(facts.n_prompts))


def _bytes_a_weight() -> int:
    return 4 if loading.best_device() == "cpu" else 2


def judging(study: Study, benchmarks: Mapping[str, Benchmark], n_seeds: int) -> Stage:
    """The most that judging can take: every answer as long as it may be, none judged before, each judge checked."""
    tokens, usd = 0, 0.0
    measured = {name: each for name, each in study.evaluate.sets().items() if name in benchmarks}
    judges = {judge.key: judge for each in measured.values() for judge in each.judges}
    for generator in _generators(study, n_seeds):
        longest = getattr(generator, "max_new_tokens", 0)
        for name, each in measured.items():
            for judge in each.judges:
                worst = judge.worst(benchmarks[name].policies, benchmarks[name].prompts, longest)
                tokens, usd = tokens + worst[0], usd + worst[1]
    asked = {each.key: each for judge in judges.values() for each in judge.inner or (judge,)}
    checks = [check_cost(judge) for judge in asked.values()]
    is_quick = not any(judge.paid for judge in asked.values())
    tokens, usd = tokens + sum(each[0] for each in checks), usd + sum(each[1] for each in checks)
    return Stage("judge, at most", tokens, 0.0 if is_quick else None, usd)


def _generators(study: Study, n_seeds: int) -> list[Generator]:
    """Who answers all prompts, once for each time that they are asked: tuned conditions and initial ones."""
    settings = [eval_setting_of(study, condition) for condition in study.conditions.values()]
    once = [setting.generator(study) for setting in dict.fromkeys(settings)]
    initial = [generator for generator in once for _ in range(n_seeds if generator.random else 1)]
    return [setting.generator(study) for setting in settings for _ in range(n_seeds)] + initial


def check_memory(facts: Facts, diagnosis: Diagnosis) -> None:
    """Memory that tuning and answering need, against what is free."""
    shape = facts.shape
    diagnosis.free_memory = machine.free_memory()
    for name, rows in facts.training_sets.items():
        condition = facts.study.conditions[name]
        tuner: Any = condition.tune
        needed = cost_model.tuning_bytes(
            shape, tuner.method, tuner.arithmetic(), min(tuner.batch_size, rows.n_rows), rows.longest,
            tuner.gradient_checkpointing,
        )  # fmt: skip
        if tuner.method == "full":
            needed += 4 * shape.parameters * sum(defence.copies for defence in condition.defence)
        stage = f"tune {rows.name}"
        diagnosis.memory[stage] = max(needed * facts.workers, diagnosis.memory.get(stage, 0))
    if facts.study.generate.kind == "local":
        local: Any = facts.study.generate
        longest = max((questions.longest for questions in facts.questions.values()), default=0)
        longest += local.max_new_tokens
        needed = cost_model.answering_bytes(shape, local.batch_size, longest, _bytes_a_weight())
        diagnosis.memory["answer"] = needed * facts.workers
    for name, needed in diagnosis.memory.items():
        if needed > diagnosis.free_memory:
            mend = "Use fewer --workers, a smaller batch_size, gradient_checkpointing, or method: lora."
            diagnosis.add("fault", name, f"it needs about {size(needed)} of memory with {facts.workers} worker(s), and "
                          f"{size(diagnosis.free_memory)} are free. {mend}")  # fmt: skip


def check_disk(facts: Facts, folder: Path, keep: bool, diagnosis: Diagnosis) -> None:
    """Checkpoints, answers and verdicts of the run, against what is free where its folder is."""
    checkpoints = sorted(_checkpoint_bytes(facts, load) for load in loads(facts) for _ in range(load.copies))
    at_once = checkpoints if keep else checkpoints[-facts.workers :]
    diagnosis.disk = sum(at_once) + _answers_bytes(facts)
    diagnosis.free_disk = machine.free_disk(folder)
    if diagnosis.disk > diagnosis.free_disk:
        mend = "Free some, name another folder with --out, or use method: lora or fewer --workers."
        diagnosis.add("fault", "--out", f"the run writes up to {size(diagnosis.disk)} into {folder}, and "
                      f"{size(diagnosis.free_disk)} are free there. {mend}")  # fmt: skip


def _checkpoint_bytes(facts: Facts, load: Load) -> int:
    """Bytes of a job's checkpoints before they are deleted, and of one to go on from where tuning takes long."""
    if load.tuning is None:
        return 0
    weights = 4 * (facts.shape.parameters if load.tuning.method == "full" else load.tuning.trained)
    is_long = _tuning_seconds(facts, load, machine.speed()) > LONG_RUN
    return len(load.epochs) * weights + (weights + 8 * load.tuning.trained if is_long else 0)


def _answers_bytes(facts: Facts) -> int:
    measured = facts.study.evaluate.sets()
    n_verdicts = sum(len(measured[name].judges) * len(each.prompts) for name, each in facts.benchmarks.items())
    bytes_ = 0
    for load in loads(facts):
        for setting in load.settings:
            text = _answer_tokens(facts, setting)[1] * TOKEN_BYTES
            bytes_ += load.copies * (text + facts.n_prompts * ANSWER_BYTES + n_verdicts * VERDICT_BYTES)
    return bytes_


def size(n_bytes: int) -> str:
    """Bytes in the unit in which they are easily read."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 / 10 else f"{n_bytes / 2**20:.1f} MiB"
