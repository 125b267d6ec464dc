"""Classifiers whose tokenizer brings their template, read on this machine or by a server that has it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import model_validator

from holdfast.core.config import explained
from holdfast.core.errors import ModelError
from holdfast.core.protocols import Ledger
from holdfast.core.types import Answer, Prompt, Verdict
from holdfast.judges.classifiers.base import Guard, Pair, verdict_of
from holdfast.judges.remote import NO_SCORE, MayBeServed, why
from holdfast.models.endpoint import Reply
from holdfast.models.special_tokens import ANSWER, REQUEST, rendered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = re.compile(r"<(?=\|[^<>|\s]{1,60}\|>|/?think>)")
"""Where a special token of these families begins: `<|…|>`, and Qwen's marks of thinking."""


class Templated(Guard):
    """A classifier that is asked through its own chat template."""

    generation_prompt: ClassVar[bool]
    """Whether its documentation asks the template to open the reply."""
    words: ClassVar[tuple[str, ...]]
    """Labels that its template asks for, and no other model's does."""

    def wording(self, tokenizer: PreTrainedTokenizerBase, policy: str) -> str:
        """The chat template's text.

        Raises:
            ModelError: a template that takes no assistant's turn, or asks for other labels.
        """
        turns = [("user", REQUEST), ("assistant", ANSWER)]
        text = rendered(tokenizer, turns, self.generation_prompt, **self.told(policy))
        missing = [word for word in self.words if word not in text]
        if missing:
            raise ModelError(
                f"{self.model}: its chat template does not ask for {missing[0]!r}, so it is not that of {self.family}."
            )
        return text

    def told(self, policy: str) -> dict[str, Any]:
        """What the template wants to know beside the turns."""
        return {}


class Servable(MayBeServed, Templated):
    """A classifier that may also be asked by a server, with the server's own chat template."""

    @model_validator(mode="after")
    def _one_reader(self) -> Servable:
        if self.by is not None and self.model is not None:
            raise explained("name the classifier as `model`, or the server that has it as `by`, not both")
        return self

    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """As if each answer had two characters a token in the mean."""
        if self.by is None:
            return 0, 0.0
        pairs = [(prompt, Answer(prompt.id, "answered", "x" * (2 * answer_tokens))) for prompt in prompts]
        asked = {pair[0].id: self._turns(pair) for pair in pairs}
        return self.by.most(self.by.requests(asked, self.max_new_tokens))

    def faults(self) -> list[str]:
        """As for any classifier, or what keeps the server from answering."""
        return self.by.faults() if self.by else super().faults()

    def judge(self, policies: Mapping[str, str], pairs: Sequence[Pair], ledger: Ledger) -> Iterator[list[Verdict]]:
        """One verdict for each pair, a batch at a time; from a server, each as soon as it comes.

        A server splits texts into tokens by itself, so special tokens inside them are written apart (`< |…|>`), and
        the reason says how many.
        """
        if self.by is None:
            yield from super().judge(policies, pairs, ledger)
            return
        asked = {prompt.id: (prompt, answer) for prompt, answer in pairs}
        questions = {name: self._turns(pair) for name, pair in asked.items()}
        for reply in self.by.replies(questions, self.max_new_tokens, ledger):
            yield [self._verdict(reply, asked[reply.id])]

    def _turns(self, pair: Pair) -> list[dict[str, str]]:
        turns = (("user", pair[0].text.strip()), ("assistant", self.shown(pair[1])))
        return [{"role": role, "content": MARK.sub("< ", text)} for role, text in turns]

    def _verdict(self, reply: Reply, pair: Pair) -> Verdict:
        prompt, answer = pair
        left_out = len(answer.text.strip()) - len(self.shown(answer))
        if reply.outcome != "ok":
            return Verdict(
                prompt.id, NO_SCORE[reply.outcome], None, why(reply), reply.model, left_out, reply.usd
            )  # fmt: skip
        found = verdict_of(prompt, self.label(reply.text, False), reply.model, left_out, reply.usd)
        apart = len(MARK.findall(prompt.text)) + len(MARK.findall(self.shown(answer)))
        return replace(found, reason=f"{found.reason}; {apart} special token(s) written apart") if apart else found
