"""Where the weights of a study's models come from: on this machine, from the Hub, or on a server."""

from __future__ import annotations

from pathlib import Path

from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint, content_hash
from holdfast.models import hub
from holdfast.models.adapters import check_base
from holdfast.study.schema import ConditionSettings, Study


def named_checkpoint(study: Study, model: str, revision: str | None) -> Checkpoint:
    """A model as a study names it.

    Raises:
        ModelError: it is missing, not safe to load, or one of its files was cut off.
    """
    if model.startswith(hub.SERVED):
        name = model.removeprefix(hub.SERVED)
        return Checkpoint(name, served=name, thinking=study.thinking)
    folder = hub.resolve(model, revision)
    hub.tensors(folder)  # reads the headers alone, which tell how long each file is
    return Checkpoint(str(folder), thinking=study.thinking)


def fingerprint(checkpoint: Checkpoint) -> str:
    """The hash of a checkpoint's own files; of its name where only a server has it."""
    if checkpoint.served:
        return content_hash(["served", checkpoint.served])
    return hub.fingerprint(checkpoint.folder or Path(checkpoint.base))


def brought_checkpoint(study: Study, settings: ConditionSettings, base: Checkpoint) -> Checkpoint:
    """The checkpoint that a condition names.

    Raises:
        ModelError: it is missing, its chat template differs from its base's and the study does not choose one, or it
            is an adapter that was made for another base.
    """
    checkpoint = named_checkpoint(study, str(settings.checkpoint), None)
    if checkpoint.served:
        return checkpoint
    folder = Path(checkpoint.base)
    own = hub.own_template(folder)
    root = folder if base.served else Path(base.base)
    if settings.chat_template is None and own is not None and own != hub.own_template(root):
        raise ModelError(
            f"{settings.checkpoint}: its chat template is not its base's, so the two would be asked differently. Set "
            "`chat_template: base` to ask it as its base is asked, or `chat_template: own` to ask it as it was tuned."
        )
    if hub.is_adapter(folder) and not base.served:
        check_base(folder, root)
    own_template = settings.chat_template == "own" and own is not None
    return Checkpoint(str(root), folder=folder, thinking=study.thinking, own_template=own_template)
