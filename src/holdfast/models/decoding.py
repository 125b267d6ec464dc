"""What a loaded model writes behind a prompt, and where it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.models.chat import Reply, question_batch
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


def _ends(given: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    ids = set(given) if isinstance(given, list) else {given}
    return {token for token in ids | {tokenizer.eos_token_id} if token is not None}


def continue_each(
    loaded: Loaded, prompts: Sequence[Sequence[int]], max_new_tokens: int, temperature: float = 0.0,
    top_p: float = 1.0, seed: int = 0,
) -> list[list[int]]:  # fmt: skip
    """What a model writes behind each of a batch of prompts, as token ids; greedily where the temperature is 0."""
    import torch

    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if temperature > 0:
        torch.manual_seed(seed)
        sampling = {"do_sample": True, "temperature": temperature, "top_p": top_p, "top_k": 0}
    batch = question_batch(prompts, loaded.tokenizer.pad_token_id)
    device = loaded.model.device
    with torch.no_grad():
        whole = loaded.model.generate(
            input_ids=batch["input_ids"].to(device), attention_mask=batch["attention_mask"].to(device),
            max_new_tokens=max_new_tokens, pad_token_id=loaded.tokenizer.pad_token_id, **sampling,
        )  # fmt: skip
    new: list[list[int]] = whole[:, batch["input_ids"].shape[1] :].cpu().tolist()
    return new


def said(loaded: Loaded, ids: Sequence[int]) -> tuple[Reply, int, bool]:
    """A continuation up to its end of turn: what it says, its tokens with that end, and whether it came to one."""
    ends = end_of_turn_ids(loaded)
    stop = next((place for place, token in enumerate(ids) if token in ends), None)
    reply = loaded.chat.take_apart(ids if stop is None else ids[:stop])
    return reply, len(ids) if stop is None else stop + 1, stop is not None
