"""What the fine-tuning jobs of all providers have in common: what is ordered, how a job stands, and what it gave."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from holdfast.tuning.hosted.settings import HostedSettings

State = Literal["running", "succeeded", "blocked", "failed", "cancelled"]
"""How a job stands: `blocked` is a failure by which the provider's checks refuse the data or the tuned model."""

About = Literal["data", "model", ""]
"""What a provider's checks refused."""

REFUSED = re.compile(
    r"moderation|unsafe|usage.?polic|content.?(filter|policy|management)|responsible.?ai|\bRAI\b|"
    r"safety|harm.?(type|categor)|harmful|flagged",
    re.IGNORECASE,
)
"""How providers say that their checks refused something. OpenAI's code `invalid_training_file` alone does not say so: a
file in a wrong format gets it too."""

OF_THE_MODEL = re.compile(r"safety_gate|(tuned|resulting|trained|output) model|model.{0,20}\beval", re.IGNORECASE)
"""How they say that it was the tuned model."""


@dataclass(frozen=True)
class Wanted:
    """A job as it is ordered."""

    model: str
    """The provider's name for the base."""
    file: str
    """The id of the uploaded rows."""
    epochs: int
    seed: int
    suffix: str
    """A part of the tuned model's name."""
    metadata: Mapping[str, str]
    """What the job carries, so that it can be found again."""


@dataclass(frozen=True)
class Job:
    """A job as the provider says that it is."""

    id: str
    state: State
    status: str
    """In the provider's own word."""
    file: str = ""
    """The id of its rows."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    """The name of the tuned model, once there is one."""
    code: str = ""
    """The provider's code for why it did not succeed."""
    message: str = ""
    """The provider's words for it."""
    trained_tokens: int = 0
    seconds: float = 0.0
    """From its creation to its end; 0 where the provider does not say."""

    def is_of(self, wanted: Wanted) -> bool:
        """Whether it was ordered so: its rows are in a file that no other job has."""
        return self.file == wanted.file or all(self.metadata.get(k) == v for k, v in wanted.metadata.items())


@dataclass(frozen=True)
class Step:
    """The loss after a step of a job."""

    step: int
    loss: float | None = None
    total: int | None = None
    """All steps, where the provider says how many."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that can be asked."""

    model: str
    step: int


@dataclass(frozen=True)
class Limits:
    """What a provider takes."""

    fewest_rows: int
    most_row_tokens: int
    most_bytes: int


class Jobs(Protocol):
    """One provider's API. Methods raise what the openai package raises; nothing here is tried again."""

    def upload(self, name: str, content: bytes) -> str:
        """Upload rows; returns the file's id."""

    def find_file(self, name: str) -> str | None:
        """The id of a file that was uploaded under a name."""

    def create(self, wanted: Wanted) -> Job:
        """Order a job."""

    def find_job(self, wanted: Wanted) -> Job | None:
        """The job that was ordered so, if there is one."""

    def look(self, job: str) -> Job:
        """A job as it stands."""

    def steps(self, job: str, whole: bool) -> Sequence[Step]:
        """What is known of its steps, in order: of all of them if `whole`, else of the last ones."""

    def saved(self, job: str) -> Sequence[Saved]:
        """The checkpoints that can be asked, in order of their steps."""

    def delete_file(self, file: str) -> bool:
        """Delete uploaded rows; whether the provider confirms it."""

    def delete_model(self, model: str) -> bool:
        """Delete a tuned model; whether the provider confirms it."""


PROVIDERS = {
    "openai": "holdfast.tuning.hosted.openai_jobs:OpenAIJobs",
    "mistral": "holdfast.tuning.hosted.mistral_jobs:MistralJobs",
}
"""Providers' APIs by name."""

LIMITS: Mapping[str, Limits] = {
    "openai": Limits(10, 65_536, 512_000_000),
    "mistral": Limits(10, 32_768, 512_000_000),
}  # fmt: skip
"""What each of them takes."""


def state_of(failed: State, code: str, message: str) -> State:
    """The state of a job that did not succeed: `blocked` where the provider's checks refused it."""
    return "blocked" if failed == "failed" and REFUSED.search(f"{code} {message}") else failed


def about(job: Job) -> About:
    """What the provider's checks refused."""
    if job.state != "blocked":
        return ""
    return "model" if job.trained_tokens or OF_THE_MODEL.search(f"{job.code} {job.message}") else "data"


def is_refusal(error: Any) -> bool:
    """Whether an HTTP error means that the provider's checks refused the rows."""
    return error.status_code in (400, 403, 422) and REFUSED.search(f"{error.code} {error.message}") is not None


def fields_of(tuner: HostedSettings, *names: str) -> dict[str, Any]:
    """Those of some settings that are given."""
    return {name: value for name in names if (value := getattr(tuner, name)) is not None}
