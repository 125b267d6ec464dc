"""The scorer of an Inspect task, for prompts of the benchmark `inspect`."""

from __future__ import annotations

from typing import Literal

from holdfast.core.types import Answer, Message, Prompt, Verdict
from holdfast.data.benchmarks import inspect_replay
from holdfast.data.benchmarks.inspect_replay import UnusableError, scaled
from holdfast.judges.base import Judge


class InspectScorer(Judge):
    """The (first) scorer of an Inspect task: 5 where it says correct, 1 incorrect, 2 to 4 in part.

    The task's solvers run again with the recorded answer, so that the scorer finds what they prepare for it. An answer
    that it leaves unscored, or scores outside of 0 to 1, is `unparsed`; a scorer that fails is a `judge_error`.
    """

    kind: Literal["inspect"] = "inspect"

    def read(self, prompt: Prompt, answer: Answer) -> Verdict:
        """The verdict on one answer.

        Raises:
            HoldfastError: Inspect or the task is missing.
        """
        return _verdict(prompt, answer.text)


def _verdict(prompt: Prompt, text: str) -> Verdict:
    if not {"task", "args", "sample"} <= prompt.reference.keys():
        return Verdict(prompt.id, "unparsed", None, "the prompt does not come from an Inspect task")
    exam = inspect_replay.load(prompt.reference["task"], prompt.reference["args"])
    messages = (*prompt.history, Message("user", prompt.text))
    try:
        result = exam.score(prompt.reference["sample"], messages, text)
    except UnusableError as error:
        return Verdict(prompt.id, "judge_error", None, str(error))
    except Exception as error:
        return Verdict(prompt.id, "judge_error", None, f"{type(error).__name__}: {error}")
    if result is None:
        return Verdict(prompt.id, "unparsed", None, "the scorer gave nothing")
    reason = ": ".join(part for part in (repr(result.value), result.explanation or result.reason) if part)
    score = scaled(result.value)
    if score is None:
        return Verdict(prompt.id, "unparsed", None, f"the scorer gave {reason}")
    return Verdict(prompt.id, "scored", score, reason)
