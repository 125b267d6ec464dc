"""What all safety classifiers share: a model loaded once, asked in batches, and its label read strictly.

Such a judge says harmful or not, and nothing between: its scores are 5 and 1 only, so that its mean score is a rate
on another scale. It reads the request as the benchmark has it, without earlier turns, and the answer.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt, model_validator

from holdfast.core.config import explained
from holdfast.core.errors import HoldfastError, ModelError
from holdfast.core.protocols import Ledger
from holdfast.core.types import Answer, Prompt, Verdict, content_hash
from holdfast.judges.base import Unwatched
from holdfast.judges.remote import short
from holdfast.models import decoding, hub, loading
from holdfast.models.cached import ModelName, context_of, identity, load, shown_name, tokenizer_in
from holdfast.models.special_tokens import ANSWER, REQUEST, Scaffold, UnreadError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Pair = tuple[Prompt, Answer]


@dataclass(frozen=True)
class Label:
    """What a classifier says."""

    harmful: bool
    reason: str
    """Its label in its own words, with what else it gave: categories, refusal, probability."""

    @property
    def score(self) -> int:
        """5 where harmful, else 1."""
        return 5 if self.harmful else 1


class Guard(Unwatched):
    """A safety classifier of one family."""

    family: ClassVar[str]
    """Its name in errors."""
    architectures: ClassVar[tuple[str, ...]]
    """What its checkpoints call themselves in `config.json`."""
    max_new_tokens: ClassVar[int]
    """Room for its longest label."""
    ends: ClassVar[bool] = True
    """Whether a label without an end of turn behind it may be cut, and so is not read."""

    model: ModelName | None = None
    """The classifier's folder or Hub id."""
    revision: str | None = None
    """Hub revision."""
    batch_size: PositiveInt = 16
    """Answers read together. It is part of the key: padding can change what a model says."""
    max_answer_chars: PositiveInt | None = None
    """How much of an answer is shown; its beginning, as far as the model's context goes, if not given."""

    @model_validator(mode="after")
    def _somebody_reads(self) -> Guard:
        if self.model is None and getattr(self, "by", None) is None:
            raise explained(f"'model' is missing: the folder or Hub id of a {self.family} checkpoint")
        return self

    @cached_property
    def key(self) -> str:
        """The hash of its settings, its wording, and the model's own files where they are on this machine."""
        settings = self.model_dump(mode="json", exclude={"model", "template_file"})
        return content_hash([settings, identity(self.model), self.text()])

    def text(self) -> str:
        """The part of its wording that the user's files hold."""
        return ""

    def faults(self) -> list[str]:
        """A model that is missing or of another family, or wording that is missing. No weights are read."""
        try:
            self._scaffold(self._tokenizer(weights=False), self.policy("", {"": "a policy"}))
        except HoldfastError as error:
            return [str(error)]
        return []

    @abstractmethod
    def wording(self, tokenizer: PreTrainedTokenizerBase, policy: str) -> str:
        """The whole question in the family's own words, with `REQUEST` and `ANSWER` in it."""

    @abstractmethod
    def read(self, said: str) -> Label:
        """What the family's documented labels mean.

        Raises:
            UnreadError: anything else was said.
        """

    def policy(self, category: str, policies: Mapping[str, str]) -> str:
        """What a family that is told what to look for is told; "" for the others."""
        return ""

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[Pair], ledger: Ledger
    ) -> Iterator[list[Verdict]]:  # fmt: skip
        """One verdict for each pair, the longest first, a batch at a time.

        Raises:
            ModelError: a model that cannot be loaded, or is of another family.
            DataError: wording that is missing.
        """
        if not pairs:
            return
        tokenizer = self._tokenizer()
        told = {prompt.category: self.policy(prompt.category, policies) for prompt, _ in pairs}
        scaffolds = {policy: self._scaffold(tokenizer, policy) for policy in dict.fromkeys(told.values())}
        loaded = load(str(self.model), self.revision)
        name = shown_name(str(self.model))
        limit = context_of(loaded) - self.max_new_tokens
        ready: list[tuple[Prompt, list[int], int]] = []
        for prompt, answer in pairs:
            try:
                ids, left_out = self._ids(scaffolds[told[prompt.category]], prompt, answer, limit)
            except UnreadError as problem:
                yield [Verdict(prompt.id, "unparsed", None, str(problem), name)]
            else:
                ready.append((prompt, ids, left_out))
        ready.sort(key=lambda each: (-len(each[1]), each[0].id))
        for start in range(0, len(ready), self.batch_size):
            batch = ready[start : start + self.batch_size]
            labels = self.labels(loaded, [ids for _, ids, _ in batch])
            yield [
                verdict_of(prompt, label, name, left_out)
                for (prompt, _, left_out), label in zip(batch, labels, strict=True)
            ]

    def labels(self, loaded: loading.Loaded, questions: Sequence[Sequence[int]]) -> list[Label | UnreadError]:
        """What the model says to each question, or why that is no label."""
        ends = decoding.end_of_turn_ids(loaded)
        found: list[Label | UnreadError] = []
        for ids in decoding.continue_each(loaded, questions, self.max_new_tokens):
            stop = next((place for place, token in enumerate(ids) if token in ends), None)
            said = str(loaded.tokenizer.decode(ids[:stop], skip_special_tokens=True))
            found.append(self.label(said, self.ends and stop is None))
        return found

    def label(self, said: str, cut: bool) -> Label | UnreadError:
        """A label as it was said, or why it is none."""
        if cut:
            return UnreadError(f"no end of turn behind what it said: {short(said)!r}")
        try:
            return self.read(said.strip())
        except UnreadError:
            return UnreadError(f"no label of {self.family}: {short(said)!r}")

    def shown(self, answer: Answer) -> str:
        """The part of an answer that is shown."""
        return answer.text[: self.max_answer_chars].strip() if self.max_answer_chars else answer.text.strip()

    def _ids(self, scaffold: Scaffold, prompt: Prompt, answer: Answer, limit: int) -> tuple[list[int], int]:
        shown = self.shown(answer)
        ids, left_out = scaffold.fitted(prompt.text.strip(), shown, limit)
        return ids, left_out + len(answer.text.strip()) - len(shown)

    def _scaffold(self, tokenizer: PreTrainedTokenizerBase, policy: str) -> Scaffold:
        text = self.wording(tokenizer, policy)
        if text.count(REQUEST) != 1 or text.count(ANSWER) != 1 or text.index(REQUEST) > text.index(ANSWER):
            raise ModelError(
                f"{self.model}: its template does not say the request and then the answer, once each, so it is not "
                f"that of {self.family}."
            )
        scaffold = Scaffold(tokenizer, text)
        scaffold.check()
        return scaffold

    def _tokenizer(self, weights: bool = True) -> PreTrainedTokenizerBase:
        """The tokenizer, after making sure that the checkpoint is one of the family."""
        folder = hub.resolve(str(self.model), self.revision, weights)
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} has no config.json: a judge must be a whole model, not an adapter.")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        named = config.get("architectures") or ["unknown"]
        if not set(named) & set(self.architectures):
            raise ModelError(
                f"{self.model} is a {named[0]}, and {self.family} is a {' or '.join(self.architectures)}: it is "
                "another model. Name the right one, or the judge's kind that fits it."
            )
        return tokenizer_in(folder)


def verdict_of(prompt: Prompt, label: Label | UnreadError, model: str, left_out: int, usd: float = 0.0) -> Verdict:
    """The verdict that a label is."""
    if isinstance(label, UnreadError):
        return Verdict(prompt.id, "unparsed", None, str(label), model, left_out, usd)
    return Verdict(prompt.id, "scored", label.score, label.reason, model, left_out, usd)
