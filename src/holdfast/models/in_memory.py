"""A model that is in memory, saved once as a folder that a run can load in any of its processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from holdfast.core.errors import ModelError
from holdfast.core.files import private_cache, shown_name
from holdfast.core.workers import quiet
from holdfast.models import hub

INCIDENTAL = {"transformers_version", "is_local", "local_files_only", "_name_or_path"}
"""Settings that say where and by which version a file was written, and nothing of the model."""

WITH_INCIDENTALS = {"config.json", "generation_config.json", "tokenizer_config.json"}


def save(model: Any, tokenizer: Any = None) -> str:
    """Save a transformers model and its tokenizer, and return what a study calls it.

    The folder lies in the cache and is named by its content, so a model is kept once, and a run that is started again
    finds its own answers. A model that was loaded from a folder and not changed is called by that folder.

    Args:
        model: a transformers model of causal language.
        tokenizer: its tokenizer, with the chat template; read from where the model was loaded if not given.

    Raises:
        ModelError: it is no such model, an adapter, or its tokenizer is not known.
    """
    if hasattr(model, "peft_config"):
        raise ModelError(
            "a PEFT model cannot be a study's model. Save it with save_pretrained and name the folder as a condition's "
            "`checkpoint`, with its base as the study's `model`; or give what merge_and_unload() returns."
        )
    if not hasattr(model, "save_pretrained"):
        raise ModelError(
            f"expected a name, a folder, a transformers model, or (model, tokenizer); found {type(model).__name__}"
        )
    origin = str(getattr(model, "name_or_path", "") or "")
    draft = private_cache("models") / f".draft-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        model.save_pretrained(draft)
        (tokenizer or _tokenizer_of(origin)).save_pretrained(draft)
        return _settle(draft, Path(origin) if origin else None)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def name_of(model: Any) -> str:
    """What a study calls a model."""
    if isinstance(model, str | Path):
        return str(Path(model).resolve()) if Path(model).is_dir() else str(model)
    quiet()
    return save(*model) if isinstance(model, tuple) else save(model)


def _tokenizer_of(origin: str) -> Any:
    """The tokenizer from where a model was loaded."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(origin, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        where = f"in {origin!r}, where it was loaded" if origin else "for it does not say where it was loaded"
        raise ModelError(f"the model's tokenizer was not found {where}. Give both: (model, tokenizer).") from error


def _settle(draft: Path, origin: Path | None) -> str:
    """The name of a saved model: its origin if that is the same, else a folder in the cache with its content's hash."""
    if origin and origin.is_dir() and _same(draft, origin):
        return shown_name(origin)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", origin.name if origin else "model")
    folder = draft.with_name(f"{name}-{hub.fingerprint(draft)}")
    if not folder.is_dir():
        draft.replace(folder)
    return str(folder)


def _same(draft: Path, origin: Path) -> bool:
    """Whether a folder has all that was saved from memory, and says the same in it."""
    return all(
        (origin / path.name).is_file() and _content(path) == _content(origin / path.name) for path in draft.iterdir()
    )


def _content(path: Path) -> Any:
    """What a file says, without what differs each time it is written."""
    if path.name not in WITH_INCIDENTALS:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    settings = json.loads(path.read_text(encoding="utf-8"))
    return {name: value for name, value in settings.items() if name not in INCIDENTAL}
