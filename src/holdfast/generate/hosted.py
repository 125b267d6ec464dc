"""The settings of a provider's chat completions."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import NonNegativeFloat, PositiveInt

from holdfast.errors import ModelError
from holdfast.protocols import Ledger
from holdfast.spec import Spec
from holdfast.types import Answer, Checkpoint, Message


class HostedGenerator(Spec):
    """A provider's chat completions: settings are read and checked; this version cannot run them."""

    kind: Literal["hosted"] = "hosted"
    max_new_tokens: PositiveInt = 512
    temperature: NonNegativeFloat = 0.0

    @property
    def random(self) -> bool:
        """Whether answers depend on a seed."""
        return self.temperature > 0

    def answers(
        self,
        checkpoint: Checkpoint,
        questions: Mapping[str, Sequence[Message]],
        done: Collection[str],
        seed: int,
        ledger: Ledger,
    ) -> Iterator[list[Answer]]:
        """Refuse.

        Raises:
            ModelError: always.
        """
        raise ModelError("this version cannot ask hosted models; use `kind: local`.")
