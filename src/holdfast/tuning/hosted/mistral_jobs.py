"""Fine-tuning jobs as Mistral has them: statuses in capitals, several files a job, losses at its checkpoints.

Its jobs carry no metadata of ours, so ours is known by its file. A job has one learning rate and no batch size or seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.tuning.hosted.jobs import Job, Saved, State, Step, Wanted, fields_of, state_of
from holdfast.tuning.hosted.settings import HostedSettings

if TYPE_CHECKING:
    import openai

STATES: dict[str, State] = {
    "SUCCESS": "succeeded", "FAILED": "failed", "FAILED_VALIDATION": "failed", "CANCELLED": "cancelled",
}  # fmt: skip
"""Every other status (QUEUED, VALIDATING, VALIDATED, RUNNING, CANCELLATION_REQUESTED …) is of a job that goes on."""

PAGE, MOST_PAGES = 100, 20
"""Files or jobs on a page of a list, and pages that are looked through for ours."""

LONGEST_SUFFIX = 18


class MistralJobs:
    """Mistral's files and fine-tuning jobs."""

    def __init__(self, client: openai.OpenAI, tuner: HostedSettings) -> None:
        self.client, self.tuner = client, tuner

    def upload(self, name: str, content: bytes) -> str:
        """Upload rows. The request is the same as OpenAI's."""
        return self.client.files.create(file=(name, content), purpose="fine-tune").id

    def find_file(self, name: str) -> str | None:
        """The id of a file by its name."""
        return next((str(file["id"]) for file in self._listed("/files") if file.get("filename") == name), None)

    def create(self, wanted: Wanted) -> Job:
        """Order a job that starts by itself once its file is checked."""
        body = {
            "model": wanted.model,
            "training_files": [{"file_id": wanted.file, "weight": 1}],
            "hyperparameters": {"epochs": wanted.epochs, **fields_of(self.tuner, "learning_rate")},
            "suffix": wanted.suffix[:LONGEST_SUFFIX],
            "auto_start": True,
            **self.tuner.extra,
        }
        return _job(self._read(self.client.post("/fine_tuning/jobs", body=body, cast_to=object)))

    def find_job(self, wanted: Wanted) -> Job | None:
        """The newest job with the file."""
        return next((job for job in map(_job, self._listed("/fine_tuning/jobs")) if job.file == wanted.file), None)

    def look(self, job: str) -> Job:
        """A job as it stands."""
        return _job(self._get(job))

    def steps(self, job: str, whole: bool) -> list[Step]:
        """The losses at its checkpoints, of which there are few."""
        made, steps = self._get(job), []
        total = (made.get("hyperparameters") or {}).get("training_steps")
        for saved in made.get("checkpoints") or []:
            loss = (saved.get("metrics") or {}).get("train_loss")
            steps.append(Step(int(saved["step_number"]), None if loss is None else float(loss), total))
        return sorted(steps, key=lambda step: step.step)

    def saved(self, job: str) -> list[Saved]:
        """None: its checkpoints have no names that can be asked."""
        return []

    def delete_file(self, file: str) -> bool:
        """Delete uploaded rows."""
        return self._read(self.client.delete(f"/files/{file}", cast_to=object)).get("deleted") is True

    def delete_model(self, model: str) -> bool:
        """Delete a tuned model."""
        return self._read(self.client.delete(f"/models/{model}", cast_to=object)).get("deleted") is True

    def _get(self, job: str) -> dict[str, Any]:
        return self._read(self.client.get(f"/fine_tuning/jobs/{job}", cast_to=object))

    def _listed(self, path: str) -> Any:
        """Files or jobs, page by page, the newest first."""
        for page in range(MOST_PAGES):
            query = {"page": page, "page_size": PAGE}
            rows = self._read(self.client.get(path, cast_to=object, options={"params": query})).get("data") or []
            yield from rows
            if len(rows) < PAGE:
                return

    def _read(self, content: object) -> dict[str, Any]:
        return content if isinstance(content, dict) else {}


def _job(made: dict[str, Any]) -> Job:
    status = str(made.get("status"))
    message = _why(made)
    files = made.get("training_files") or [""]
    first = files[0].get("file_id", "") if isinstance(files[0], dict) else files[0]
    began, ended = made.get("created_at"), made.get("modified_at")
    state = state_of(STATES.get(status, "running"), "", message)
    return Job(
        str(made["id"]), state, status, file=str(first), model=made.get("fine_tuned_model"),
        code=status if state in ("failed", "blocked") else "", message=message,
        trained_tokens=made.get("trained_tokens") or 0,
        seconds=float(max(ended - began, 0)) if began and ended and state != "running" else 0.0,
    )  # fmt: skip


def _why(made: dict[str, Any]) -> str:
    """What the newest event that tells of an error says."""
    events = sorted(made.get("events") or [], key=lambda event: event.get("created_at") or 0, reverse=True)
    for event in events:
        data = event.get("data")
        if isinstance(data, dict) and (said := data.get("error") or data.get("message")):
            return str(said)
    return ""
