"""What can be wrong with a model's files and with the way in which it is spoken to. No weights are read."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint
from holdfast.models import hub, loading
from holdfast.models.adapters import check_base
from holdfast.models.chat import Chat
from holdfast.study.checkpoints import brought_checkpoint
from holdfast.study.doctor.cost_model import Shape
from holdfast.study.doctor.findings import Diagnosis
from holdfast.study.schema import Study


def base_of(study: Study) -> Checkpoint:
    """The initial model, without its weights.

    Raises:
        ModelError: it is not there, or not safe to load.
    """
    folder = hub.resolve(study.model, study.revision, weights=False)
    return Checkpoint(str(folder), thinking=study.thinking)


def shape_of(folder: Path) -> Shape:
    """A model's shape, by its configuration and the headers of its weights."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = {**config, **(config.get("text_config") or {})}
    tensors = hub.tensor_shapes(folder)
    embeddings = [shape for name, shape in tensors.items() if "embed" in name and len(shape) == 2]
    layers, hidden = config.get("num_hidden_layers", 1), config.get("hidden_size", 1)
    vocabulary = max((shape[0] for shape in embeddings), default=config.get("vocab_size", 1))
    counted = sum(prod(shape) for shape in tensors.values())
    guessed = 12 * layers * hidden**2 + 2 * vocabulary * hidden
    return Shape(counted or guessed, layers, hidden, vocabulary, config.get("max_position_embeddings"))


def look_at_tokenizer(chat: Chat, shape: Shape, diagnosis: Diagnosis) -> None:
    """Whether the model embeds every token of its tokenizer."""
    if len(chat.tokenizer) > shape.vocabulary:
        diagnosis.add("fault", "model", f"its tokenizer has {len(chat.tokenizer)} tokens, but it embeds only "
                      f"{shape.vocabulary}: they do not belong together")  # fmt: skip


def look_at_format(chat: Chat, diagnosis: Diagnosis) -> None:
    """What is special about how the model is spoken to."""
    facts = diagnosis.attempt("model", loading.describe_chat, chat)
    if facts is None:
        return
    if facts["system_role"] != "native":
        what = "its chat template keeps no system turn: the text goes before the first user turn"
        diagnosis.add("note", "model", what)
    if facts["hidden_system"]:
        diagnosis.add("warning", "model", "where a template of the study has no system turn, its chat template writes "
                      f"one of its own: {facts['hidden_system']!r}")  # fmt: skip
    if facts["thinking"] == "always":
        diagnosis.add("note", "model", "it thinks before each answer: leave room for it in `max_new_tokens`")


def look_at_checkpoints(study: Study, base: Checkpoint, diagnosis: Diagnosis) -> None:
    """Whether the checkpoints that the study brings are there and fit their base."""
    for name, settings in study.conditions.items():
        if settings.checkpoint:
            where = f"conditions.{name}"
            checkpoint = diagnosis.attempt(where, brought_checkpoint, study, settings, base)
            if checkpoint and (doubt := diagnosis.attempt(where, check_fit, checkpoint, base)):
                diagnosis.add("warning", where, doubt)


def look_at_defences(study: Study, base: Checkpoint, diagnosis: Diagnosis) -> None:
    """Whether the model has what the study's defences need."""
    for name, settings in study.conditions.items():
        for defence in settings.defence:
            diagnosis.attempt(f"conditions.{name}.defence", defence.check, base)


def check_fit(checkpoint: Checkpoint, base: Checkpoint) -> str:
    """Make sure that an adapter's weights have their places in its base; what is doubtful about the two, or "".

    Raises:
        ModelError: they have not.
    """
    if not checkpoint.folder or not hub.is_adapter(checkpoint.folder):
        return ""
    base_shapes = hub.tensor_shapes(Path(base.base))
    for name, shape in hub.tensor_shapes(checkpoint.folder).items():
        if ".lora_" not in name or not base_shapes:
            continue
        module = name.removeprefix("base_model.model.").partition(".lora_")[0]
        target = base_shapes.get(f"{module}.weight") or base_shapes.get(module)
        fits = target and (shape[-1] == target[-1] if ".lora_A." in name else shape[0] == target[0])
        if not fits:
            raise ModelError(
                f"the adapter in {checkpoint.folder} does not fit its base: {name} has the shape {shape}, and its "
                f"place there {target or 'does not exist'}. It was made for another model."
            )
    return check_base(checkpoint.folder, Path(base.base))
