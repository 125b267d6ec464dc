"""The questions of any task of Inspect (UK AISI) that asks a model once, with text."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from holdfast.core.config import Config, explained
from holdfast.core.errors import DataError
from holdfast.core.files import is_file, locate
from holdfast.core.types import Benchmark, Message, Prompt
from holdfast.data.benchmarks import inspect_replay
from holdfast.data.benchmarks.inspect_replay import STAND_IN, Exam, UnusableError


def _find(task: str, info: ValidationInfo) -> str:
    """A task's name; where it is in a file, with the file's whole path."""
    file, at, name = task.rpartition("@")
    if not at:
        return task
    path = locate(file, (info.context or {}).get("folder"))
    if path.suffix != ".py" or not is_file(path):
        raise explained(f"there is no Python file {path}; name a task as package/task or file.py@task")
    return f"{path.resolve()}@{name}"


class InspectTask(Config):
    """Any Inspect task (`inspect_evals/gsm8k`, `file.py@task`) that asks once, with text; judged by `inspect`.

    Its solvers make the prompt; its generation settings, epochs and metrics are not used.
    """

    kind: Literal["inspect"] = "inspect"
    task: Annotated[str, AfterValidator(_find)]
    args: dict[str, Any] = Field(default_factory=dict)
    """The task's own arguments."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """How many of its samples, from the first; all if not given."""

    def load(self) -> Benchmark:
        """Load the task and take down what it asks.

        Raises:
            HoldfastError: Inspect is not installed.
            DataError: there is no such task, or it cannot be used, with the first sample that shows why.
        """
        exam = inspect_replay.load(self.task, self.args)
        prompts = self._prompts(exam)
        if prompts != self._prompts(inspect_replay.load(self.task, self.args, fresh=True)):
            raise DataError(f"the Inspect task {self.task!r} asks otherwise each time; give it a seed with `args`.")
        if not prompts:
            raise DataError(f"the Inspect task {self.task!r} has no samples that are there from the start.")
        self._try_scorer(exam, prompts[0])
        return Benchmark(exam.name, tuple(prompts))

    def _prompts(self, exam: Exam) -> list[Prompt]:
        prompts = []
        for at in list(exam.samples)[: self.limit]:
            try:
                *before, last = exam.conversation(at)
            except UnusableError as error:
                raise DataError(f"the Inspect task {self.task!r} cannot be used: sample {at!r}: {error}.") from error
            reference = {"task": self.task, "args": self.args, "sample": at, "target": exam.samples[at].target}
            prompts.append(Prompt(exam.name, last.content, reference, tuple(before)))
        return prompts

    def _try_scorer(self, exam: Exam, prompt: Prompt) -> None:
        """Refuse a task whose scorer needs more than the answer, before anything is asked."""
        conversation = (*prompt.history, Message("user", prompt.text))
        try:
            exam.score(prompt.reference["sample"], conversation, STAND_IN)
        except Exception as error:
            raise DataError(
                f"the Inspect task {self.task!r} cannot be used: its scorer needs more than the answer, "
                f"such as a model that grades ({type(error).__name__}: {error})."
            ) from error
