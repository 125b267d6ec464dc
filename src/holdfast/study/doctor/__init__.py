"""What will go wrong with a study, and what it will take, before anything is tuned. No weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from holdfast.core.errors import StudyError
from holdfast.core.types import Benchmark
from holdfast.models import hub, loading
from holdfast.study.doctor import data_checks, model_checks, provider, rendering, resources
from holdfast.study.doctor.findings import Diagnosis
from holdfast.study.doctor.resources import Facts
from holdfast.study.schema import Study

__all__ = ["Diagnosis", "examine", "facts_of"]


def examine(
    study: Study, seeds: Sequence[int], workers: int = 1, folder: Path | None = None, keep: bool = False
) -> Diagnosis:
    """Look at everything that a study names, with the first seed's rows.

    Args:
        study: what would be run.
        seeds: the seeds of the run.
        workers: number of worker processes.
        folder: the folder of the run; `runs/<study's name>` if not given. Nothing is written.
        keep: whether tuned weights are kept, which takes more disk.
    """
    diagnosis = Diagnosis()
    folder = folder or Path("runs") / study.name
    _look_at_folder(folder, diagnosis)
    benchmarks = data_checks.read_benchmarks(study, diagnosis)
    for where, part in _parts(study):
        for fault in part.faults():
            diagnosis.add("fault", where, fault)
    facts = _look_at_model(study, seeds, workers, benchmarks, diagnosis)
    if facts and len(benchmarks) == len(study.evaluate.sets()):
        resources.check_memory(facts, diagnosis)
        resources.check_disk(facts, folder, keep, diagnosis)
        diagnosis.stages += resources.stages(facts)
    if judging := diagnosis.attempt("evaluate", resources.judging, study, benchmarks, len(seeds)):
        diagnosis.stages.append(judging)
    return diagnosis


def facts_of(study: Study, seeds: Sequence[int]) -> Facts:
    """What is known of a study before it is run.

    Raises:
        StudyError: it has faults, or only a server has its model.
    """
    diagnosis = Diagnosis()
    benchmarks = data_checks.read_benchmarks(study, diagnosis)
    facts = _look_at_model(study, seeds, 1, benchmarks, diagnosis)
    if facts is None or diagnosis.faults:
        why = "; ".join(f"{fault.where}: {fault.what}" for fault in diagnosis.faults) or "only a server has its model"
        raise StudyError(f"{study.name}: what it takes cannot be told: {why}. `holdfast doctor` says more.")
    return facts


def _look_at_model(
    study: Study, seeds: Sequence[int], workers: int, benchmarks: Mapping[str, Benchmark], diagnosis: Diagnosis
) -> Facts | None:
    """Look at the model and at all rows; what is known of the study then, unless a fault hides it."""
    rows = data_checks.read_rows(study, seeds[0], benchmarks, diagnosis)
    provider.look(study, rows, len(seeds), diagnosis)
    if study.generate.kind == "server":
        diagnosis.add("note", "generate", "the server's own chat template is used, and `extra` says whether a model "
                      "thinks; neither can be checked from here")  # fmt: skip
    if study.model.startswith(hub.SERVED):
        diagnosis.add("note", "model", "only a server has it: its template and limits cannot be checked from here")
        return None
    base = diagnosis.attempt("model", model_checks.base_of, study)
    chat = diagnosis.attempt("model", loading.load_chat, base) if base else None
    if not base or not chat:
        return None
    folder = Path(base.base)
    shape = diagnosis.attempt("model", model_checks.shape_of, folder)
    if shape:
        model_checks.look_at_tokenizer(chat, shape, diagnosis)
    model_checks.look_at_format(chat, diagnosis)
    model_checks.look_at_checkpoints(study, base, diagnosis)
    model_checks.look_at_defences(study, base, diagnosis)
    training_sets = rendering.look_at_rows(study, rows, chat, folder, diagnosis)
    questions = rendering.look_at_questions(study, benchmarks, chat, shape, diagnosis)
    n_tuned = sum(settings.data is not None for settings in study.conditions.values())
    if not shape or len(rows) < n_tuned:
        return None
    return Facts(study, shape, training_sets, questions, benchmarks, len(seeds), workers)


def _look_at_folder(folder: Path, diagnosis: Diagnosis) -> None:
    """Whether the folder of the run can be made."""
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    if not existing.is_dir():
        diagnosis.add("fault", "--out", f"{existing} is a file, but a folder is needed there. Name another with --out.")


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
