"""What a worker does with one job: rows → defences → tuning → the check before release → its end.

Everything is written so that it can be done again: a job whose worker died is gone on with from the trainer's last
checkpoint, and what was tuned, audited or told is not done again.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import ValidationError
from sqlalchemy import select

from holdfast.core import durable
from holdfast.core.errors import DataError, HoldfastError, RenderError
from holdfast.core.progress import TuningStep
from holdfast.core.types import Checkpoint, Example, Tuned
from holdfast.data.training.messages import Messages
from holdfast.service import ledger
from holdfast.service.database import Job, Model
from holdfast.service.defences import Released, unquoted
from holdfast.service.ledger import Claim, Happening, LostError, Made

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.service.database import Database
    from holdfast.service.policy import Base, ServicePolicy
    from holdfast.service.store import FileStore
    from holdfast.tuning.local import LocalTuner

KEPT = 3
"""Checkpoints of a job that can be asked: those after its last epochs, as with OpenAI."""
LOOK_EVERY = 0.5
"""Seconds between two looks whether a job is still wanted, while it waits."""
TELL_EVERY = 1.0
"""Seconds between two times that steps are written down."""


class StopError(Exception):
    """The job is to be left: its owner or the operator said so. The argument is how."""


class JobError(Exception):
    """The job fails, for a reason that its owner is told."""

    def __init__(
        self, code: str, message: str, param: str | None = None, decision: dict[str, Any] | None = None
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.code, self.param, self.decision = code, param, decision or {}


@dataclass
class Desk:
    """What a worker has at hand for one job."""

    database: Database
    store: FileStore
    folder: Path
    """The service's."""
    policy: ServicePolicy
    claimed: Claim
    asked: Callable[[], str]
    """What is to become of the job, as far as is known: `run`, `pause`, `cancel`, `stop` or `lost`."""
    told: float = 0.0
    steps: list[Happening] = field(default_factory=list)
    """Steps that are not written down yet."""

    @property
    def job(self) -> Job:
        """As it was when it was claimed."""
        return self.claimed.job

    @property
    def base(self) -> Base:
        """The model that is tuned."""
        return self.policy.bases[self.job.model]

    @property
    def work(self) -> Path:
        """Where the job's files lie."""
        return self.folder / "jobs" / self.job.id

    def tell(self, mark: str, message: str, **changes: Any) -> None:
        """Write an event, and fields of the job."""
        ledger.tell(self.database, self.claimed, [Happening(mark, message)], changes)

    def flush(self, **changes: Any) -> None:
        """Write down the steps that are not yet, and fields of the job."""
        ledger.tell(self.database, self.claimed, self.steps, changes)
        self.steps, self.told = [], time.monotonic()

    def look(self) -> None:
        """Leave the job if that is wanted.

        Raises:
            StopError: its owner wants it paused or cancelled, or the worker is to end.
            LostError: it is another worker's.
        """
        wanted = self.asked()
        if wanted == "lost":
            raise LostError(f"the lease of {self.job.id} ran out")
        if wanted != "run":
            raise StopError(wanted)


def do(desk: Desk) -> None:
    """Do a job, and end it.

    Raises:
        StopError, LostError: see `Desk.look`.
        JobError: the job fails.
    """
    with _alone(desk):
        rows = _defended(desk, _rows(desk))
        made = _tune(desk, rows)
        models = ledger.keep_models(desk.database, desk.claimed, _kept(desk, made))
        decision = _check(desk, models)
        _tidy(desk.work)
        desk.tell("model", f"New fine-tuned model created: {ledger.name_of(desk.job)}")
        ledger.finish(desk.database, desk.claimed, "succeeded", decision=decision)


def discard(desk: Desk) -> None:
    """Remove the files of a job that was cancelled; its models were refused, and nobody can ask them."""
    with desk.database.reading() as session:
        status = session.scalar(select(Job.status).where(Job.id == desk.job.id))
    if status == "cancelled":
        shutil.rmtree(desk.work, ignore_errors=True)


@contextmanager
def _alone(desk: Desk) -> Iterator[None]:
    """Keep out a worker that has lost the job and does not know yet: it is waited for.

    Raises:
        StopError, LostError: see `Desk.look`.
    """
    durable.make_folder(desk.work)
    lock = FileLock(desk.work / "lock")
    while True:
        desk.look()
        try:
            lock.acquire(timeout=LOOK_EVERY)
            break
        except Timeout:
            continue
    try:
        yield
    finally:
        lock.release()


def _rows(desk: Desk) -> list[Example]:
    """The training rows."""
    try:
        with desk.store.local(desk.job.training_file) as content:
            named = desk.work / f"training-{os.getpid()}.jsonl"
            named.unlink(missing_ok=True)
            named.symlink_to(content.resolve())
            try:
                rows = Messages(file=named).examples(desk.job.seed)
            finally:
                named.unlink()
    except FileNotFoundError:
        raise JobError("invalid_training_file", "The training file was deleted.", "training_file") from None
    except DataError as error:
        text = unquoted(str(error).replace(str(named), "the training file"))
        raise JobError("invalid_training_file", text, "training_file") from None
    desk.tell("validated", f"Training file read: {len(rows)} rows.")
    return rows


def _defended(desk: Desk, rows: list[Example]) -> list[Example]:
    """The rows as the provider's defences leave them."""
    before = len(rows)
    for defence in desk.policy.before_tuning:
        rows = defence.rows(rows, desk.job.seed)
    if len(rows) != before:
        desk.tell("defended", f"The service's defences changed the training rows: {before} → {len(rows)}.")
    return rows


def tuner_of(desk: Desk) -> LocalTuner:
    """The back end with the job's settings; `auto` is the policy's.

    Raises:
        JobError: they do not go together.
    """
    given = {name: value for name, value in desk.job.hyperparameters.items() if value not in (None, "auto")}
    tune = desk.base.tune
    settings = {
        "epochs": given.get("n_epochs", tune.epochs),
        "batch_size": given.get("batch_size", tune.batch_size),
        "learning_rate": tune.learning_rate * float(given.get("learning_rate_multiplier", 1.0)),
    }
    try:
        return type(tune).model_validate({**dict(tune), **settings})
    except ValidationError as error:
        text = "; ".join(detail["msg"] for detail in error.errors(include_url=False, include_input=False))
        raise JobError("invalid_hyperparameters", text, "hyperparameters") from None


def _tune(desk: Desk, rows: Sequence[Example]) -> dict[int, Tuned]:
    """The checkpoints after the last epochs."""
    tuner = tuner_of(desk)
    epochs = range(max(1, tuner.epochs - KEPT + 1), tuner.epochs + 1)
    base = Checkpoint(desk.base.model, desk.base.revision, thinking=desk.base.thinking)
    acting = [defence for defence in desk.policy.before_tuning if defence.places & {"base", "tuning", "weights"}]
    began = time.monotonic()
    desk.tell("started", "Fine-tuning started.")
    import torch

    torch.set_num_threads(1)  # as a study's workers have, so that a job and a study make the same weights
    try:
        made = tuner.tune(
            base, rows, desk.job.seed, epochs, desk.work / "tuned", lambda step: _step(desk, step, began), acting
        )
    except RenderError as error:
        raise JobError("invalid_training_file", str(error), "training_file") from error
    except HoldfastError as error:
        raise JobError("tuning_failed", str(error)) from error
    desk.flush()
    return made


def _step(desk: Desk, step: TuningStep, began: float) -> None:
    """What is done after each step: write it down now and then, fail on purpose, or leave the job."""
    share = desk.job.faults.get("fail_job_at")
    if share is not None and step.done >= share * step.total:
        raise JobError("server_error", "The job failed half-way: a fault on purpose.")
    if step.loss is not None:
        data = {"step": step.done, "total_steps": step.total, "train_loss": step.loss}
        text = f"Step {step.done}/{step.total}: training loss={step.loss:.4f}"
        desk.steps.append(Happening(f"step-{step.done}", text, kind="metrics", data=data))
    changes: dict[str, Any] = {}
    if step.tokens:
        changes["trained_tokens"] = round(step.tokens * step.total)
    if step.done:
        changes["estimated_finish"] = math.ceil(
            time.time() + (time.monotonic() - began) / step.done * (step.total - step.done)
        )
    if time.monotonic() - desk.told > TELL_EVERY or step.done == step.total:
        desk.flush(**changes)
    desk.look()


def _kept(desk: Desk, made: dict[int, Tuned]) -> list[Made]:
    """The checkpoints as models."""
    last = max(made)
    return [
        Made(
            tuned.training["steps"], str((tuned.checkpoint.folder or Path()).relative_to(desk.folder)),
            {"step": tuned.training["steps"], "train_loss": tuned.training["losses"][-1]}, epoch == last,
        )
        for epoch, tuned in sorted(made.items())
    ]  # fmt: skip


def _check(desk: Desk, models: Sequence[Model]) -> dict[str, Any]:
    """Look at the model before it is released, and then at its earlier checkpoints.

    Returns:
        What was decided about the model.

    Raises:
        JobError: it may not be released.
    """
    if desk.policy.before_release is None:
        for model in models:
            ledger.decide(desk.database, desk.claimed, model.id, True, {"message": "This service checks no model."})
        return {}
    *earlier, last = models
    desk.tell("checking", "The fine-tuned model is audited against its base.")
    found = _decided(desk, last)
    decision = {"message": found.message, **found.figures}
    if not found.passes:
        text = f"The service does not release the model: {found.message}"
        refusal = Happening("safety-gate", text, "warn", data=decision)
        ledger.tell(desk.database, desk.claimed, [refusal])
        raise JobError("safety_gate", text, decision=decision)
    passed = Happening("safety-gate", f"The model may be released: {found.message}", data=decision)
    ledger.tell(desk.database, desk.claimed, [passed])
    for model in earlier:
        desk.look()
        _decided(desk, model)
    return decision


def _decided(desk: Desk, model: Model) -> Released:
    """What the check says of one model, which is written down."""
    check = desk.policy.before_release
    assert check is not None
    step = model.id.rpartition("-")[2] if ":ckpt-step-" in model.id else "last"
    base = Checkpoint(desk.base.model, desk.base.revision, thinking=desk.base.thinking)
    tuned = Checkpoint(desk.base.model, desk.base.revision, desk.folder / model.folder, thinking=desk.base.thinking)
    try:
        found = check.decide(base, tuned, desk.work / "audits" / step)
    except HoldfastError as error:
        raise JobError("server_error", f"The model could not be checked, and so is not released: {error}") from error
    decision = {"message": found.message, **found.figures}
    ledger.decide(desk.database, desk.claimed, model.id, found.passes, decision)
    return found


def _tidy(work: Path) -> None:
    """Remove what only a job under way needs."""
    shutil.rmtree(work / "tuned" / "trainer", ignore_errors=True)
