"""A cheap judge decides where it is certain. A costly judge reads the rest, and a random share as a check."""

from __future__ import annotations

from collections.abc import Generator as Stream
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field, model_validator

from holdfast.analysis import calibration as calibrations
from holdfast.core import protocols
from holdfast.core.config import File, OneOf, explained, label
from holdfast.core.errors import DataError
from holdfast.core.protocols import Budget
from holdfast.core.types import Answer, Prompt, Verdict, content_hash
from holdfast.judges import JUDGES, cache
from holdfast.judges.base import Judge, Pair


class Cascade(Judge):
    """A cheap judge decides where it is certain; a costly judge reads the rest, and a random share as a check.

    Answers without a score of the first judge go to the second as well, whose verdict then stands in any case. The
    `by` of a verdict says which judge decided. The random share follows from request and answer, so it is the same in
    each run.
    """

    kind: Literal["cascade"] = "cascade"
    first: Annotated[protocols.Judge, OneOf(JUDGES)]
    """The cheap judge."""
    then: Annotated[protocols.Judge, OneOf(JUDGES)]
    """The costly judge."""
    certain: Annotated[tuple[Annotated[int, Field(ge=1, le=5)], ...], Field(min_length=1)] | None = None
    """Scores of the first judge that stand. Give either these or its `calibration`."""
    calibration: File | None = None
    """The first judge's calibration, by `holdfast calibrate`. Scores stand that settle whether an answer is a 5."""
    max_error: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Largest share (0 to 1) of the 5s, and of the others, that the first may decide wrongly; `Calibration.certain`."""
    audit: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share (0 to 1) of the first judge's decisions that the costly judge checks."""

    @model_validator(mode="after")
    def _can_decide(self) -> Cascade:
        if "cascade" in (self.first.kind, self.then.kind):
            raise explained("a cascade cannot hold another cascade; name two judges that read answers themselves")
        if (self.certain is None) == (self.calibration is None):
            raise explained("say which scores of `first` stand: with `certain`, or with its `calibration`")
        if self.certain is not None and "max_error" in self.model_fields_set:
            raise explained("`max_error` is for a `calibration`; with `certain` it would do nothing")
        if not self.decides:
            raise explained(
                f"no score of {label(self.first)} is certain: each may decide more than {self.max_error:.1%} of the "
                "5s, or of the others, wrongly. Label more answers, allow a larger `max_error`, or name another judge "
                "as `first`"
            )
        return self

    @cached_property
    def decides(self) -> tuple[int, ...]:
        """The scores of the first judge that stand."""
        if self.calibration is None:
            return tuple(sorted(set(self.certain or ())))
        try:
            calibration = calibrations.read(self.calibration)
        except DataError as error:
            raise explained(str(error)) from None
        if reason := calibration.not_of(label(self.first)):
            raise explained(f"{self.calibration}: {reason}")
        return calibration.certain(self.max_error)

    @cached_property
    def key(self) -> str:
        """The hash of everything that its verdicts follow from."""
        return content_hash([self.first.key, self.then.key, self.decides, self.audit])

    @property
    def inner(self) -> tuple[protocols.Judge, ...]:
        """The two judges."""
        return self.first, self.then

    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """The most tokens and US dollars, as if the first judge were never certain."""
        both = [judge.worst(policies, prompts, answer_tokens) for judge in self.inner]
        return sum(tokens for tokens, _ in both), sum(usd for _, usd in both)

    def faults(self) -> list[str]:
        """What would stop one of the two judges."""
        return [*self.first.faults(), *self.then.faults()]

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[Pair], budget: Budget
    ) -> Stream[list[Verdict], None, None]:
        """One verdict for each pair. The first judge's decisions come first."""
        by_id = {prompt.id: (prompt, answer) for prompt, answer in pairs}
        passed_on: dict[str, Verdict] = {}
        with closing(cache.verdicts(self.first, policies, pairs, budget)) as stream:
            for verdicts in stream:
                for verdict in verdicts:
                    if verdict.score not in self.decides or self._is_checked(*by_id[verdict.prompt_id]):
                        passed_on[verdict.prompt_id] = verdict
                yield [replace(v, by="first", first=v.score) for v in verdicts if v.prompt_id not in passed_on]
        rest = [pair for name, pair in by_id.items() if name in passed_on]
        with closing(cache.verdicts(self.then, policies, rest, budget)) as stream:
            for verdicts in stream:
                yield [self._of_the_second(passed_on[verdict.prompt_id], verdict) for verdict in verdicts]

    def _of_the_second(self, first: Verdict, then: Verdict) -> Verdict:
        """The second judge's verdict, with the first judge's score and the cost of both."""
        by: Literal["then", "audit"] = "audit" if first.score in self.decides else "then"
        return replace(then, by=by, first=first.score, usd=first.usd + then.usd)

    def _is_checked(self, prompt: Prompt, answer: Answer) -> bool:
        """Whether an answer belongs to the random share."""
        digits = content_hash(["audit", prompt.id, answer.text])
        drawn: float = int(digits, 16) / 16 ** len(digits)  # between 0 and 1
        return drawn < self.audit
