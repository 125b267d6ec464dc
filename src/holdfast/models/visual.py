"""Models that see: which they are, and how a conversation with pictures becomes what they take.

A picture in a conversation is one token in the text that the chat template writes. Before the text is split into
tokens, that token is written as many times as the model has features of the picture, as transformers' processors do.
Pictures are unpacked with Pillow, not with torchvision, so that the pixels are the same on all machines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.core.errors import ModelError, RenderError
from holdfast.core.pictures import MARK, Picture
from holdfast.core.types import Message
from holdfast.models import hub, templates
from holdfast.models.batches import Rendered
from holdfast.models.chat import Chat, Ids, TurnTexts

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

PROBE = "holdfast-part"
"""A text that no chat template writes by itself."""


@dataclass(frozen=True)
class Family:
    """How one kind of model sees."""

    tower: str
    """The name of the modules that see. They are never tuned."""
    projector: str
    """The name of the modules between what sees and what speaks."""
    patches: bool
    """Whether a picture has as many tokens as its size asks for; else all have the same number."""

    def sees(self, name: str) -> bool:
        """Whether a weight or module, by its name, is of what sees."""
        return f".{self.tower}." in f".{name}." and not self.projects(name)

    def projects(self, name: str) -> bool:
        """Whether it is of the projector."""
        return f".{self.projector}." in f".{name}."


FAMILIES = {
    "llava": Family("vision_tower", "multi_modal_projector", False),
    "qwen2_vl": Family("visual", "visual.merger", True),
    "qwen2_5_vl": Family("visual", "visual.merger", True),
}
"""`model_type` of a model's configuration → its family."""


def config_in(folder: Path) -> dict[str, Any]:
    """The configuration in a model's folder; empty where there is none."""
    path = folder / "config.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def sees(folder: Path) -> bool:
    """Whether a folder holds a model that sees, of a family that is known here."""
    config = config_in(folder)
    return config.get("model_type") in FAMILIES and "vision_config" in config


@dataclass(frozen=True)
class Eyes:
    """What turns pictures into what a model takes."""

    family: Family
    processor: Any
    """The image processor of `transformers`, with Pillow behind it."""
    token: str
    """The token that stands for a picture."""
    token_id: int
    settings: dict[str, Any]
    """`patch_size`, `vision_feature_select_strategy` and `num_additional_image_tokens` of a LLaVA."""

    def count(self, picture: Picture) -> int:
        """How many tokens a picture takes."""
        if not self.family.patches:
            return self._fixed
        patches = self.processor.get_number_of_image_patches(picture.height, picture.width, {})
        return int(patches) // int(self.processor.merge_size) ** 2

    @cached_property
    def _fixed(self) -> int:
        """The tokens of every picture of a LLaVA, by the size that its processor cuts pictures to."""
        grey = np.full((64, 96, 3), 128, dtype=np.uint8)
        height, width = self.processor([grey], return_tensors="pt")["pixel_values"].shape[-2:]
        patch = self.settings["patch_size"]
        n = (height // patch) * (width // patch) + self.settings["num_additional_image_tokens"]
        without_class: bool = self.settings["vision_feature_select_strategy"] == "default"
        return int(n) - int(without_class)

    def see(self, pictures: Sequence[Picture]) -> dict[str, torch.Tensor]:
        """What the model takes for pictures: `pixel_values`, and for Qwen's `image_grid_thw`."""
        return dict(self.processor([picture.image() for picture in pictures], return_tensors="pt"))


@dataclass(frozen=True)
class VisualChat(Chat):
    """The chat of a model that sees: as `Chat`, with pictures in their places."""

    eyes: Eyes | None = None
    """What it sees with."""

    @property
    def own_eyes(self) -> Eyes:
        """What it sees with, which every such chat has."""
        if self.eyes is None:
            raise ModelError("a chat with pictures needs the model's image processor.")
        return self.eyes

    @cached_property
    def takes_parts(self) -> bool:
        """Whether the template takes a turn as a list of texts and pictures; else it takes a text with marks."""
        text = self._probed([{"role": "user", "content": [{"type": "text", "text": PROBE}]}])
        return PROBE in text and "'type'" not in text and '"type"' not in text

    @cached_property
    def adds_end(self) -> bool:
        """Whether the end of turn is put behind answers here, because the template writes none, as LLaVA 1.5's."""
        turns = [Message("user", "u"), Message("assistant", PROBE)]
        end = str(self.tokenizer.eos_token or "")
        written = self._probed([{"role": turn.role, "content": self._content(turn)} for turn in turns])
        return bool(end) and PROBE in written and end not in written.partition(PROBE)[2]

    def _probed(self, conversation: Sequence[Mapping[str, Any]]) -> str:
        """A conversation as the template writes it; "" if it refuses it."""
        try:
            return templates.render(self.tokenizer, conversation, False) if self.tokenizer.chat_template else ""
        except templates.RefusedError:
            return ""

    def batch(self, ids: torch.Tensor, pictures: Sequence[Picture]) -> dict[str, torch.Tensor]:
        """`pixel_values` and what goes with them; nothing for rows without pictures."""
        if not pictures:
            return {}
        seen = self.own_eyes.see(pictures)
        if "image_grid_thw" in seen:
            seen["mm_token_type_ids"] = (ids == self.own_eyes.token_id).int()
        return seen

    def save(self, folder: Path) -> None:
        """The tokenizer and the image processor."""
        super().save(folder)
        self.own_eyes.processor.save_pretrained(folder)

    def _content(self, message: Message) -> Any:
        pieces = message.content.split(MARK) if message.pictures else [message.content]
        if not self.takes_parts:
            return self.own_eyes.token.join(pieces)
        return list(_parts(pieces))

    def _render(self, messages: Sequence[Message], generation_prompt: bool) -> str:
        end = str(self.tokenizer.eos_token)
        if self.adds_end:
            messages = [_ended(message, end) if message.role == "assistant" else message for message in messages]
        text = super()._render(messages, generation_prompt)
        if self.adds_end and text.rstrip().endswith(end):
            text = text.rstrip()
        return self._expanded(text, [picture for message in messages for picture in message.pictures])

    def _expanded(self, text: str, pictures: Sequence[Picture]) -> str:
        """The text with each picture's token as many times as the picture has features."""
        begin, *rest = text.split(self.own_eyes.token)
        if len(rest) != len(pictures):
            raise RenderError(
                f"the rendered conversation has {len(rest)} {self.own_eyes.token} token(s) for {len(pictures)} "
                "picture(s): the chat template leaves pictures out, or the text itself holds that token"
            )
        counts = (self.own_eyes.count(picture) for picture in pictures)
        return begin + "".join(self.own_eyes.token * n + piece for n, piece in zip(counts, rest, strict=True))

    def _supervise(self, turns: Sequence[TurnTexts], tokens: Mapping[str, list[int]]) -> Rendered:
        row = super()._supervise(turns, tokens)
        return replace(row, supervised=row.supervised & (row.input_ids != self.own_eyes.token_id))

    def has_all_of(self, pictures: Sequence[Picture], ids: Ids) -> bool:
        """Whether token ids hold the image tokens of these pictures, and no others."""
        return int((np.asarray(ids) == self.own_eyes.token_id).sum()) == sum(map(self.own_eyes.count, pictures))


def _parts(pieces: Sequence[str]) -> Iterator[dict[str, str]]:
    """A turn's texts and pictures, as chat templates of models that see take them."""
    for number, piece in enumerate(pieces):
        if number:
            yield {"type": "image"}
        text = piece.strip() if len(pieces) > 1 else piece
        if text or len(pieces) == 1:
            yield {"type": "text", "text": text}


def _ended(message: Message, end: str) -> Message:
    return message if message.content.endswith(end) else Message(message.role, message.content + end, message.pictures)


def load_chat(folder: Path, tokenizer: PreTrainedTokenizerBase, thinking: bool) -> VisualChat:
    """The chat of a model that sees, whose tokenizer is loaded.

    Raises:
        ModelError: its image processor is missing or cannot be read.
    """
    import transformers

    automatic: Any = transformers.AutoImageProcessor
    config = config_in(folder)
    try:
        processor = automatic.from_pretrained(folder, trust_remote_code=False, backend="pil")
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"{folder} has no image processor that can be read: {error}") from error
    token_id = config.get("image_token_id", config.get("image_token_index"))
    if not isinstance(token_id, int) or token_id >= len(tokenizer):
        raise ModelError(f"{folder}: its config.json has no `image_token_id` that its tokenizer knows.")
    tokenizer.chat_template = tokenizer.chat_template or hub.own_template(folder)
    token = str(tokenizer.convert_ids_to_tokens(token_id))
    return VisualChat(
        tokenizer, thinking, Eyes(FAMILIES[config["model_type"]], processor, token, token_id, _settings(folder, config))
    )


def _settings(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """How many features a LLaVA has of a picture, by its processor, and by its model where that does not say."""
    path = folder / "processor_config.json"
    own = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    vision = config["vision_config"]
    strategy = config.get("vision_feature_select_strategy", "default")
    with_class = 1 if str(vision.get("model_type", "clip_vision_model")).startswith("clip") else 0
    found = {
        "patch_size": own.get("patch_size") or vision.get("patch_size"),
        "vision_feature_select_strategy": own.get("vision_feature_select_strategy") or strategy,
        "num_additional_image_tokens": own.get("num_additional_image_tokens", with_class),
    }
    if config["model_type"] == "llava" and not found["patch_size"]:
        raise ModelError(f"{folder}: neither processor_config.json nor config.json has the `patch_size` of its eyes.")
    return found


def language_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the language model's tensors of a model that sees, by the names that they have in a model alone."""
    family = FAMILIES[config_in(folder)["model_type"]]
    shapes = {}
    for name, shape in hub.tensor_shapes(folder).items():
        if not family.sees(name) and not family.projects(name):
            alone = name.removeprefix("language_model.").replace("model.language_model.", "model.", 1)
            shapes[alone] = shape
    return shapes


def family_of(model: Any) -> Family | None:
    """The family of a model in memory; None where it does not see."""
    return FAMILIES.get(str(model.config.model_type)) if hasattr(model.config, "vision_config") else None


def freeze(model: Any, only_projector: bool = False) -> None:
    """Leave to tuning what may change: never what sees; and with `only_projector` nothing but the projector."""
    family = family_of(model)
    if family is None:
        return
    for name, weight in model.named_parameters():
        weight.requires_grad_(family.projects(name) if only_projector else not family.sees(name))


def seeing_modules(model: Any) -> list[str]:
    """The names of the modules with which a model in memory sees."""
    family = family_of(model)
    return [name for name, _ in model.named_modules() if family.sees(name)] if family else []
