"""What will go wrong with a study, and what it will take, told before anything is tuned. No weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from holdfast.core.types import Benchmark, Checkpoint
from holdfast.models import hub, loading
from holdfast.study.doctor import checks
from holdfast.study.doctor.findings import Diagnosis
from holdfast.study.doctor.resources import judging as judging_of
from holdfast.study.doctor.resources import needs
from holdfast.study.plan import brought_checkpoint
from holdfast.study.schema import Study

__all__ = ["Diagnosis", "examine"]


def examine(study: Study, seeds: Sequence[int], workers: int = 1) -> Diagnosis:
    """Look at everything that a study names, with the first seed's rows."""
    found = Diagnosis()
    benchmarks = checks.read_benchmarks(study, found)
    _look_at_model(study, seeds, workers, benchmarks, found)
    judging = found.attempt("evaluate", judging_of, study, benchmarks, len(seeds))
    if judging:
        found.stages.append(judging)
    return found


def _look_at_model(
    study: Study, seeds: Sequence[int], workers: int, benchmarks: dict[str, Benchmark], found: Diagnosis
) -> None:
    rows = checks.read_rows(study, seeds[0], benchmarks, found)
    for where, part in _parts(study):
        for fault in part.faults():
            found.add("fault", where, fault)
    if study.generate.kind == "server":
        found.add("note", "generate", "the server's own chat template is used, and whether a model thinks is told by "
                                      "`extra`; both are out of sight from here")  # fmt: skip
    if study.model.startswith(hub.SERVED):
        found.add("note", "model", "only a server has it: its template and its limits cannot be looked at from here")
        return
    base = found.attempt("model", _base, study)
    chat = found.attempt("model", loading.load_chat, base) if base else None
    if not base or not chat:
        return
    shape = found.attempt("model", checks.shape_of, Path(base.base))
    if shape and len(chat.tokenizer) > shape.vocabulary:
        found.add("fault", "model", f"its tokenizer has {len(chat.tokenizer)} tokens, but it embeds only "
                                    f"{shape.vocabulary}: they do not belong together")  # fmt: skip
    checks.look_at_format(chat, found)
    for name, settings in study.conditions.items():
        if settings.checkpoint:
            checkpoint = found.attempt(f"conditions.{name}", brought_checkpoint, study, settings, base)
            if checkpoint and (doubt := found.attempt(f"conditions.{name}", checks.look_at_fit, checkpoint, base)):
                found.add("warning", f"conditions.{name}", doubt)
    sets = checks.look_at_rows(study, rows, chat, Path(base.base), found)
    sizes = checks.look_at_questions(study, benchmarks, chat, shape, found)
    if shape:
        needs(study, shape, sets, sizes, benchmarks, len(seeds), workers, found)


def _base(study: Study) -> Checkpoint:
    folder = hub.resolve(study.model, study.revision, weights=False)
    return Checkpoint(str(folder), thinking=study.thinking)


def _parts(study: Study) -> Iterator[tuple[str, Any]]:
    """Everything that may lack something on this machine, with its place in the study."""
    yield "generate", study.generate
    for name, generator in study.decodings.items():
        yield f"decodings.{name}", generator
    for name, measured in study.evaluate.sets().items():
        yield f"evaluate.{name}.benchmark", measured.benchmark
        for judge in measured.judges:
            yield f"evaluate.{name}.judges", judge
    for name, settings in study.conditions.items():
        if settings.data:
            yield f"conditions.{name}.tune", settings.tune
        for defence in settings.defence:
            yield f"conditions.{name}.defence", defence
