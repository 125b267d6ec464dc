"""What every condition of a study is asked, and who judges the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from holdfast.core.types import Benchmark, Message, Prompt, Template
from holdfast.study.schema import Measured

ANSWER = 4
"""Units of work in an answer; a verdict is one unit."""


@dataclass(frozen=True)
class EvalSuite:
    """What every condition of a study is asked, and who judges the answers."""

    sets: Mapping[str, Measured]
    """The measured sets by name: harmfulness, utility, over_refusal."""
    benchmarks: Mapping[str, Benchmark]
    """Their prompts, by the same names."""

    @cached_property
    def prompts(self) -> dict[str, Prompt]:
        """All prompts by id."""
        return {prompt.id: prompt for benchmark in self.benchmarks.values() for prompt in benchmark.prompts}

    @property
    def size(self) -> int:
        """Units of work of one condition: answers and verdicts, if every answer can be judged."""
        n_verdicts = sum(len(self.sets[name].judges) * len(self.benchmarks[name].prompts) for name in self.sets)
        return ANSWER * len(self.prompts) + n_verdicts

    def conversations(self, template: Template) -> dict[str, tuple[Message, ...]]:
        """Prompt id → the conversation that asks it in a template."""
        return {
            name: template.wrap([*prompt.history, Message("user", prompt.text)])
            for name, prompt in self.prompts.items()
        }
