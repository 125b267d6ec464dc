"""OpenAI's objects: what requests hold, and what is answered."""

from __future__ import annotations

import re
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt

Item = TypeVar("Item")
HALF = re.compile("[\ud800-\udfff]")


def _storable(text: str) -> str:
    """A text that every database and every answer takes."""
    if "\x00" in text:
        raise ValueError("it holds a NUL character, which cannot be kept.")
    if HALF.search(text):
        raise ValueError("it holds half a character (a lone surrogate).")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Id = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9_:.\-]+$")]
FileId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_\-]+$")]
Metadata = Annotated[
    dict[Annotated[Text, Field(max_length=64)], Annotated[Text, Field(max_length=512)]], Field(max_length=16)
]
"""At most 16 pairs of texts, as OpenAI's."""
FilePurpose = Literal["fine-tune", "batch"]


class Asked(BaseModel):
    """A request's body; keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid")


class Given(BaseModel):
    """An object that is answered."""


class Error(Given):
    """What was wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Given):
    """Every answer that is no success."""

    error: Error


class Page(Given, Generic[Item]):
    """A part of a list."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None = None
    last_id: str | None = None


class Deleted(Given):
    """What was deleted."""

    id: str
    object: str
    deleted: bool = True


class FileObject(Given):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"]
    status_details: str | None = None


class Hyperparameters(Asked):
    """How a job tunes; `auto` leaves it to the service."""

    n_epochs: Literal["auto"] | Annotated[StrictInt, Field(ge=1, le=50)] = "auto"
    batch_size: Literal["auto"] | Annotated[StrictInt, Field(ge=1, le=256)] = "auto"
    learning_rate_multiplier: Literal["auto"] | Annotated[float, Field(gt=0, le=100, strict=True)] = "auto"


class Supervised(Asked):
    """Supervised tuning."""

    hyperparameters: Hyperparameters = Hyperparameters()


class Method(Asked):
    """How a job tunes. Only supervised tuning is offered."""

    type: Literal["supervised"]
    supervised: Supervised = Supervised()


class NewJob(Asked):
    """A job that is to be made."""

    model: Annotated[Text, Field(max_length=255)]
    training_file: Annotated[Text, Field(max_length=255)]
    validation_file: Annotated[Text, Field(max_length=255)] | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.\-]+$")] | None = None
    seed: Annotated[StrictInt, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None


class JobError(Given):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class JobObject(Given):
    """A fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    error: JobError | None
    fine_tuned_model: str | None
    finished_at: int | None
    hyperparameters: dict[str, Any]
    model: str
    organization_id: str
    result_files: list[str] = []
    seed: int
    status: Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
    trained_tokens: int | None
    training_file: str
    validation_file: str | None
    estimated_finish: int | None
    integrations: list[Any] = []
    metadata: dict[str, str]
    method: dict[str, Any]
    user_provided_suffix: str | None
    decision: dict[str, Any] | None = None
    """Ours: what was decided before release, with its figures."""


class EventObject(Given):
    """One thing that happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class CheckpointObject(Given):
    """The model after an epoch of a job."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    metrics: dict[str, Any]
    step_number: int


class ModelObject(Given):
    """A model that can be asked, or that waits for its release."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    state: Literal["released", "held", "refused"] = "released"
    """Ours."""
    decision: dict[str, Any] | None = None
    """Ours: what was decided before release, with its figures."""
    released_by: str | None = None
    """Ours: the operator's key that released it by hand."""


class Release(Asked):
    """An operator's release of a model by hand."""

    reason: Annotated[Text, Field(min_length=1, max_length=2000)]


class NewBatch(Asked):
    """A batch that is to be made."""

    input_file_id: Annotated[Text, Field(max_length=255)]
    endpoint: Literal["/v1/chat/completions"]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None


class Counts(Given):
    """How many of a batch's requests are answered."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class BatchProblem(Given):
    """What is wrong with a batch's input file."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchProblems(Given):
    """All that is wrong with a batch's input file."""

    object: Literal["list"] = "list"
    data: list[BatchProblem]


class BatchObject(Given):
    """A file of requests that are answered together."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    errors: BatchProblems | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: Counts
    metadata: dict[str, str]


class NewKey(Asked):
    """A key that is to be made."""

    name: Annotated[Text, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
    scopes: Annotated[list[Literal["tune", "ask", "audit", "operate"]], Field(min_length=1, max_length=4)]


class KeyObject(Given):
    """A key. Its secret is given once, when it is made."""

    id: str
    object: Literal["key"] = "key"
    name: str
    scopes: list[str]
    created_at: int
    revoked_at: int | None
    secret: str | None = None
