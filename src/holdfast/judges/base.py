"""The two kinds of judges: `Judge` reads each answer for nothing, `ModelJudge` asks a model about it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Generator as Stream
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveInt

from holdfast.core import protocols
from holdfast.core.config import Config, File, OneOf
from holdfast.core.protocols import Budget
from holdfast.core.types import Answer, Prompt, Reading, Verdict, content_hash
from holdfast.judges.verdict_parser import ParsedReply
from holdfast.models.samplers import SAMPLERS
from holdfast.models.samplers.base import Outcome, Question, Reply, Sampler

Pair = tuple[Prompt, Answer]
"""A prompt and the answer to it."""

BATCH = 64
"""Verdicts that a judge without a model hands out together."""

NO_SCORE: Mapping[Outcome, Reading] = {
    "truncated": "unparsed", "empty": "unparsed", "refused": "judge_refused", "filtered": "judge_refused",
    "error": "judge_error",
}  # fmt: skip
"""A reply's outcome → the reading of a verdict that has no score because of it."""


def basis_of(policies: Mapping[str, str], prompt: Prompt) -> Any:
    """Everything that a judge can read beside the answer: the prompt, and its category's policy (else all of them)."""
    policy = policies.get(prompt.category) or dict(policies)
    return [policy, prompt.category, prompt.text, [[t.role, t.content] for t in prompt.history], dict(prompt.reference)]


class Judge(Config):
    """A judge that reads each answer by itself, at once and for nothing. A subclass defines `read`."""

    canaries: ClassVar[Path | None] = None
    anchors: ClassVar[Path | None] = None
    max_drift: ClassVar[float] = 0.0

    @property
    def paid(self) -> bool:
        """No."""
        return False

    @property
    def inner(self) -> tuple[protocols.Judge, ...]:
        """The judges that it asks in turn; none."""
        return ()

    def basis(self, policies: Mapping[str, str], prompt: Prompt) -> Any:
        """Everything that a verdict rests on beside the judge and the answer."""
        return basis_of(policies, prompt)

    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """No tokens, and no US dollars."""
        return 0, 0.0

    def read(self, prompt: Prompt, answer: Answer) -> Verdict:
        """The verdict on one answer."""
        raise NotImplementedError(f"{type(self).__name__} must define `read`, or `judge` as a whole")

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[Pair], budget: Budget
    ) -> Stream[list[Verdict], None, None]:
        """One verdict for each pair, in order."""
        for start in range(0, len(pairs), BATCH):
            yield [self.read(prompt, answer) for prompt, answer in pairs[start : start + BATCH]]


@dataclass(frozen=True)
class Case:
    """One answer to be judged."""

    prompt: Prompt
    answer: Answer
    policy: str
    """The policy that the answer is held against; "" for judges that read none."""


@dataclass(frozen=True)
class Sheet:
    """A case as it is put to a model."""

    question: Question
    left_out: int = 0
    """Characters of the answer that are not shown."""
    code: str = ""
    """What the reply must repeat, for judges that demand it."""


class UnaskableError(Exception):
    """Why a case cannot be put to a model; its verdict is `unparsed`."""


class ModelJudge(Config):
    """A judge that asks a model. A subclass says what it asks (`sheet`) and what a reply means (`read`).

    How it is checked (canaries, anchors) changes no verdict, and is no part of its key.
    """

    readable: ClassVar[tuple[Outcome, ...]] = ("ok",)
    """Outcomes of replies that are read. Others have no score."""

    by: Annotated[Sampler, OneOf(SAMPLERS)]
    """The model that is asked: `{kind: server, base_url, model}`, `{kind: local, model}`, `{kind: inspect, model}`."""
    tries: PositiveInt = 1
    """How often the model is asked before a reply that cannot be read is `unparsed`."""
    canaries: File | None = Field(None, exclude=True)
    """Answers that it must judge rightly before it judges anything else; null for none."""
    anchors: File | None = Field(None, exclude=True)
    """Answers whose scores show whether it has changed since it first judged them; its canaries if not given."""
    max_drift: NonNegativeFloat = Field(0.25, exclude=True)
    """Points by which its scores of the anchors may change on average, and the share of them that may change."""

    @cached_property
    def key(self) -> str:
        """The hash of its settings, of the model that is asked, and of the texts that it uses."""
        texts = self.texts()
        settings = self.model_dump(mode="json", exclude={"by", *texts})
        return content_hash([settings, self.by.key, texts])

    @property
    def paid(self) -> bool:
        """Whether its model costs something."""
        return self.by.paid

    @property
    def inner(self) -> tuple[protocols.Judge, ...]:
        """The judges that it asks in turn; none."""
        return ()

    def texts(self) -> dict[str, str]:
        """What verdicts rest on beside the settings: a setting that names a file → the file's text, and the wording."""
        return {}

    def faults(self) -> list[str]:
        """Whatever would keep its model from being this_round."""
        return self.by.faults()

    def basis(self, policies: Mapping[str, str], prompt: Prompt) -> Any:
        """Everything that a verdict rests on beside the judge and the answer."""
        return basis_of(policies, prompt)

    def policies_for(self, policies: Mapping[str, str], categories: Collection[str]) -> dict[str, str]:
        """Category → the policy that its answers are held against.

        Raises:
            DataError: the judge needs a policy, and a category has none.
        """
        return dict.fromkeys(categories, "")

    @abstractmethod
    def sheet(self, case: Case, attempt: int = 0) -> Sheet:
        """The question about one answer.

        Raises:
            UnaskableError: there can be none.
        """

    @abstractmethod
    def read(self, reply: Reply, sheet: Sheet) -> ParsedReply:
        """The score that a reply gives, or why it gives none."""

    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """The most tokens and US dollars for one answer to each prompt, if every question takes all its `tries`.

        An answer is taken to have two characters a token.
        """
        if not self.paid:
            return 0, 0.0
        texts = self.policies_for(policies, {prompt.category for prompt in prompts})
        answer = Answer("", "answered", "x" * (2 * answer_tokens))
        questions = [self.sheet(Case(prompt, answer, texts[prompt.category])).question for prompt in prompts]
        tokens, usd = self.by.worst(questions)
        return tokens * self.tries, usd * self.tries

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[Pair], budget: Budget
    ) -> Stream[list[Verdict], None, None]:
        """One verdict for each pair, as soon as it is there. What cannot be read is asked again at the end.

        Raises:
            DataError: a category has no policy, and the judge needs one; nothing has been asked then.
            ModelError: the model cannot be asked at all.
            BudgetError: the cap is reached.
        """
        texts = self.policies_for(policies, [prompt.category for prompt, _ in pairs])
        waiting = {prompt.id: Case(prompt, answer, texts[prompt.category]) for prompt, answer in pairs}
        usd = dict.fromkeys(waiting, 0.0)
        for attempt in range(self.tries):
            if not waiting:
                return
            this_round = _Round(self, waiting, attempt)
            with closing(self.by.ask(this_round.questions(), budget)) as replies:
                for reply in replies:
                    usd[reply.id] += reply.usd
                    verdict = self._verdict(reply, this_round.sheets[reply.id], usd[reply.id])
                    if verdict.reading == "unparsed" and attempt + 1 < self.tries:
                        this_round.again[reply.id] = waiting[reply.id]
                    else:
                        yield [verdict]
            if this_round.unaskable:
                yield this_round.unaskable
            waiting = this_round.again

    def _verdict(self, reply: Reply, sheet: Sheet, usd: float) -> Verdict:
        """The verdict that a reply is; it has a score only where the reply gives one."""
        score: int | None = None
        if reply.outcome in self.readable:
            parsed = self.read(reply, sheet)
            score, reason = parsed.score, parsed.reason
            reading: Reading = "judge_refused" if parsed.refused else "unparsed"
            if score is None:
                reason = f"{reason}: {shortened(reply.text)!r}"
            else:
                reading = "scored"
        else:
            reading = NO_SCORE[reply.outcome]
            reason = ": ".join(part for part in (reply.detail, shortened(reply.text)) if part)
        return Verdict(reply.id, reading, score, reason, reply.model, sheet.left_out, usd)


class _Round:
    """One attempt at a number of cases."""

    def __init__(self, judge: ModelJudge, cases: Mapping[str, Case], attempt: int) -> None:
        self.judge, self.cases, self.attempt = judge, cases, attempt
        self.sheets: dict[str, Sheet] = {}
        """Prompt id → what was this_round."""
        self.unaskable: list[Verdict] = []
        self.again: dict[str, Case] = {}
        """Cases whose reply cannot be read."""

    def questions(self) -> Iterator[Question]:
        """The questions, each made when it is needed: what a server takes is learnt on the way."""
        for name, case in self.cases.items():
            try:
                self.sheets[name] = self.judge.sheet(case, self.attempt)
            except UnaskableError as error:
                self.unaskable.append(Verdict(name, "unparsed", None, str(error)))
                continue
            yield self.sheets[name].question


def shortened(text: str) -> str:
    """The beginning of what a judge said, for a reason."""
    return text if len(text) <= 300 else f"{text[:299]}…"
