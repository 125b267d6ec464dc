"""What a loaded model writes behind a prompt, and where it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.core.pictures import Picture
from holdfast.models import visual
from holdfast.models.batches import question_batch
from holdfast.models.loading import Loaded
from holdfast.models.steps import greedy, lean, packed, sampled

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

FEW = 16
"""Prompts up to which it does not pay to pack a model's weights for them."""

WITHOUT_RULES = {
    "_from_model_config", "bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "use_cache",
    "cache_implementation", "max_length", "max_new_tokens", "do_sample", "temperature", "top_p", "top_k", "min_p",
    "typical_p", "epsilon_cutoff", "eta_cutoff",
}  # fmt: skip
"""Settings of a generation configuration that change no greedy answer of a given length."""

FOR_DRAWING = {"min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"}
"""Those of them that change what is drawn at a temperature."""

KEPT_RULES = {"suppress_tokens"}
"""Settings that the lean pass of a model that sees keeps."""

_PREPARED: dict[int, lean.Lean] = {}
"""By the identity of a model that is being asked."""


def end_of_turn_ids(loaded: Loaded) -> set[int]:
    """The tokens that end an answer, by the tokenizer and the model's generation configuration."""
    return _ends(getattr(loaded.model.generation_config, "eos_token_id", None), loaded.tokenizer)


def configured_end_of_turn_ids(folder: Path, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """As `end_of_turn_ids`, from a model's files."""
    names = [name for name in ("generation_config.json", "config.json") if (folder / name).is_file()]
    configs = [json.loads((folder / name).read_text(encoding="utf-8")) for name in names]
    return _ends(next((c["eos_token_id"] for c in configs if "eos_token_id" in c), None), tokenizer)


def _ends(configured: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    ids = set(configured) if isinstance(configured, list) else {configured}
    return {token for token in ids | {tokenizer.eos_token_id} if token is not None}


def until_end(loaded: Loaded, ids: Sequence[int]) -> tuple[Sequence[int], bool]:
    """Generated token ids up to their end of turn, and whether there is one."""
    ends = end_of_turn_ids(loaded)
    stop = next((i for i, token in enumerate(ids) if token in ends), None)
    return (ids, False) if stop is None else (ids[:stop], True)


def continue_each(
    loaded: Loaded, prompts: Sequence[Sequence[int]], max_new_tokens: int, temperature: float = 0.0,
    top_p: float = 1.0, seed: int = 0, pictures: Sequence[Picture] = (),
) -> list[list[int]]:  # fmt: skip
    """The token ids that a model generates for each of a batch of prompts; greedily where the temperature is 0.

    `pictures` are what the image tokens of all prompts stand for, in order.
    """
    import torch

    whole = temperature == 0 or top_p == 1.0
    if whole and not pictures and (pass_ := _lean_pass(loaded, temperature > 0)):
        ends = frozenset(end_of_turn_ids(loaded))
        if temperature == 0:
            return greedy.continue_each(pass_, prompts, max_new_tokens, ends)
        return sampled.continue_each(pass_, prompts, max_new_tokens, ends, temperature, seed)
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        torch.manual_seed(seed)
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    batch = _batch(loaded, prompts, pictures)
    with torch.no_grad():
        generated = loaded.model.generate(
            **{name: tensor.to(loaded.model.device) for name, tensor in batch.items()},
            max_new_tokens=max_new_tokens, pad_token_id=loaded.tokenizer.pad_token_id, **sampling,
        )  # fmt: skip
    new: list[list[int]] = generated[:, batch["input_ids"].shape[1] :].cpu().tolist()
    return new


def _batch(loaded: Loaded, prompts: Sequence[Sequence[int]], pictures: Sequence[Picture]) -> dict[str, torch.Tensor]:
    """Prompts as the model takes them, padded on the left, with their pictures."""
    batch = question_batch(prompts, int(loaded.tokenizer.pad_token_id or 0))
    return batch | loaded.chat.batch(batch["input_ids"], pictures)


@contextmanager
def prepared(loaded: Loaded, n: int) -> Iterator[None]:
    """Have `continue_each` ask a model as fast as it can, for as long as the model's weights stay as they are.

    Args:
        loaded: the model.
        n: prompts that it will be asked about.
    """
    if n >= FEW and packed.pays(loaded.model) and (pass_ := lean.lean(loaded.model, packed.projection)):
        _PREPARED[id(loaded.model)] = pass_
    try:
        yield
    finally:
        _PREPARED.pop(id(loaded.model), None)


def _lean_pass(loaded: Loaded, drawing: bool) -> lean.Lean | None:
    """The lean pass of a model that `generate` asks without rules of its own; else None."""
    harmless = WITHOUT_RULES - FOR_DRAWING if drawing else WITHOUT_RULES
    asked_for = loaded.model.generation_config.to_diff_dict()
    if visual.family_of(loaded.model) is not None:
        harmless = harmless | KEPT_RULES
    if any(value not in (None, False) for name, value in asked_for.items() if name not in harmless):
        return None
    return _PREPARED.get(id(loaded.model)) or lean.lean(loaded.model)


def choose_each(
    loaded: Loaded, prompts: Sequence[Sequence[int]], choices: Sequence[str], pictures: Sequence[Picture] = ()
) -> list[list[float]]:
    """The log-probability of each choice as the first token behind each prompt, normalised over the choices.

    Raises:
        KeyError: a choice is not a token of the vocabulary.
    """
    import torch

    vocabulary = loaded.tokenizer.get_vocab()
    batch = _batch(loaded, prompts, pictures)
    if visual.family_of(loaded.model) is None:  # those that see count positions themselves
        batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        inputs = {name: tensor.to(loaded.model.device) for name, tensor in batch.items()}
        logits = loaded.model(**inputs, logits_to_keep=1).logits[:, -1]
    chosen = logits[:, [vocabulary[choice] for choice in choices]].float()
    logprobs: list[list[float]] = chosen.log_softmax(-1).tolist()
    return logprobs
