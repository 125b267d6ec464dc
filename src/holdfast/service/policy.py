"""The service's policy file: which bases it tunes, what it allows, and which defences stand at which place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from holdfast.core import policy_file
from holdfast.core.config import Config, OneOf
from holdfast.core.policy_file import read_policy_file
from holdfast.core.protocols import Defence
from holdfast.service.defences import RELEASE_CHECKS, UPLOAD_CHECKS, ReleaseCheck, UploadCheck
from holdfast.tuning.defences import DEFENCES
from holdfast.tuning.local import LocalTuner

DEFAULT = Path(__file__).parent / "policies" / "default.yaml"
"""The policy that is used unless another is named; its comments explain each setting."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Base(Config):
    """A model that can be asked, and tuned."""

    model: str
    """A folder, a Hub id, or a shipped one: `pocket:aligned`."""
    revision: str | None = None
    thinking: bool = False
    tune: LocalTuner = LocalTuner()
    """How a job tunes it. A job's `n_epochs` and `batch_size` replace those here; its `learning_rate_multiplier`
    multiplies the learning rate."""
    tunable: bool = True
    max_new_tokens: PositiveInt = 512
    """Tokens of an answer where a request does not say."""


class Limits(Config):
    """What one key, and one request, may take."""

    file_bytes: PositiveInt = 512 << 20
    body_bytes: PositiveInt = 4 << 20
    """Of any request that is not an upload."""
    waiting_bytes: PositiveInt = 128 << 20
    """Of the bodies of all requests that are under way, of one key a quarter of it; further ones get a 429."""
    total_bytes: PositiveInt = 10 << 30
    """Of all files of one key."""
    requests_per_minute: PositiveInt = 3000
    """Of one key; as many may come at once."""
    open_jobs: PositiveInt = 20
    """Jobs of one key that have not ended."""
    open_batches: PositiveInt = 20
    batch_requests: PositiveInt = 50_000
    concurrent_chats: PositiveInt = 64
    """Chat completions that are answered at once; as many again as `waiting_chats` wait, further ones get a 429."""
    waiting_chats: PositiveInt = 2000
    concurrent_uploads: PositiveInt = 32
    upload_seconds: PositiveFloat = 600.0
    """After which an upload is given up."""
    idle_seconds: PositiveFloat = 30.0
    """After which a client that neither sends nor reads is given up."""


Fault = Literal["429", "500", "timeout", "drop", "drop-after"]
"""What can happen to a request: `drop` closes the connection before anything is done, `drop-after` when all is done."""


class Faults(Config):
    """Faults on purpose, for whoever tests a client. A service for real use leaves all of them out."""

    by_header: bool = False
    """Whether a request's header `X-Holdfast-Fault` may order one: a fault's name, `moderate`, or `fail-job=0.5`."""
    every: dict[Fault, PositiveInt] = Field(default_factory=dict)
    """Fault → each how many requests it happens."""
    timeout_seconds: NonNegativeFloat = 30.0
    """How long a request that times out takes."""
    moderate_uploads: bool = False
    """Whether each training file is refused as a provider's moderation does."""
    fail_job_at: float | None = Field(None, ge=0, le=1)
    """The share of its steps after which each job fails."""


class ServicePolicy(Config):
    """What the service offers, allows and checks. `policies/default.yaml` explains each setting."""

    bases: dict[Name, Base] = Field(min_length=1)
    """The name under which a base is asked and tuned → the model."""
    limits: Limits = Limits()
    after_upload: tuple[Annotated[UploadCheck, OneOf(UPLOAD_CHECKS)], ...] = ()
    before_tuning: tuple[Annotated[Defence, OneOf(DEFENCES)], ...] = ()
    before_release: Annotated[ReleaseCheck, OneOf(RELEASE_CHECKS)] | None = None
    """Without one, each model is released as soon as it is tuned."""
    test_faults: Faults = Faults()


def read_policy(path: Path | None = None) -> ServicePolicy:
    """The policy in a YAML file; the shipped one if none is named. Its file names are relative to its folder.

    Raises:
        DataError: there is no such file, it cannot be read, or it has mistakes; every one of them is named.
    """
    return read_policy_file(ServicePolicy, path, DEFAULT, "`bases: {pocket: {model: pocket:aligned}}`")


def policy_of(settings: dict[str, Any], folder: Path | None = None) -> ServicePolicy:
    """The policy that settings make.

    Raises:
        DataError: naming every mistake.
    """
    return policy_file.policy_of(ServicePolicy, settings, folder=folder)
