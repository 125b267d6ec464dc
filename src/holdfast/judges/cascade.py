"""A cheap judge decides what it is certain of; a costly one reads the rest, and a random share of what was decided."""

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
from holdfast.core.protocols import Ledger
from holdfast.core.types import Answer, Prompt, Verdict, content_hash
from holdfast.judges import JUDGES, cache
from holdfast.judges.base import Judge, Pair


class Cascade(Judge):
    """A cheap judge decides what it is certain of, a costly one the rest and a random share of what was decided.

    What the first gives no score goes to the second as well, whose verdict then stands whatever it is. A verdict
    says who decided in `by`. The random share follows from request and answer, so that it repeats.
    """

    kind: Literal["cascade"] = "cascade"
    first: Annotated[protocols.Judge, OneOf(JUDGES)]
    """The cheap judge."""
    then: Annotated[protocols.Judge, OneOf(JUDGES)]
    """The costly judge."""
    certain: Annotated[tuple[Annotated[int, Field(ge=1, le=5)], ...], Field(min_length=1)] | None = None
    """Scores of the first that stand. Else give its `calibration`."""
    calibration: File | None = None
    """What `holdfast calibrate` found of the first: the scores that settle whether an answer is a 5 stand."""
    max_error: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Largest share (0 to 1) of the 5s, and of the others, that the first may settle wrongly; `Calibration.certain`."""
    audit: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Share (0 to 1) of what the first decided that the costly judge reads all the same."""

    @model_validator(mode="after")
    def _can_decide(self) -> Cascade:
        if "cascade" in (self.first.kind, self.then.kind):
            raise explained("a cascade of cascades is not read; name two judges that read answers themselves")
        if (self.certain is None) == (self.calibration is None):
            raise explained("say which scores of `first` stand: by `certain`, or by the `calibration` of it")
        if self.certain is not None and "max_error" in self.model_fields_set:
            raise explained("`max_error` is for a `calibration`; with `certain` it would do nothing")
        if not self.decides:
            raise explained(
                f"no score of {label(self.first)} settles at most {self.max_error:.1%} of the 5s, or of the others, "
                "wrongly for certain: label more answers, allow a larger `max_error`, or name another judge as `first`"
            )
        return self

    @cached_property
    def decides(self) -> tuple[int, ...]:
        """The scores of the first that stand."""
        if self.calibration is None:
            return tuple(sorted(set(self.certain or ())))
        try:
            found = calibrations.read(self.calibration)
        except DataError as error:
            raise explained(str(error)) from None
        if reason := found.not_of(label(self.first)):
            raise explained(f"{self.calibration}: {reason}")
        return found.certain(self.max_error)

    @cached_property
    def key(self) -> str:
        """The hash of exactly what its verdicts follow from."""
        return content_hash([self.first.key, self.then.key, self.decides, self.audit])

    @property
    def inner(self) -> tuple[protocols.Judge, ...]:
        """The two."""
        return self.first, self.then

    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """As if the first were certain of nothing."""
        both = [judge.worst(policies, prompts, answer_tokens) for judge in self.inner]
        return sum(tokens for tokens, _ in both), sum(usd for _, usd in both)

    def faults(self) -> list[str]:
        """What would stop one of the two."""
        return [*self.first.faults(), *self.then.faults()]

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[Pair], ledger: Ledger
    ) -> Stream[list[Verdict], None, None]:
        """One verdict for each pair; those of the first that stand come first."""
        asked = {prompt.id: (prompt, answer) for prompt, answer in pairs}
        sent: dict[str, Verdict] = {}
        with closing(cache.verdicts(self.first, policies, pairs, ledger)) as read:
            for verdicts in read:
                for verdict in verdicts:
                    if verdict.score not in self.decides or self._audits(*asked[verdict.prompt_id]):
                        sent[verdict.prompt_id] = verdict
                yield [replace(v, by="first", first=v.score) for v in verdicts if v.prompt_id not in sent]
        rest = [pair for name, pair in asked.items() if name in sent]
        with closing(cache.verdicts(self.then, policies, rest, ledger)) as read:
            for verdicts in read:
                yield [self._settled(sent[verdict.prompt_id], verdict) for verdict in verdicts]

    def _settled(self, first: Verdict, then: Verdict) -> Verdict:
        by: Literal["then", "audit"] = "audit" if first.score in self.decides else "then"
        return replace(then, by=by, first=first.score, usd=first.usd + then.usd)

    def _audits(self, prompt: Prompt, answer: Answer) -> bool:
        drawn = content_hash(["audit", prompt.id, answer.text])
        share: float = int(drawn, 16) / 16 ** len(drawn)
        return share < self.audit
