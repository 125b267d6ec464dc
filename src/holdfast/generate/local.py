"""Answers from open weights in this process, by `transformers.generate` in batches sorted by length."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from holdfast import models
from holdfast.chat import question_batch
from holdfast.protocols import Ledger
from holdfast.spec import Spec
from holdfast.types import Answer, Checkpoint, Message, content_hash

if TYPE_CHECKING:
    import torch

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
        loaded = models.load(checkpoint)
        ids = {name: loaded.chat.question(messages) for name, messages in questions.items()}
        order = sorted(ids, key=lambda name: (-len(ids[name]), name))
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            if all(name in done for name in batch):
                continue
            replies = self._generate(loaded, [ids[name] for name in batch], content_hash([seed, batch]))
            yield [
                _answer(loaded, name, len(ids[name]), reply)
                for name, reply in zip(batch, replies, strict=True)
                if name not in done
            ]

    def _generate(self, loaded: models.Loaded, prompts: Sequence[Sequence[int]], seed: str) -> torch.Tensor:
        """New token ids, of shape [prompts, longest reply]; shorter replies are padded on the right."""
        import torch

        if self.random:
            torch.manual_seed(int(seed, 16))
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if self.random:
            sampling = {"do_sample": True, "temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        batch = question_batch(prompts, loaded.tokenizer.pad_token_id)
        device = loaded.model.device
        with torch.no_grad():
            whole = loaded.model.generate(
                input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device),
                max_new_tokens=self.max_new_tokens, pad_token_id=loaded.tokenizer.pad_token_id, **sampling,
            )  # fmt: skip
        new: torch.Tensor = whole[:, batch["input_ids"].shape[1] :].cpu()
        return new


def _answer(loaded: models.Loaded, prompt_id: str, n_asked: int, reply: torch.Tensor) -> Answer:
    """The reply up to its end of turn, with the one outcome that it has."""
    ends = models.end_of_turn_ids(loaded)
    ids = reply.tolist()
    stop = next((place for place, token in enumerate(ids) if token in ends), None)
    said = loaded.chat.take_apart(ids if stop is None else ids[:stop])
    tokens = len(ids) if stop is None else stop + 1
    facts: dict[str, Any] = {"tokens": tokens, "thinking": said.thinking, "prompt_tokens": n_asked}
    if stop is None:
        why = f"no end of turn in {tokens} tokens" + ", all of them thinking" * (not said.finished_thinking)
        return Answer(prompt_id, "truncated", said.text, detail=why, **facts)
    if not said.text:
        return Answer(prompt_id, "blocked", "", detail="the model's reply is empty", **facts)
    return Answer(prompt_id, "answered", said.text, **facts)
