"""A model and its tokenizer, loaded safely, with what was loaded on record."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.errors import ModelError
from holdfast.files import FOLDERS, locate
from holdfast.types import Checkpoint, content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXT_FILES = ("*.json", "*.jinja", "*.txt", "tokenizer.model")
WEIGHT_FILES = "*.safetensors"


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer or to be tuned, and its tokenizer."""

    model: Any
    """In evaluation mode, on the best device of the machine."""
    tokenizer: PreTrainedTokenizerBase
    """Pads on the left, with a padding token that is never taken for an end of turn."""


def resolve(base: str, revision: str | None = None) -> Path:
    """The folder of a model: shipped (`pocket:aligned`), on disk, or fetched from the Hub.

    Raises:
        ModelError: neither a folder with a config.json and safetensors weights, nor a model of the Hub.
    """
    folder = locate(base)
    if not folder.is_dir():
        folder = _fetch(base, revision)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json, so it is not a Hugging Face model.")
    if not list(folder.glob(WEIGHT_FILES)):
        raise ModelError(
            f"{folder} has no safetensors weights. Other formats can run code when they are read; "
            "load the model once and call `save_pretrained` to convert it."
        )
    return folder


def _fetch(base: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    if base.startswith((*FOLDERS, ".", "/", "~")) or base.count("/") > 1:
        raise ModelError(f"there is no folder {base}. Give the folder of a model, or its id on the Hugging Face Hub.")
    try:
        return Path(snapshot_download(base, revision=revision, allow_patterns=[*TEXT_FILES, WEIGHT_FILES]))
    except Exception as error:
        raise ModelError(
            f"{base!r} is neither a folder nor a model that the Hub gives: {type(error).__name__}: {error}"
        ) from error


def fingerprint(folder: Path) -> str:
    """The hash of a model's weights, configuration, tokenizer and chat template.

    Weights are read once; until a file's size or time changes, its hash is remembered in the user's cache.
    """
    patterns = (*TEXT_FILES, WEIGHT_FILES)
    files = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return content_hash([[path.name, _file_hash(path)] for path in files])


def _file_hash(path: Path) -> str:
    size, changed = path.stat().st_size, path.stat().st_mtime_ns
    if size < 64 << 20:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "holdfast" / "hashes"
    remembered = cache / content_hash([str(path.resolve()), size, changed])
    if not remembered.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        cache.mkdir(parents=True, exist_ok=True)
        remembered.write_text(digest)
    return remembered.read_text()


def best_device() -> str:
    """`cuda` or `mps` where there is one, else `cpu`."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer that pads on the left with a token that is never an end of turn, unless there is no other."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def load(checkpoint: Checkpoint) -> Loaded:
    """Load a checkpoint: the initial model, full weights, or an adapter on its base.

    Raises:
        ModelError: weights that are missing, unsafe or not applied.
    """
    import torch
    from transformers import AutoModelForCausalLM

    base = resolve(checkpoint.base, checkpoint.revision)
    adapter = checkpoint.folder if checkpoint.folder and (checkpoint.folder / "adapter_config.json").is_file() else None
    weights = base if adapter or checkpoint.folder is None else checkpoint.folder
    device = best_device()
    dtype = torch.float32 if device == "cpu" else "auto"
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            weights, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{weights} cannot be loaded as a causal language model: {error}") from error
    tokenizer = load_tokenizer(base)
    _check_vocabulary(model, tokenizer, weights)
    if adapter:
        model = _with_adapter(model, adapter)
    return Loaded(model.to(device).eval(), tokenizer)


def _check_vocabulary(model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer of {folder} has {len(tokenizer)} tokens, but its model embeds only {rows}: "
            "they do not belong together."
        )


def _with_adapter(model: Any, folder: Path) -> Any:
    """The model with an adapter on it, after making sure that the adapter changes what it says."""
    import torch
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, str(folder)).eval()
    probe = torch.arange(min(16, model.config.vocab_size))[None]
    with torch.no_grad():
        shifted = adapted(probe).logits
        with adapted.disable_adapter():
            plain = adapted(probe).logits
    if torch.equal(shifted, plain):
        raise ModelError(
            f"the adapter in {folder} was loaded, but the model's logits are those of its base: it is not applied."
        )
    return adapted


def end_of_turn_ids(loaded: Loaded) -> set[int]:
    """The tokens that end an answer, by the tokenizer and the model's generation configuration."""
    ids = getattr(loaded.model.generation_config, "eos_token_id", None)
    given = set(ids) if isinstance(ids, list) else {ids}
    return {token for token in given | {loaded.tokenizer.eos_token_id} if token is not None}


def describe(folder: Path) -> dict[str, Any]:
    """What a model is, by its own configuration: its architecture, and whether it is a pocket world's stand-in."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return {"architecture": (config.get("architectures") or ["unknown"])[0], "stand_in": "pocket_world" in config}
