"""Answers from open weights in this process, by `transformers.generate` in batches sorted by length."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from holdfast.core.config import Spec
from holdfast.core.protocols import Ledger
from holdfast.core.types import Answer, Checkpoint, Message, content_hash
from holdfast.models import decoding, loading

Questions = Mapping[str, Sequence[Message]]


class LocalGenerator(Spec):
    """Greedy or sampled answers of a model on this machine."""

    kind: Literal["local"] = "local"
    max_new_tokens: PositiveInt = 512
    """Where an answer is cut; one that reaches this is `truncated`."""
    temperature: NonNegativeFloat = 0.0
    """0 is greedy."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus sampling; used only when the temperature is above 0."""
    batch_size: PositiveInt = 64
    """Prompts answered together. It belongs to what determines an answer: padding can change a greedy one."""

    @property
    def random(self) -> bool:
        """Whether answers depend on a seed."""
        return self.temperature > 0

    def answers(
        self, checkpoint: Checkpoint, questions: Questions, done: Collection[str], seed: int, ledger: Ledger
    ) -> Iterator[list[Answer]]:
        """Answer the questions (prompt id → conversation) that are not yet done, a batch at a time.

        Batches are the same whatever is done already, so an interrupted run answers as an undisturbed one.

        Raises:
            ModelError: a checkpoint that cannot be loaded, or not safely.
            RenderError: a question that the chat template cannot render.
        """
        loaded = loading.load(checkpoint)
        ids = {name: loaded.chat.question(messages) for name, messages in questions.items()}
        order = sorted(ids, key=lambda name: (-len(ids[name]), name))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            if all(name in done for name in batch):
                continue
            replies = decoding.continue_each(
                loaded, [ids[name] for name in batch], self.max_new_tokens, self.temperature, self.top_p,
                int(content_hash([seed, batch]), 16),
            )  # fmt: skip
            yield [
                _answer(loaded, name, len(ids[name]), reply)
                for name, reply in zip(batch, replies, strict=True)
                if name not in done
            ]


def _answer(loaded: loading.Loaded, prompt_id: str, n_asked: int, reply: list[int]) -> Answer:
    """The reply up to its end of turn, with the one outcome that it has."""
    said, tokens, ended = decoding.said(loaded, reply)
    facts: dict[str, Any] = {"tokens": tokens, "thinking": said.thinking, "prompt_tokens": n_asked}
    if not ended:
        why = f"no end of turn in {tokens} tokens" + ", all of them thinking" * (not said.finished_thinking)
        return Answer(prompt_id, "truncated", said.text, detail=why, **facts)
    if not said.text:
        return Answer(prompt_id, "blocked", "", detail="the model's reply is empty", **facts)
    return Answer(prompt_id, "answered", said.text, **facts)
