"""What a loaded model writes behind a prompt, and where it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.models.chat import question_batch
from holdfast.models.loading import Loaded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    top_p: float = 1.0, seed: int = 0,
) -> list[list[int]]:  # fmt: skip
    """The token ids that a model generates for each of a batch of prompts; greedily where the temperature is 0."""
    import torch

    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        torch.manual_seed(seed)
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    batch = question_batch(prompts, loaded.tokenizer.pad_token_id)
    device = loaded.model.device
    with torch.no_grad():
        generated = loaded.model.generate(
            input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device),
            max_new_tokens=max_new_tokens, pad_token_id=loaded.tokenizer.pad_token_id, **sampling,
        )  # fmt: skip
    new: list[list[int]] = generated[:, batch["input_ids"].shape[1] :].cpu().tolist()
    return new


def choose_each(
    loaded: Loaded, prompts: Sequence[Sequence[int]], choices: Sequence[str]
) -> list[list[float]]:  # fmt: skip
    """The log-probability of each choice as the first token behind each prompt, normalised over the choices.

    Raises:
        KeyError: a choice is not a token of the vocabulary.
    """
    import torch

    vocabulary = loaded.tokenizer.get_vocab()
    batch = question_batch(prompts, loaded.tokenizer.pad_token_id)
    batch["position_ids"] = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        inputs = {name: tensor.to(loaded.model.device) for name, tensor in batch.items()}
        logits = loaded.model(**inputs, logits_to_keep=1).logits[:, -1]
    chosen = logits[:, [vocabulary[choice] for choice in choices]].float()
    logprobs: list[list[float]] = chosen.log_softmax(-1).tolist()
    return logprobs
