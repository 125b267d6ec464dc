"""Fine-tuning jobs as OpenAI has them, and who speaks its API: Azure, Holdfast's own service, and others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from holdfast.tuning.hosted.jobs import Job, Saved, State, Step, Wanted, fields_of, state_of
from holdfast.tuning.hosted.settings import HostedSettings

if TYPE_CHECKING:
    import openai

STATES: dict[str, State] = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled"}
"""Every other status (validating_files, queued, running, paused …) is of a job that goes on."""

LOSS = re.compile(r"step (\d+)(?:/(\d+))?: training loss[=:] ?([\d.eE+-]+)", re.IGNORECASE)
"""The message of an event that has a loss."""

PAGE, MOST_LISTED, MOST_EVENTS = 100, 2_000, 20_000
"""Entries on a page of a list; files or jobs that are looked through for ours; and events that are read."""


class OpenAIJobs:
    """OpenAI's files and fine-tuning jobs, by the openai package."""

    def __init__(self, client: openai.OpenAI, tuner: HostedSettings) -> None:
        self.client, self.tuner = client, tuner

    def upload(self, name: str, content: bytes) -> str:
        """Upload rows."""
        return self.client.files.create(file=(name, content), purpose="fine-tune").id

    def find_file(self, name: str) -> str | None:
        """The id of a file by its name, and its purpose: others may be large."""
        listed = islice(self.client.files.list(purpose="fine-tune", limit=PAGE), MOST_LISTED)
        return next((file.id for file in listed if file.filename == name), None)

    def create(self, wanted: Wanted) -> Job:
        """Order a job."""
        hyperparameters = {
            "n_epochs": wanted.epochs,
            **fields_of(self.tuner, "batch_size", "learning_rate_multiplier"),
        }
        made = self.client.fine_tuning.jobs.create(
            model=wanted.model, training_file=wanted.file, hyperparameters=hyperparameters,  # type: ignore[arg-type]
            seed=wanted.seed, suffix=wanted.suffix, metadata=dict(wanted.metadata), extra_body=self.tuner.extra,
        )  # fmt: skip
        return _job(made)

    def find_job(self, wanted: Wanted) -> Job | None:
        """The newest job that was ordered so."""
        jobs = map(_job, islice(self.client.fine_tuning.jobs.list(limit=PAGE), MOST_LISTED))
        return next((job for job in jobs if job.is_of(wanted)), None)

    def look(self, job: str) -> Job:
        """A job as it stands."""
        return _job(self.client.fine_tuning.jobs.retrieve(job))

    def steps(self, job: str, whole: bool) -> list[Step]:
        """The losses of its events, or of the newest of them."""
        events = islice(self.client.fine_tuning.jobs.list_events(job, limit=PAGE), MOST_EVENTS if whole else PAGE)
        by_step = {step.step: step for step in _steps(events)}
        return [by_step[number] for number in sorted(by_step)]

    def saved(self, job: str) -> list[Saved]:
        """The checkpoints; none where the server has no such route."""
        import openai

        try:
            listed = list(islice(self.client.fine_tuning.jobs.checkpoints.list(job, limit=PAGE), MOST_LISTED))
        except openai.APIStatusError as error:
            if error.status_code in (404, 405, 501):
                return []
            raise
        saved = [Saved(each.fine_tuned_model_checkpoint, each.step_number) for each in listed]
        return sorted(saved, key=lambda each: each.step)

    def delete_file(self, file: str) -> bool:
        """Delete uploaded rows."""
        return bool(self.client.files.delete(file).deleted)

    def delete_model(self, model: str) -> bool:
        """Delete a tuned model."""
        return bool(self.client.models.delete(model).deleted)


def _job(made: Any) -> Job:
    """A job as the package gives it. Servers leave fields out, so each may be missing."""
    status, error = str(made.status), getattr(made, "error", None)
    code = str(getattr(error, "code", None) or "")
    message = str(getattr(error, "message", None) or "")
    began, ended = getattr(made, "created_at", None), getattr(made, "finished_at", None)
    return Job(
        made.id, state_of(STATES.get(status, "running"), code, message), status,
        file=str(getattr(made, "training_file", None) or ""), metadata=getattr(made, "metadata", None) or {},
        model=getattr(made, "fine_tuned_model", None), code=code, message=message,
        trained_tokens=getattr(made, "trained_tokens", None) or 0,
        seconds=float(max(ended - began, 0)) if began and ended else 0.0,
    )  # fmt: skip


def _steps(events: Iterable[Any]) -> Iterator[Step]:
    for event in events:
        data = getattr(event, "data", None)
        found = LOSS.search(getattr(event, "message", None) or "")
        if isinstance(data, dict) and isinstance(data.get("step"), int):
            loss = data.get("train_loss", data.get("training_loss"))
            yield Step(data["step"], float(loss) if isinstance(loss, int | float) else None, data.get("total_steps"))
        elif found:
            yield Step(int(found[1]), float(found[3]), int(found[2]) if found[2] else None)
