"""A judge whose weights are read in this process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, PositiveInt, ValidationInfo

from holdfast.core.config import Spec
from holdfast.core.errors import HoldfastError, RenderError
from holdfast.core.files import FOLDERS, locate
from holdfast.core.protocols import Ledger
from holdfast.core.types import Checkpoint, Message, content_hash
from holdfast.judges.delimiters import disarmed
from holdfast.models import decoding, hub, loading
from holdfast.models.chat import Chat
from holdfast.models.samplers import Question, Said

_LOADED: dict[tuple[Checkpoint, loading.Precision, bool], loading.Loaded] = {}
"""What this process has read: a judge is loaded once."""


def _beside(model: str, info: ValidationInfo) -> str:
    folder = locate(model, (info.context or {}).get("folder"))
    return str(folder.resolve()) if folder.is_dir() and not model.startswith(tuple(FOLDERS)) else model


class Local(Spec):
    """A Hugging Face chat model in this process, greedy and in batches; loaded once."""

    kind: Literal["local"] = "local"
    model: Annotated[str, AfterValidator(_beside)]
    """A folder, or an id on the Hugging Face Hub."""
    revision: str | None = None
    """The Hub's revision; name one, so that the judge stays the same."""
    thinking: bool = False
    """Whether a reasoning model thinks before it replies; leave room for it in the judge's `max_tokens`."""
    batch_size: PositiveInt = 16
    precision: loading.Precision = "auto"
    four_bit: bool = False

    @cached_property
    def key(self) -> str:
        """The hash of its settings; of a folder, what is in it counts, not where it lies."""
        settings = self.model_dump(mode="json")
        folder = locate(self.model)
        return content_hash({**settings, "model": hub.fingerprint(folder)} if folder.is_dir() else settings)

    @property
    def takes_schema(self) -> bool:
        """No: nothing holds its words to a form."""
        return False

    @property
    def paid(self) -> bool:
        """No."""
        return False

    def worst(self, questions: Sequence[Question]) -> tuple[int, float]:
        """Nothing is bought."""
        return 0, 0.0

    def faults(self) -> list[str]:
        """A model that is not there, or cannot be spoken to."""
        try:
            folder = hub.resolve(self.model, self.revision, weights=False)
            Chat(loading.load_tokenizer(folder), self.thinking).question([Message("user", "?")])
            missing = loading.why_not_four_bit() if self.four_bit else ""
        except HoldfastError as error:
            return [str(error)]
        return [missing] if missing else []

    def ask(self, questions: Iterable[Question], ledger: Ledger) -> Iterator[Said]:
        """What is said to each question, a batch at a time, the longest questions first. It costs nothing."""
        asked = list(questions)
        if not asked:
            return
        loaded = self._load()
        room = getattr(loaded.model.config, "max_position_embeddings", None)
        ready: list[tuple[list[int], Question]] = []
        for question in asked:
            try:
                ids = loaded.chat.question([_harmless(loaded.chat, turn) for turn in question.messages])
            except RenderError as error:
                yield Said(question.id, "error", model=self.model, detail=str(error))
                continue
            if room and len(ids) + question.max_tokens > room:
                why = f"{len(ids)} tokens and {question.max_tokens} for the reply do not fit into {room}"
                yield Said(question.id, "error", model=self.model, detail=why)
                continue
            ready.append((ids, question))
        ready.sort(key=lambda pair: (-len(pair[0]), pair[1].id))
        for start in range(0, len(ready), self.batch_size):
            batch = ready[start : start + self.batch_size]
            longest = max(question.max_tokens for _, question in batch)
            replies = decoding.continue_each(loaded, [ids for ids, _ in batch], longest)
            for (_, question), reply in zip(batch, replies, strict=True):
                yield self._said(loaded, question, reply[: question.max_tokens])

    def _load(self) -> loading.Loaded:
        at = (Checkpoint(self.model, self.revision, thinking=self.thinking), self.precision, self.four_bit)
        if at not in _LOADED:
            _LOADED[at] = loading.load(*at)
        return _LOADED[at]

    def _said(self, loaded: loading.Loaded, question: Question, ids: list[int]) -> Said:
        reply, tokens, ended = decoding.said(loaded, ids)
        if not ended:
            why = f"no end of turn in {tokens} tokens"
            return Said(question.id, "truncated", reply.text, self.model, detail=why)
        if not reply.text:
            return Said(question.id, "empty", model=self.model, detail="the model's reply is empty")
        return Said(question.id, "ok", reply.text, self.model)


def _harmless(chat: Chat, turn: Message) -> Message:
    """A turn in which no text can be taken for one of the tokenizer's own marks."""
    added = chat.tokenizer.added_tokens_decoder.values()
    marks = {str(entry.content) for entry in added if entry.special or entry.content[:1] in ("<", "[")}
    text = turn.content
    while found := next((mark for mark in marks if mark.strip() and mark in text), None):
        text = text.replace(found, disarmed(found))
    return Message(turn.role, text)
