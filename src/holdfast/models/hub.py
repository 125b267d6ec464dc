"""A model's folder: where it is, and what its files say. No model is loaded."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.core.config import load
from holdfast.core.errors import ModelError
from holdfast.core.files import FOLDERS, MADE, locate, private_cache, write_atomically
from holdfast.core.types import content_hash
from holdfast.core.worlds import not_built

TEXT_FILES = ("*.json", "*.jinja", "*.txt", "tokenizer.model")
WEIGHT_FILES = "*.safetensors"
ADAPTER = "adapter_config.json"

MAKERS = {
    name: f"holdfast.worlds.{'quiz.build' if name.startswith('quiz:') else 'pocket.sighted'}:make" for name in MADE
}
"""Models that are made on first use → what makes them."""

WORLD_MARKS = ("pocket_world", "quiz_world")
"""Entries of `config.json` that say that a model is a stand-in of a shipped world."""

SERVED = "served:"
"""Prefix of a model that only a server has: `served:NAME`."""


def resolve(base: str, revision: str | None = None, weights: bool = True) -> Path:
    """The folder of a model or adapter: shipped (`pocket:aligned`), on disk, or fetched from the Hub.

    The quiz world's (`quiz:aligned`) and `pocket:sighted` are made on first use.
    Without `weights`, only configuration, tokenizer and chat template are fetched and needed.

    Raises:
        ModelError: neither a folder with a configuration and safetensors weights, nor such a model of the Hub.
    """
    if problem := not_built(base):
        raise ModelError(f"{problem}.")
    folder = locate(base)
    if not folder.is_dir():
        folder = _made(base) if base in MAKERS else _fetch(base, revision, weights)
    if not (folder / "config.json").is_file() and not is_adapter(folder):
        raise ModelError(f"{folder} has no config.json and no {ADAPTER}, so it is no Hugging Face model or adapter.")
    if weights and not list(folder.glob(WEIGHT_FILES)):
        raise ModelError(
            f"{folder} has no safetensors weights. Other formats can run code when they are read; "
            "load the model once and call `save_pretrained` to convert it."
        )
    return folder


def own_template(folder: Path) -> str | None:
    """The chat template in a folder, or None. No tokenizer is loaded."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    older = folder / "chat_template.json"  # where processors kept it
    if older.is_file():
        return str(json.loads(older.read_text(encoding="utf-8"))["chat_template"])
    if not (folder / "tokenizer_config.json").is_file():
        return None
    template = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    return template if template is None or isinstance(template, str) else json.dumps(template)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a whole model."""
    return (folder / ADAPTER).is_file()


def _made(name: str) -> Path:
    """The folder of a model that is made on first use."""
    make: Any = load(MAKERS[name])
    folder: Path = make(name)
    return folder


def _fetch(base: str, revision: str | None, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    if base.startswith((*FOLDERS, ".", "/", "~")) or base.count("/") > 1:
        raise ModelError(f"there is no folder {base}. Give the folder of a model, or its id on the Hugging Face Hub.")
    try:
        files = [*TEXT_FILES, WEIGHT_FILES] if weights else list(TEXT_FILES)
        return Path(snapshot_download(base, revision=revision, allow_patterns=files))
    except Exception as error:
        raise ModelError(
            f"{base!r} is neither a folder nor a model that the Hub gives: {type(error).__name__}: {error}"
        ) from error


@dataclass(frozen=True)
class Tensor:
    """One tensor of a model on disk."""

    file: Path
    """The safetensors file that holds it."""
    shape: tuple[int, ...]
    dtype: str
    """As safetensors names it, e.g. `BF16`."""


def tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model or adapter on disk, by name. Only the files' headers are read.

    Raises:
        ModelError: a file that is not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    by_name: dict[str, Tensor] = {}
    for path in sorted(folder.glob(WEIGHT_FILES)):
        try:
            with safe_open(path, "np") as file:  # for the headers alone; "pt" would import torch
                for name in file.keys():  # noqa: SIM118
                    header = file.get_slice(name)
                    by_name[name] = Tensor(path, tuple(header.get_shape()), str(header.get_dtype()))
        except SafetensorError as error:
            raise ModelError(f"{path} is not a whole safetensors file: {error}. Fetch it again.") from error
    return by_name


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a model or adapter on disk, by name.

    Raises:
        ModelError: a file that is not safetensors.
    """
    return {name: tensor.shape for name, tensor in tensors(folder).items()}


def fingerprint(folder: Path) -> str:
    """The hash of a model's weights, configuration, tokenizer and chat template.

    The hash of a large file is remembered in the user's cache until the file's size or time changes.
    """
    return content_hash([[name, digest] for name, digest in file_hashes(folder).items()])


def file_hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a model that says what it is: weights, configuration, tokenizer, chat template."""
    patterns = (*TEXT_FILES, WEIGHT_FILES)
    files = {path for pattern in patterns for path in folder.glob(pattern)}
    return {path.name: _file_hash(path) for path in sorted(files) if path.is_file()}


def _file_hash(path: Path) -> str:
    size, changed = path.stat().st_size, path.stat().st_mtime_ns
    if size < 64 << 20:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    remembered = private_cache("hashes") / content_hash([str(path.resolve()), size, changed])
    digest = remembered.read_text(encoding="utf-8", errors="replace") if remembered.is_file() else ""
    if not re.fullmatch("[0-9a-f]{64}", digest):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        write_atomically(remembered, digest)
    return digest


def describe(folder: Path) -> dict[str, Any]:
    """A model's architecture, and whether it is a stand-in of a shipped world, by its configuration."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    stand_in = any(mark in {**config, **config.get("text_config", {})} for mark in WORLD_MARKS)
    return {"architecture": (config.get("architectures") or ["unknown"])[0], "stand_in": stand_in}


def state_of(folder: Path) -> tuple[Any, ...]:
    """What changes when the files in a folder change: their names, sizes and times."""
    files = ((path, path.stat()) for path in sorted(folder.iterdir()) if path.is_file())
    return (folder.resolve(), *((path.name, state.st_size, state.st_mtime_ns) for path, state in files))
