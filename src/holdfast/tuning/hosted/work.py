"""One job from its rows to its result. Each step is written down, and found again after a stop at any point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from holdfast.core.config import load
from holdfast.core.errors import HoldfastError, TuningError
from holdfast.core.progress import OnStep, TuningStep
from holdfast.core.protocols import Budget
from holdfast.core.types import Checkpoint, Ending, Example, NoCheckpoint, Tuned, cut
from holdfast.models.endpoint.orders import ID
from holdfast.models.samplers.base import holds, without_key
from holdfast.tuning.hosted import record, rendering
from holdfast.tuning.hosted.calls import Calls, GoneError, RefusedError
from holdfast.tuning.hosted.jobs import PROVIDERS, Job, Jobs, Saved, Step, Wanted, about
from holdfast.tuning.hosted.settings import HostedSettings

if TYPE_CHECKING:
    import openai

LONGEST_SUFFIX, KEY_LENGTH = 18, 10
"""Letters of a tuned model's name that are ours; Azure and Mistral take no more."""
MOST_SEEDS = 2**31
"""Seeds that an order can have are below it; those of studies can be larger, and are sent modulo it."""
LONGEST_MESSAGE = 2000
"""Letters of a provider's message that are kept."""


@dataclass(frozen=True)
class Ordered:
    """What a run wants to have tuned."""

    base: Checkpoint
    rows: tuple[Example, ...]
    seed: int
    epochs: tuple[int, ...]
    folder: Path
    """Where the record is; its name is the hash of all that determines the run."""


def jobs_of(tuner: HostedSettings, client: openai.OpenAI) -> Jobs:
    """The API of a tuner's provider."""
    api: Any = load(PROVIDERS[tuner.provider])
    return cast("Jobs", api(client, tuner))


class Work:
    """Uploads, orders, waits and reads the result; whatever was done before is found and not done again."""

    def __init__(
        self, tuner: HostedSettings, client: openai.OpenAI, ordered: Ordered, on_step: OnStep, budget: Budget
    ) -> None:
        self.tuner, self.ordered, self.on_step, self.budget = tuner, ordered, on_step, budget
        self.jobs, self.call = jobs_of(tuner, client), Calls(tuner, self._clean)
        self.folder, self.key = ordered.folder, tuner.key_value()
        self.eraser = rendering.Eraser(ordered.rows)
        self.resumed = True
        """Whether something may have been uploaded or ordered that is not written down."""
        self.record = self._begun()

    def done(self) -> dict[int, Tuned] | NoCheckpoint:
        """The checkpoints, or why there are none."""
        if self.record.ended and not self.record.job:
            return self._refused(self.record.message)
        try:
            file = self._file()
            job = self._job(file)
        except RefusedError as error:
            return self._refused(str(error))
        except (GoneError, TuningError) as error:
            self._take_back()
            raise TuningError(str(error)) from None
        steps: list[Step] = []
        while job.state == "running":
            steps = self._tell(job)
            self.call.wait(self.tuner.poll_s)
            job = self._looked(job.id)
        steps = self._tell(job) or steps
        return self._result(job, steps)

    def _begun(self) -> record.Record:
        """The record to go on with. One whose job cannot give what is wanted is set aside."""
        found = record.read(self.folder)
        wanted = max(self.ordered.epochs)
        if found and not found.discarded and found.epochs >= wanted:
            return found
        if found:
            if not found.discarded:
                discard(self.tuner, self.folder)
            record.set_aside(self.folder)
        self.resumed = False
        made = record.new(
            self.tuner.provider, self.tuner.base_url, str(self.ordered.base.served), wanted, len(self.ordered.rows)
        )
        return made.write(self.folder)

    def _note(self, **changes: Any) -> None:
        self.record = self.record.changed(self.folder, **changes)

    def _file(self) -> str:
        """The id of the uploaded rows."""
        if self.record.file:
            return self.record.file
        if not self.record.ticket:
            usd = rendering.most_tokens(self.ordered.rows) * self.record.epochs * self.tuner.price / 1e6
            ticket = self.budget.reserve(usd, f"tuning {self.record.base} on {len(self.ordered.rows)} rows")
            self._note(ticket=ticket)
        name = f"holdfast-{self.folder.name}-{self.record.mark}.jsonl"
        content = rendering.render(self.ordered.rows)
        found = self.call("looking for uploaded rows", lambda: self.jobs.find_file(name)) if self.resumed else None
        file = found or self.call(
            f"uploading {len(self.ordered.rows)} rows", lambda: self.jobs.upload(name, content),
            lambda: self.jobs.find_file(name),
        )  # fmt: skip
        self.resumed = bool(found)
        self._note(file=self._checked(file))
        return file

    def _job(self, file: str) -> Job:
        """The job with the rows, which is ordered if there is none."""
        if self.record.job:
            return self._looked(self.record.job)
        wanted = Wanted(
            self.record.base, file, self.record.epochs, self.ordered.seed % MOST_SEEDS,
            f"hf-{self.folder.name[:KEY_LENGTH]}"[:LONGEST_SUFFIX],
            {"holdfast_key": self.folder.name[:64], "holdfast_mark": self.record.mark},
        )  # fmt: skip
        found = self.call("looking for the job", lambda: self.jobs.find_job(wanted)) if self.resumed else None
        job = found or self.call(
            f"ordering a job that tunes {self.record.base}", lambda: self.jobs.create(wanted),
            lambda: self.jobs.find_job(wanted),
        )  # fmt: skip
        self._note(job=self._checked(job.id))
        return job

    def _looked(self, job: str) -> Job:
        """The job as it stands now.

        Raises:
            TuningError: the provider has it no more.
        """
        try:
            return self.call(f"looking at the job {job}", lambda: self.jobs.look(job))
        except GoneError as error:
            raise TuningError(
                f"{error}. Somebody deleted the job, or the key is another account's. Delete "
                f"{self.folder / record.FILE} to order it anew."
            ) from None

    def _tell(self, job: Job) -> list[Step]:
        """Say how far the job is; returns its steps so far."""
        try:
            whole = job.state != "running"
            steps = list(self.call(f"reading the events of {job.id}", lambda: self.jobs.steps(job.id, whole)))
        except (GoneError, TuningError, RefusedError):  # a server without events
            steps = []
        total = self.tuner.steps(len(self.ordered.rows), max(self.ordered.epochs))
        last = steps[-1] if steps else Step(0)
        share = last.step / last.total if last.total else 0.0
        done = total if job.state == "succeeded" else min(round(total * share), total - 1)
        note = f"{self.tuner.base_url}: {job.id} is {job.status}" if job.status != self.record.status else ""
        if note:
            self._note(status=job.status)
        self.on_step(TuningStep(done, total, last.loss, note=note))
        return steps

    def _result(self, job: Job, steps: Sequence[Step]) -> dict[int, Tuned] | NoCheckpoint:
        saved = self._saved(job)
        self._note(
            state=job.state, status=job.status, message=self._said(job), model=job.model,
            checkpoints=tuple(each.model for each in saved),
        )  # fmt: skip
        usd = job.trained_tokens * self.tuner.price / 1e6
        self.budget.settle(self.record.ticket, usd)
        training = self._training(job, steps, usd, saved)
        if job.state != "succeeded":
            return NoCheckpoint(cast("Ending", job.state), self._said(job), training)
        if not job.model:
            raise TuningError(f"the job {job.id} succeeded, but {self.tuner.base_url} names no tuned model.")
        return {epoch: Tuned(self._checkpoint(epoch, job.model, saved), training) for epoch in self.ordered.epochs}

    def _saved(self, job: Job) -> list[Saved]:
        """The checkpoints of a job that succeeded, also those that are only to be deleted."""
        if job.state != "succeeded":
            return []
        try:
            return list(self.call(f"listing the checkpoints of {job.id}", lambda: self.jobs.saved(job.id)))
        except (GoneError, TuningError, RefusedError):
            return []

    def _checkpoint(self, epoch: int, model: str, saved: Sequence[Saved]) -> Checkpoint:
        """The model after an epoch.

        Raises:
            TuningError: the provider kept none.
        """
        name = model
        if epoch != self.record.epochs:
            last = max((each.step for each in saved), default=0)
            by_epoch = {each.step * self.record.epochs / last: each.model for each in saved if last}
            if epoch not in by_epoch:
                kept = ", ".join(f"{each:g}" for each in by_epoch) or "no epoch"
                raise TuningError(
                    f"{self.tuner.base_url} kept no checkpoint after epoch {epoch}, only of {kept}. Take `per_epoch` "
                    "out, so that each number of epochs has a job of its own."
                )
            name = by_epoch[epoch]
        base = self.ordered.base
        return Checkpoint(base.base, served=name, thinking=base.thinking)

    def _training(self, job: Job, steps: Sequence[Step], usd: float, saved: Sequence[Saved]) -> dict[str, Any]:
        return {
            "provider": self.tuner.provider, "base_url": self.tuner.base_url, "base": self.record.base,
            "file": self.record.file, "job": self.record.job, "status": job.status, "model": job.model,
            "checkpoints": [each.model for each in saved], "rows": len(self.ordered.rows),
            "epochs": self.record.epochs, "trained_tokens": job.trained_tokens, "usd": usd,
            "steps": steps[-1].step if steps else 0,
            "losses": [step.loss for step in steps if step.loss is not None], "seconds": job.seconds,
            **({"code": job.code, "about": about(job)} if job.state != "succeeded" else {}),
        }  # fmt: skip

    def _refused(self, message: str) -> NoCheckpoint:
        """The provider's checks refused the rows before there was a job."""
        self.budget.settle(self.record.ticket, 0.0)
        self._note(state="blocked", status="refused", message=message)
        job = Job(self.record.job or "", "blocked", "refused", message=message)
        return NoCheckpoint("blocked", message, self._training(job, [], 0.0, []))

    def _take_back(self) -> None:
        """Delete uploaded rows of which no job will come, as far as that works."""
        self.budget.settle(self.record.ticket, 0.0)
        if self.record.file and not self.record.job:
            self._note(state="failed", status="not ordered")
            discard(self.tuner, self.folder)

    def _said(self, job: Job) -> str:
        """The provider's words for why a job did not succeed."""
        if job.state == "succeeded":
            return ""
        told = self._clean(f"{job.message} ({job.code})" if job.message and job.code else job.message or job.code)
        return told or f"the provider gives no reason (status {job.status})"

    def _clean(self, text: str) -> str:
        """A provider's words without the key and without texts of rows."""
        return self.eraser(cut(without_key(text, self.key), LONGEST_MESSAGE))

    def _checked(self, name: object) -> str:
        """An id, after making sure that it can be written down.

        Raises:
            TuningError: it holds the key, or is no id.
        """
        if not isinstance(name, str) or holds(self.key, name) or not ID.fullmatch(name):
            raise TuningError(f"{self.tuner.base_url} gives a file or a job an id that is none, or that holds the key.")
        return name


def discard(tuner: HostedSettings, folder: Path) -> dict[str, Any]:
    """Delete what a provider has of a job, and write down what it confirmed."""
    found = record.read(folder)
    if found is None:
        return {}
    deleted, not_deleted = dict(found.deleted), dict[str, str]()
    with tuner.client() as client:
        jobs, call = jobs_of(tuner, client), Calls(tuner, tuner.clean)
        for name in found.remaining():
            delete = jobs.delete_file if name == found.file else jobs.delete_model
            if why := _deleted(call, delete, name):
                not_deleted[name] = why
            else:
                deleted[name] = record.now()
    found.changed(folder, deleted=deleted, not_deleted=not_deleted, discarded=not not_deleted)
    return {"deleted": deleted, **({"not_deleted": not_deleted} if not_deleted else {})}


def _deleted(call: Calls, delete: Callable[[str], bool], name: str) -> str:
    """Delete something; why it is still there, "" once it is gone."""
    try:
        confirmed = call(f"deleting {name}", lambda: delete(name))
    except GoneError:
        return ""
    except (HoldfastError, RefusedError) as error:
        return str(error)
    return "" if confirmed else "the provider does not confirm it"
