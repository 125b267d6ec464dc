"""The scorer that an Inspect task brings, for prompts of the benchmark `inspect`."""

from __future__ import annotations

from typing import Literal

from holdfast.core.types import Answer, Message, Prompt, Verdict
from holdfast.data.benchmarks import inspect_replay
from holdfast.data.benchmarks.inspect_replay import UnusableError, scaled
from holdfast.judges.base import Judge


class InspectScorer(Judge):
    """The (first) scorer of an Inspect task: 5 where it says correct, 1 incorrect, 2 to 4 in part.

    The task's solvers run again with the recorded answer, so that a scorer finds what they leave for it. What
    it leaves unscored, or what has no place between 0 and 1, is `unparsed`; what fails is a `judge_error`.
    """

    kind: Literal["inspect"] = "inspect"

    def read(self, prompt: Prompt, answer: Answer) -> Verdict:
        """The verdict on one answer.

        Raises:
            HoldfastError: Inspect, or the task, is not there any more.
        """
        return _verdict(prompt, answer.text)


def _verdict(prompt: Prompt, text: str) -> Verdict:
    if not {"task", "args", "sample"} <= prompt.reference.keys():
        return Verdict(prompt.id, "unparsed", None, "the prompt does not come from an Inspect task")
    exam = inspect_replay.load(prompt.reference["task"], prompt.reference["args"])
    asked = (*prompt.history, Message("user", prompt.text))
    try:
        found = exam.score(prompt.reference["sample"], asked, text)
    except UnusableError as error:
        return Verdict(prompt.id, "judge_error", None, str(error))
    except Exception as error:
        return Verdict(prompt.id, "judge_error", None, f"{type(error).__name__}: {error}")
    if found is None:
        return Verdict(prompt.id, "unparsed", None, "the scorer gave nothing")
    why = found.explanation or found.reason or ""
    score = scaled(found.value)
    if score is None:
        return Verdict(prompt.id, "unparsed", None, f"the scorer gave {found.value!r}" + f": {why}" * bool(why))
    return Verdict(prompt.id, "scored", score, f"{found.value!r}" + f": {why}" * bool(why))
