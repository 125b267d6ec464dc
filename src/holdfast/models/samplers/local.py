"""Asks a model whose weights are in this process: by its name, or one that is in memory already."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Generator as Stream
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveInt, PrivateAttr, ValidationInfo

from holdfast.core.config import Config
from holdfast.core.errors import HoldfastError, RenderError
from holdfast.core.files import FOLDERS, locate
from holdfast.core.pictures import Picture
from holdfast.core.protocols import Budget
from holdfast.core.types import Checkpoint, Message, content_hash
from holdfast.models import cached, decoding, hub, loading
from holdfast.models.chat import pictures_of
from holdfast.models.loading import Loaded
from holdfast.models.samplers.base import Outcome, Question, Reply
from holdfast.models.special_tokens import escaped


def _beside_the_study(model: str, info: ValidationInfo) -> str:
    """A folder's absolute path; a shipped model or a Hub id as it is."""
    folder = locate(model, (info.context or {}).get("folder"))
    return str(folder.resolve()) if folder.is_dir() and not model.startswith(tuple(FOLDERS)) else model


@dataclass(frozen=True)
class _Prompt:
    """A question in token ids."""

    question: Question
    ids: Sequence[int]
    pictures: tuple[Picture, ...]
    """What its image tokens stand for."""
    max_tokens: int
    """The question's limit, or less where the model's context has no room for more."""


class Local(Config):
    """A Hugging Face chat model in this process, asked in batches; loaded once."""

    kind: Literal["local"] = "local"
    model: Annotated[str, AfterValidator(_beside_the_study)]
    """A folder, relative to the study's, or an id on the Hugging Face Hub."""
    revision: str | None = None
    """The Hub's revision. Name one, so that the model stays the same."""
    thinking: bool = False
    """Whether a reasoning model thinks before it replies. Leave room for that in `max_tokens`."""
    temperature: NonNegativeFloat = 0.0
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus sampling; used only when the temperature is above 0."""
    batch_size: PositiveInt = 16
    """Questions answered together. It is part of the key: padding can change what a model says."""
    precision: loading.Precision = "auto"
    """`auto` is float32 on a CPU; elsewhere it is what the model's configuration says."""
    four_bit: bool = False
    """Whether the weights are quantised to 4 bits."""

    _loaded: Loaded | None = PrivateAttr(None)
    _share: tuple[int, int] = PrivateAttr((0, 1))
    """Which batches it asks: the first of every one, so all of them."""

    @classmethod
    def of(
        cls, loaded: Loaded, name: str = "in memory", share: tuple[int, int] = (0, 1), **settings: Any
    ) -> Local:  # fmt: skip
        """A sampler of a model that is in memory; `settings` are the other fields, e.g. `batch_size`.

        With a `share` of (2, 8) it asks the third of every eight batches: others ask the rest, and batches stay whole.
        """
        sampler = cls(model=name, thinking=loaded.chat.thinking, **settings)
        sampler._loaded, sampler._share = loaded, share
        return sampler

    @cached_property
    def key(self) -> str:
        """The hash of its settings and of the model's content. A folder's place does not matter, a Hub id does."""
        settings = self.model_dump(mode="json")
        folder = locate(self.model)
        if self._loaded is not None:
            settings["model"] = loading.fingerprint_of(self._loaded)
        elif folder.is_dir():
            settings["model"] = hub.fingerprint(folder)
        return content_hash(settings)

    @property
    def name(self) -> str:
        """What replies call the model: its folder's name, or its Hub id."""
        return Path(self.model).name if Path(self.model).is_dir() else self.model

    @property
    def loaded(self) -> Loaded:
        """The model, which is loaded when it is first needed.

        Raises:
            ModelError: it cannot be loaded, or not safely.
        """
        if self._loaded is not None:
            return self._loaded
        return cached.keep(Checkpoint(self.model, self.revision, thinking=self.thinking), self.precision, self.four_bit)

    @property
    def takes_schema(self) -> bool:
        """No: nothing holds the model's words to a form."""
        return False

    @property
    def paid(self) -> bool:
        """No."""
        return False

    def worst(self, questions: Sequence[Question]) -> tuple[int, float]:
        """Nothing is bought."""
        return 0, 0.0

    def faults(self) -> list[str]:
        """A model that is missing or has no usable chat template. No weights are read."""
        try:
            chat = self._loaded.chat if self._loaded else loading.chat_in(self.folder(), self.thinking)
            chat.question([Message("user", "?")])
        except HoldfastError as error:
            return [str(error)]
        problem = loading.why_not_four_bit() if self.four_bit else ""
        return [problem] if problem else []

    def folder(self, weights: bool = False) -> Path:
        """The model's folder; its weights are fetched only if they are asked for.

        Raises:
            ModelError: there is no such model.
        """
        return hub.resolve(self.model, self.revision, weights)

    def ask(
        self, questions: Iterable[Question], budget: Budget, seed: int | None = None, skip: Collection[str] = ()
    ) -> Stream[Reply, None, None]:
        """Replies in batches of similar length, the longest prompts first. Nothing is paid.

        A prompt that the chat template refuses, or that does not fit into the model's context, gets an `error`.
        """
        questions = list(questions)
        if all(question.id in skip for question in questions):
            return
        loaded, prompts = self.loaded, list[_Prompt]()
        for question in questions:
            prompt = self._prompt(loaded, question)
            if isinstance(prompt, _Prompt):
                prompts.append(prompt)
            elif question.id not in skip and self._share[0] == 0:
                yield prompt
        prompts.sort(key=lambda prompt: (-len(prompt.ids), prompt.question.id))
        with decoding.prepared(loaded, len(prompts)):
            first, every = self._share
            for start in range(first * self.batch_size, len(prompts), every * self.batch_size):
                batch = prompts[start : start + self.batch_size]
                if not all(prompt.question.id in skip for prompt in batch):
                    yield from (reply for reply in self._replies(loaded, batch, seed or 0) if reply.id not in skip)

    def _prompt(self, loaded: Loaded, question: Question) -> _Prompt | Reply:
        """A question in token ids, or the reply that says why it cannot be asked."""
        messages = question.messages
        try:
            if question.escape:
                messages = tuple(replace(turn, content=escaped(loaded.tokenizer, turn.content)) for turn in messages)
            ids = question.prompt_ids or loaded.chat.question(messages)
        except RenderError as error:
            return Reply(question.id, "error", model=self.name, detail=str(error))
        room = (loading.context_of(loaded.model) or len(ids) + question.max_tokens) - len(ids)
        if room <= 0:
            why = f"the prompt's {len(ids)} tokens do not fit into the {len(ids) + room} that the model can read"
            return Reply(question.id, "error", model=self.name, detail=why)
        return _Prompt(question, ids, pictures_of(messages), min(question.max_tokens, room))

    def _replies(self, loaded: Loaded, batch: Sequence[_Prompt], seed: int) -> Iterator[Reply]:
        """What the model generates for one batch, or chooses in it."""
        generated = [prompt for prompt in batch if not prompt.question.choices]
        if generated:
            longest = max(prompt.max_tokens for prompt in generated)
            drawn_by = int(content_hash([seed, [prompt.question.id for prompt in generated]]), 16)
            continuations = decoding.continue_each(
                loaded, [prompt.ids for prompt in generated], longest, self.temperature, self.top_p, drawn_by,
                [picture for prompt in generated for picture in prompt.pictures],
            )  # fmt: skip
            for prompt, ids in zip(generated, continuations, strict=True):
                yield self._reply(loaded, prompt, ids[: prompt.max_tokens])
        for choices in dict.fromkeys(prompt.question.choices for prompt in batch if prompt.question.choices):
            choosing = [prompt for prompt in batch if prompt.question.choices == choices]
            shown = [picture for prompt in choosing for picture in prompt.pictures]
            every = decoding.choose_each(loaded, [prompt.ids for prompt in choosing], choices, shown)
            for prompt, logprobs in zip(choosing, every, strict=True):
                likeliest = max(zip(logprobs, choices, strict=True))[1]
                named = tuple(zip(choices, logprobs, strict=True))
                reply = Reply(prompt.question.id, "ok", likeliest, model=self.name, tokens=1, logprobs=named)
                yield replace(reply, prompt_tokens=len(prompt.ids))

    def _reply(self, loaded: Loaded, prompt: _Prompt, ids: Sequence[int]) -> Reply:
        """The reply that generated token ids make: up to their end of turn, with the one outcome that they have."""
        before_end, ended = decoding.until_end(loaded, ids)
        completion = loaded.chat.completion(prompt.ids, before_end)
        tokens = len(before_end) + ended
        outcome: Outcome = "ok"
        detail = ""
        if not ended:
            outcome, detail = "truncated", f"no end of turn in {tokens} tokens"
            if not completion.finished_thinking:
                detail += ", all of them thinking"
        elif not completion.text:
            outcome, detail = "empty", "the model's reply is empty"
        return Reply(
            prompt.question.id, outcome, completion.text, completion.thinking, len(prompt.ids), tokens, self.name,
            detail,
        )  # fmt: skip
