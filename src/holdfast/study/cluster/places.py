"""Where a model is, in words that hold on every machine: a shipped name, a Hub id with its revision, or a path."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

from holdfast.core.errors import ModelError
from holdfast.core.files import FOLDERS, MADE, locate, shown_name
from holdfast.core.types import Checkpoint
from holdfast.models import hub

OF_THE_HUB = re.compile(r"models--([^/]+)--([^/]+)/snapshots/([0-9a-f]{40})$")
"""The end of the path of a model that the Hub gave, in the cache of huggingface_hub."""


def on_any_machine(checkpoint: Checkpoint) -> Checkpoint:
    """A checkpoint whose paths another machine can find."""
    if checkpoint.served:
        return checkpoint
    return replace(
        checkpoint, base=_named(checkpoint.base), folder=checkpoint.folder and Path(_named(checkpoint.folder))
    )


def on_this_machine(checkpoint: Checkpoint) -> Checkpoint:
    """The same checkpoint with the paths of this machine; what is of the Hub is fetched if it is missing.

    Raises:
        ModelError: this machine does not have it.
    """
    if checkpoint.served:
        return checkpoint
    return replace(
        checkpoint, base=_found(checkpoint.base), folder=checkpoint.folder and Path(_found(checkpoint.folder))
    )


def _named(path: str | Path) -> str:
    """A name of a model: of a shipped world, of the Hub (`hub:OWNER/NAME@REVISION`), or its absolute path."""
    for name in MADE:
        if locate(name) == Path(path):
            return name
    if found := OF_THE_HUB.search(Path(path).as_posix()):
        return f"hub:{found[1]}/{found[2]}@{found[3]}"
    name = shown_name(Path(path))
    return name if name.startswith(tuple(FOLDERS)) else str(Path(path).absolute())


def _found(name: str | Path) -> str:
    """The path of a named model on this machine."""
    text = str(name)
    if text.startswith("hub:"):
        text, _, revision = text.removeprefix("hub:").partition("@")
        return str(hub.resolve(text, revision))
    if Path(text).is_absolute() and not Path(text).is_dir():
        raise ModelError(
            f"there is no folder {text} on {socket.gethostname()}. Every machine of the cluster must find the model: "
            "put it on a disk that all of them share, or name its id on the Hugging Face Hub."
        )
    return str(hub.resolve(text))
