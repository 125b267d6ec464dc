"""Classifiers whose tokenizer brings their template, read on this machine or by a server that has it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from holdfast.core.config import OneOf
from holdfast.core.errors import ModelError
from holdfast.core.types import Message
from holdfast.judges.base import Case, Sheet
from holdfast.judges.classifiers.base import LOCAL_OR_SERVER, Classifier
from holdfast.judges.verdict_parser import ParsedReply
from holdfast.models import templates
from holdfast.models.samplers.base import Question, Reply, Sampler
from holdfast.models.samplers.local import Local
from holdfast.models.special_tokens import ANSWER, REQUEST

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARK = re.compile(r"<(?=\|[^<>|\s]{1,60}\|>|/?think>)")
"""The beginning of a special token of these families: `<|…|>`, and Qwen's marks of thinking."""

APART = re.compile(MARK.pattern.replace("<", "< ", 1))
"""The same, written apart."""


class ChatTemplateClassifier(Classifier):
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
        text = _rendered(tokenizer, turns, self.generation_prompt, **self.template_settings(policy))
        missing = [word for word in self.words if word not in text]
        if missing:
            raise ModelError(
                f"{self.model}: its chat template does not ask for {missing[0]!r}, so it is not that of {self.family}."
            )
        return text

    def template_settings(self, policy: str) -> dict[str, Any]:
        """What the template takes beside the turns."""
        return {}


class ServableClassifier(ChatTemplateClassifier):
    """A classifier that a server may have as well. The server then uses its own copy of the chat template.

    A server splits texts into tokens by itself, so special tokens inside them are written apart (`< |…|>`), and the
    verdict's reason says how many.
    """

    by: Annotated[Sampler, OneOf(LOCAL_OR_SERVER, default="local")]
    """The classifier: `{model}`, a folder or Hub id, or `{kind: server, base_url, model}`."""

    def sheet(self, case: Case, attempt: int = 0) -> Sheet:
        """The question in token ids, or for a server as a conversation."""
        if isinstance(self.by, Local):
            return super().sheet(case, attempt)
        shown = self.shown(case.answer)
        turns = (Message("user", case.prompt.text.strip()), Message("assistant", shown))
        messages = tuple(Message(turn.role, MARK.sub("< ", turn.content)) for turn in turns)
        left_out = len(case.answer.text.strip()) - len(shown)
        return Sheet(Question(case.prompt.id, messages, self.max_new_tokens), left_out)

    def read(self, reply: Reply, sheet: Sheet) -> ParsedReply:
        """The score of a label, with the number of special tokens that were written apart."""
        parsed = super().read(reply, sheet)
        apart = sum(len(APART.findall(turn.content)) for turn in sheet.question.messages)
        if not apart or parsed.score is None:
            return parsed
        return replace(parsed, reason=f"{parsed.reason}; {apart} special token(s) written apart")


def _rendered(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], generation_prompt: bool, **settings: Any
) -> str:  # fmt: skip
    """A conversation (role, text) as the chat template writes it. Some templates take texts, some lists of parts.

    Raises:
        ModelError: no chat template, or one that takes the turns in neither form.
    """
    if not tokenizer.chat_template:
        raise ModelError(f"the tokenizer of {tokenizer.name_or_path} has no chat template.")
    reasons = []
    for in_parts in (False, True):
        conversation: Any = [
            {"role": role, "content": [{"type": "text", "text": text}] if in_parts else text} for role, text in turns
        ]
        try:
            rendered = templates.render(tokenizer, conversation, generation_prompt, **settings)
        except templates.RefusedError as error:
            reasons.append(str(error))
            continue
        lost = [role for role, text in turns if text not in rendered]
        if not lost:
            return rendered
        reasons.append(f"it leaves out the {lost[-1]}'s turn")
    roles = ", ".join(role for role, _ in turns)
    raise ModelError(f"the chat template of {tokenizer.name_or_path} does not take the turns {roles}: {reasons[0]}.")
