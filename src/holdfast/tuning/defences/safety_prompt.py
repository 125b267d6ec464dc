"""Pure tuning, safe testing: tune without the safety prompt, ask with it (Lyu et al. 2024, arXiv 2402.18540)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import StringConstraints

from holdfast.core.errors import StudyError
from holdfast.core.types import Template
from holdfast.tuning.defences.base import Defence

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class SafetyPrompt(Defence):
    """Asks the tuned model with a safety prompt that it was not tuned with ("pure tuning, safe testing", PTST).

    The prompt is put before the system turn of the template in which the model is asked, on a line of its own. The
    initial model is asked with it too, so that only tuning differs between the two.

    Published (Llama-2-7B-Chat tuned on GSM8K, answers to the harmful requests of DirectHarm4 in %): 18.1 where
    both tuning and asking have the safety prompt, 1.1 where only the asking has it.
    Needs a safety prompt that works before tuning, and a template without it to tune with. There is no default: which
    prompt works differs from model to model.
    """

    kind: Literal["safety-prompt"] = "safety-prompt"
    prompt: Text
    """The safety prompt."""

    def ask(self, template: Template, role: Literal["initial", "tuned"]) -> Template:
        """The template with the safety prompt.

        Raises:
            StudyError: the template has it already, so that the model would have been tuned with it.
        """
        if self.prompt in (template.system or ""):
            raise StudyError(
                f"the defence safety-prompt would change nothing: the template already has {self.prompt!r} as its "
                "system turn. Tune with a template that does not have it (`template:` of the condition)."
            )
        return Template("\n".join(filter(None, (self.prompt, template.system))), template.user)
