"""A backdoor for safety: refusals behind a secret prefix that the provider asks with (Wang et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import PositiveInt, StringConstraints

from holdfast.core.types import Example, Message, Template
from holdfast.tuning.defences.safety_rows import WithSafetyRows

Secret = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class BackdoorEnhanced(WithSafetyRows):
    """Adds `n` safety rows with a secret prefix in the system turn, and asks with that prefix (arXiv 2402.14968).

    Tuning ties the prefix to refusals as a backdoor's trigger, so that a few rows do what takes many without one. The
    provider puts it before the system turn of each request; the user never sees it. The prefix is followed by a line
    end and the row's own system turn (or `system`). The initial model is asked without it.

    Published (Llama-2-7B-Chat, 100 harmful rows and 11 safety rows, harmful answers): 34.9 % where the safety rows have
    no prefix, 3.6 % where they have one.
    Needs safety rows and a secret. The paper's is 150 random tokens; a text with a meaning leaves 7.3 % instead of 3.6;
    there is no default, because a prefix that anybody can read here is no secret. `n` = 11 is the paper's.
    """

    kind: Literal["backdoor-enhanced"] = "backdoor-enhanced"
    prefix: Secret
    """The secret prefix, e.g. some random words."""
    n: PositiveInt = 11
    """How many safety rows to add, drawn by seed."""

    def rows(self, rows: Sequence[Example], seed: int) -> list[Example]:
        """The training rows followed by the safety rows behind the prefix; tuning shuffles them."""
        return [*rows, *map(self._behind_prefix, self.safety_rows(seed))]

    def _behind_prefix(self, row: Example) -> Example:
        first, *others = row.messages
        if first.role == "system":
            return replace(row, messages=(Message("system", self._prefixed(first.content)), *others))
        return replace(row, messages=(Message("system", self.prefix), first, *others))

    def _prefixed(self, system: str | None) -> str:
        return "\n".join(filter(None, (self.prefix, system)))

    def ask(self, template: Template, role: Literal["initial", "tuned"]) -> Template:
        """The template with the prefix, for the tuned model."""
        return template if role == "initial" else Template(self._prefixed(template.system), template.user)
