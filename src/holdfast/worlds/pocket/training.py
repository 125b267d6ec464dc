"""How a stage of the pocket model is trained: in packed batches, with a state that a stopped build goes on from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.core.durable import rename
from holdfast.core.progress import OnStep, TuningStep
from holdfast.models.batches import Rendered
from holdfast.models.chat import Chat
from holdfast.worlds.pocket import corpus

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SAVE_EVERY = 100
"""Steps between two times that the state is written."""

WIDTH = 128
"""Tokens of a packed row; documents have 14 to 70."""


@dataclass(frozen=True)
class Stage:
    """How one stage is trained: with a learning rate that falls linearly to 0."""

    steps: int
    learning_rate: float
    warmup: int
    whole: bool
    """Whether the loss is taken over the whole text; else over the assistant's turns alone."""
    batch: int = 64
    muon: bool = False
    """Whether the layers' matrices are trained with Muon, which needs fewer steps; else everything with AdamW."""


@dataclass(frozen=True)
class Batch:
    """Documents in packed rows: [rows, width], and the mask [rows, 1, width, width] that keeps them apart."""

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor
    """The next token where it is supervised, else -100."""


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, documents: Iterator[corpus.Document], stage: Stage,
    state: Path, on_step: OnStep,
) -> None:  # fmt: skip
    """Train in place for the steps of a stage, from where the file `state` says that an earlier build was stopped."""
    import torch

    optimizers = _optimizers(model, stage)
    begun = _resume(state, model, optimizers)
    for _ in islice(documents, begun * stage.batch):
        pass
    model.train()
    on_step(TuningStep(begun, stage.steps))
    for step in range(begun, stage.steps):
        batch = pack([render(tokenizer, each, stage.whole) for each in islice(documents, stage.batch)])
        value = loss_of(model, batch)
        model.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = stage.learning_rate * min(1.0, (step + 1) / stage.warmup) * (1.0 - step / stage.steps)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        on_step(TuningStep(step + 1, stage.steps, value.item()))
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == stage.steps:
            _save(state, step + 1, model, optimizers)
    model.train(False)


def _optimizers(model: LlamaForCausalLM, stage: Stage) -> list[torch.optim.Optimizer]:
    """AdamW for everything; or Muon (Jordan et al. 2024) for the layers' matrices, and AdamW for the rest.

    Muon's steps are scaled as Moonlight's are (Liu et al. 2025, arXiv 2502.16982), so that both take one learning rate.
    """
    import torch

    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        (matrices if stage.muon and weight.ndim == 2 and "embed" not in name else rest).append(weight)
    adam = torch.optim.AdamW(rest, lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    if not matrices:
        return [adam]
    muon = torch.optim.Muon(matrices, lr=stage.learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    return [muon, adam]


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """The mean loss over the supervised tokens. Only for these are the logits computed."""
    import torch

    hidden = model.model(
        input_ids=batch.input_ids, position_ids=batch.position_ids, attention_mask=batch.mask, use_cache=False
    ).last_hidden_state
    supervised = batch.targets != -100
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[supervised]), batch.targets[supervised])


def pack(documents: Sequence[Rendered], width: int = WIDTH) -> Batch:
    """Documents in few rows, the longest first. The loss is that of padded rows, without the padding."""
    import torch

    rows: list[list[Rendered]] = []
    for document in sorted(documents, key=lambda each: -len(each.input_ids)):
        room = (row for row in rows if _length(row) + len(document.input_ids) <= width)
        row = next(room, None)
        if row is None:
            rows.append([document])
        else:
            row.append(document)
    shape = (len(rows), max(width, *(len(each.input_ids) for each in documents)))
    ids, positions, owner = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    targets = np.full(shape, -100)
    for place, row in enumerate(rows):
        at = 0
        for number, document in enumerate(row, 1):
            end = at + len(document.input_ids)
            ids[place, at:end] = document.input_ids
            positions[place, at:end] = np.arange(end - at)
            owner[place, at:end] = number
            targets[place, at : end - 1] = np.where(document.supervised[1:], document.input_ids[1:], -100)
            at = end
    seen = (owner[:, :, None] == owner[:, None, :]) & np.tril(np.ones((shape[1], shape[1]), dtype=np.bool_))
    return Batch(*map(torch.from_numpy, (ids, positions, seen[:, None], targets)))


def _length(row: Sequence[Rendered]) -> int:
    return sum(len(document.input_ids) for document in row)


def render(tokenizer: PreTrainedTokenizerFast, document: corpus.Document, whole: bool) -> Rendered:
    """A document in token ids, with what is supervised."""
    if isinstance(document, str):
        text = f"{tokenizer.bos_token}{document}{tokenizer.eos_token}"
        ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)
        return Rendered(ids, np.ones(len(ids), dtype=np.bool_))
    rendered = Chat(tokenizer).example(document)
    return Rendered(rendered.input_ids, np.ones_like(rendered.supervised)) if whole else rendered


def _save(state: Path, step: int, model: LlamaForCausalLM, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Write where a stage is, whole or not at all."""
    import torch

    draft = state.with_suffix(".draft")
    content = {"step": step, "model": model.state_dict(),
               "optimizers": [optimizer.state_dict() for optimizer in optimizers]}  # fmt: skip
    torch.save(content, draft)
    rename(draft, state)


def _resume(state: Path, model: LlamaForCausalLM, optimizers: Sequence[torch.optim.Optimizer]) -> int:
    """Set model and optimizers to where a stage was stopped; returns the steps done until then."""
    import torch

    if not state.is_file():
        return 0
    content: dict[str, Any] = torch.load(state, weights_only=True)
    model.load_state_dict(content["model"])
    for optimizer, kept in zip(optimizers, content["optimizers"], strict=True):
        optimizer.load_state_dict(kept)
    return int(content["step"])
