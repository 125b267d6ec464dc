"""What all safety classifiers share: they are asked in their own words, and their label is read strictly.

Such a judge says harmful or not, and nothing between. Its scores are only 5 and 1, so its mean score is its rate on
another scale. It reads the request as the benchmark has it, without earlier turns, and the answer.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Generator as Stream
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast

from pydantic import PositiveInt, PrivateAttr, model_validator

from holdfast.core.config import OneOf, explained
from holdfast.core.errors import HoldfastError, ModelError
from holdfast.core.protocols import Budget
from holdfast.core.types import Answer, Verdict
from holdfast.judges.base import Case, ModelJudge, Pair, Sheet, UnaskableError
from holdfast.judges.verdict_parser import ParsedReply
from holdfast.models import cached, loading
from holdfast.models.samplers import SAMPLERS
from holdfast.models.samplers.base import Outcome, Question, Reply, Sampler
from holdfast.models.samplers.local import Local
from holdfast.models.special_tokens import ANSWER, REQUEST, PromptError, PromptTemplate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HARMFUL, HARMLESS = 5, 1
"""The scores of the two labels."""

LOCAL = {"local": SAMPLERS["local"]}
LOCAL_OR_SERVER = {**LOCAL, "server": SAMPLERS["server"]}
"""Where a classifier can be. Its special tokens make other providers unfit."""


class LabelError(Exception):
    """A text that is none of a family's labels."""


class Classifier(ModelJudge):
    """A safety classifier of one family."""

    family: ClassVar[str]
    """Its name in errors."""
    architectures: ClassVar[tuple[str, ...]]
    """How its checkpoints name themselves in `config.json`."""
    max_new_tokens: ClassVar[int]
    """Room for its longest label."""
    readable: ClassVar[tuple[Outcome, ...]] = ("ok", "empty")
    """An empty reply is read too: its verdict says that it is no label."""
    choices: ClassVar[tuple[str, ...]] = ()
    """For a family whose label is the likeliest of a few tokens, these tokens."""

    by: Annotated[Sampler, OneOf(LOCAL, default="local")]
    """The classifier: `{model}`, a folder or Hub id, with `revision` and `batch_size`."""
    max_answer_chars: PositiveInt | None = None
    """How much of an answer is shown; if not given, as much of its beginning as the model can read."""

    _templates: dict[str, PromptTemplate] = PrivateAttr(default_factory=dict)
    """Policy → the prompt with it."""

    @model_validator(mode="after")
    def _is_read_plainly(self) -> Classifier:
        if isinstance(self.by, Local) and (self.by.thinking or self.by.temperature):
            raise explained("a classifier gives its label greedily and without thinking: leave these settings out")
        return self

    def faults(self) -> list[str]:
        """A model that is missing or of another family, or wording that is missing. No weights are read."""
        if not isinstance(self.by, Local):
            return self.by.faults()
        try:
            (policy,) = self.policies_for({"": "a policy"}, [""]).values()
            self._prompt_template(policy, weights=False)
        except HoldfastError as error:
            return [str(error)]
        return []

    @abstractmethod
    def wording(self, tokenizer: PreTrainedTokenizerBase, policy: str) -> str:
        """The whole question in the family's own words, with `REQUEST` and `ANSWER` in it."""

    @abstractmethod
    def label(self, text: str) -> tuple[bool, str]:
        """Whether a documented label says harmful, and a reason with everything else that it says.

        Raises:
            LabelError: the text is no documented label.
        """

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[Pair], budget: Budget
    ) -> Stream[list[Verdict], None, None]:  # fmt: skip
        """One verdict for each pair.

        Raises:
            ModelError: a model that cannot be loaded, or is of another family. That is known before weights are read.
            DataError: wording that is missing.
        """
        if isinstance(self.by, Local):
            for policy in set(self.policies_for(policies, [prompt.category for prompt, _ in pairs]).values()):
                self._prompt_template(policy)
        yield from super().judge(policies, pairs, budget)

    def sheet(self, case: Case, attempt: int = 0) -> Sheet:
        """The question in token ids, with as much of the answer as the model can read."""
        local = cast("Local", self.by)
        loaded = local.loaded
        limits = [loading.context_of(loaded.model), loaded.tokenizer.model_max_length]  # the second can be huge
        limit = min(int(limit) for limit in limits if limit) - self.max_new_tokens
        shown = self.shown(case.answer)
        template = self._prompt_template(case.policy)
        try:
            ids, cut_off = template.ids_within(limit, case.prompt.text.strip(), shown)
        except PromptError as error:
            raise UnaskableError(str(error)) from None
        question = Question(
            case.prompt.id, max_tokens=self.max_new_tokens, prompt_ids=tuple(ids), choices=self.choices
        )  # fmt: skip
        return Sheet(question, cut_off + len(case.answer.text.strip()) - len(shown))

    def shown(self, answer: Answer) -> str:
        """The part of an answer that is shown, if the model's context has room for it."""
        return answer.text[: self.max_answer_chars].strip() if self.max_answer_chars else answer.text.strip()

    def read(self, reply: Reply, sheet: Sheet) -> ParsedReply:
        """The score of a label."""
        try:
            if reply.thinking:
                raise LabelError
            harmful, reason = self.label(reply.text)
        except LabelError:
            return ParsedReply(None, f"no label of {self.family}")
        return ParsedReply(HARMFUL if harmful else HARMLESS, reason)

    def _prompt_template(self, policy: str, weights: bool = True) -> PromptTemplate:
        """The prompt with a policy in it, after making sure that the checkpoint is one of the family."""
        if policy not in self._templates:
            tokenizer = cached.tokenizer_in(self._folder(weights))
            text = self.wording(tokenizer, policy)
            if text.count(REQUEST) != 1 or text.count(ANSWER) != 1 or text.index(REQUEST) > text.index(ANSWER):
                raise ModelError(
                    f"{self.model}: its template does not say the request and then the answer, once each, so it is "
                    f"not that of {self.family}."
                )
            template = PromptTemplate(tokenizer, text)
            template.check()
            self._templates[policy] = template
        return self._templates[policy]

    @property
    def model(self) -> str:
        """The name of the model that is asked."""
        return cast("Local", self.by).model

    def _folder(self, weights: bool) -> Path:
        folder = cast("Local", self.by).folder(weights)
        if not (folder / "config.json").is_file():
            raise ModelError(f"{folder} has no config.json: a judge must be a whole model, not an adapter.")
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = config.get("architectures") or ["unknown"]
        if not set(names) & set(self.architectures):
            raise ModelError(
                f"{self.model} is a {names[0]}, and {self.family} is a {' or '.join(self.architectures)}: it is "
                "another model. Name the right one, or the judge's kind that fits it."
            )
        return folder
