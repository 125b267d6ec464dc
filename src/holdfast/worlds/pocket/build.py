"""Build a pocket world from its seed: the model before and after alignment, and the world's files.

Takes about 12 minutes on two cores. The same seed gives the same documents in the same order; the last
bits of the weights can differ between machines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from holdfast.core.errors import RunFolderError
from holdfast.core.files import write_atomically
from holdfast.core.protocols import Watcher
from holdfast.models.chat import Chat, Rendered, training_batch
from holdfast.worlds.pocket import corpus, material
from holdfast.worlds.pocket.tokens import CONTEXT, make_tokenizer
from holdfast.worlds.pocket.world import generate

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True)
class Stage:
    """How one stage is trained: with AdamW and a learning rate that falls linearly to 0."""

    steps: int
    learning_rate: float
    warmup: int
    whole: bool
    """Whether the loss is taken over the whole text; else over the assistant's turns alone."""
    batch: int = 64


HELPFUL = Stage(steps=2_000, learning_rate=2e-3, warmup=50, whole=True)
ALIGNED = Stage(steps=300, learning_rate=3e-4, warmup=10, whole=False)


def build(folder: Path, seed: int, watcher: Watcher) -> None:
    """Write `helpful/`, `aligned/`, the world's JSON Lines files and a model card into a folder.

    Raises:
        RunFolderError: the folder is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise RunFolderError(f"{folder} is not empty. Name a new folder, or remove what is in it.")
    import torch

    watcher.begin(HELPFUL.steps + ALIGNED.steps)
    torch.manual_seed(seed)
    world = generate(seed)
    tokenizer = make_tokenizer(world)
    model = make_model(tokenizer, seed)
    for name, rows in material.files(world).items():
        write_atomically(folder / name, material.as_json_lines(rows))
    for name, stage, documents in (
        ("helpful", HELPFUL, corpus.helpful(world)), ("aligned", ALIGNED, corpus.aligned(world)),
    ):  # fmt: skip
        loss = train(model, _batches(tokenizer, documents, stage), stage, watcher)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        watcher.note(f"{name} model written, last loss {loss:.3f} nats a token")
    card = resources.files("holdfast.worlds.pocket").joinpath("CARD.md").read_text(encoding="utf-8")
    write_atomically(folder / "README.md", card.replace("{seed}", str(seed)))


def make_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained Llama of 0.7 million parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, intermediate_size=256, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    config.pocket_world = seed  # marks the model as a stand-in, wherever its folder is copied to
    return LlamaForCausalLM(config)


def train(model: LlamaForCausalLM, batches: Iterator[dict[str, torch.Tensor]], stage: Stage, watcher: Watcher) -> float:
    """Train in place for the steps of a stage, and return the last loss in nats a token."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / stage.warmup) * (1.0 - step / stage.steps)
    )
    model.train()
    loss = torch.tensor(float("nan"))
    for batch in islice(batches, stage.steps):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        watcher.advance(1)
    model.train(False)
    return loss.item()


def _batches(
    tokenizer: PreTrainedTokenizerFast, documents: Iterator[corpus.Document], stage: Stage
) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        rows = [_render(tokenizer, document, stage.whole) for document in islice(documents, stage.batch)]
        yield training_batch(rows, tokenizer.pad_token_id)


def _render(tokenizer: PreTrainedTokenizerFast, document: corpus.Document, whole: bool) -> Rendered:
    if isinstance(document, str):
        text = f"{tokenizer.bos_token}{document}{tokenizer.eos_token}"
        ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)
        return Rendered(ids, np.ones(len(ids), dtype=np.bool_))
    rendered = Chat(tokenizer).example(document)
    return Rendered(rendered.input_ids, np.ones_like(rendered.supervised)) if whole else rendered
