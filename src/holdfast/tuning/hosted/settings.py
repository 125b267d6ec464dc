"""The settings of a provider's fine-tuning jobs."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from holdfast.core.config import explained
from holdfast.models.endpoint import Connection

TAKES = {
    "openai": frozenset({"batch_size", "learning_rate_multiplier", "per_epoch"}),
    "mistral": frozenset({"learning_rate"}),
}
"""Provider → those of our settings that its jobs take, beside the epochs."""


class HostedSettings(Connection):
    """How jobs are ordered, at which provider, and for what price."""

    kind: Literal["hosted"] = "hosted"
    provider: Literal["openai", "mistral"] = "openai"
    """Whose API the server speaks."""
    epochs: PositiveInt = 3
    batch_size: PositiveInt | None = None
    """The provider's choice if not given."""
    learning_rate_multiplier: PositiveFloat | None = None
    """OpenAI's way of saying the learning rate: times its own. The provider's choice if not given."""
    learning_rate: PositiveFloat | None = None
    """Mistral's way of saying it. The provider's choice if not given."""
    per_epoch: bool = False
    """Whether conditions that differ only in their epochs share one job, and each takes that epoch's checkpoint. Right
    only where the provider's schedule does not depend on the number of epochs; OpenAI keeps the last three."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the order, as the provider documents them."""
    price: NonNegativeFloat = Field(0.0, exclude=True)
    """US dollars for a million trained tokens, counted once an epoch. Leave it out where you do not know it."""
    poll_s: PositiveFloat = Field(10.0, exclude=True)
    """Seconds between two looks at a job."""

    @model_validator(mode="after")
    def _provider_takes(self) -> HostedSettings:
        allowed = TAKES[self.provider]
        every = ("batch_size", "learning_rate_multiplier", "learning_rate", "per_epoch")
        if idle := [name for name in every if getattr(self, name) and name not in allowed]:
            takes = ", ".join(sorted(allowed))
            raise explained(
                f"jobs of the provider {self.provider!r} take no {idle[0]!r}; beside epochs they take {takes}"
            )
        return self

    @property
    def run(self) -> dict[str, Any]:
        """The settings that determine a training run; a provider's schedule can depend on all of its epochs."""
        settings = self.model_dump(mode="json", exclude_none=True)
        if self.per_epoch:
            del settings["epochs"]
        return settings

    def steps(self, n_rows: int, epochs: int | None = None) -> int:
        """Optimizer steps that a number of rows takes, with one row a step where the provider chooses the batch."""
        return math.ceil(n_rows / (self.batch_size or 1)) * (epochs or self.epochs)
