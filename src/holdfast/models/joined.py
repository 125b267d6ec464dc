"""A language model joined to a vision tower by a projector, as LLaVA is (Liu et al. 2023, arXiv 2304.08485)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core.errors import ModelError
from holdfast.core.pictures import MARK
from holdfast.models.loading import load_tokenizer

LAYER = -2
"""The layer of the tower whose features are taken, where its configuration names no `feature_layer`: as LLaVA does."""


def join(text: Path, tower: Path, folder: Path, seed: int) -> None:
    """Write a model that sees: the weights of a language model and of a CLIP vision tower, and a new projector.

    The language model's weights stay as they are; its vocabulary gets one more token, `<image>`, which it never writes.
    So it answers conversations without pictures as before. The chat template is the language model's.

    Args:
        text: the language model's folder.
        tower: the folder of a CLIP model, or of its vision part, with its image processor.
        folder: where the joined model is written.
        seed: of the projector's first weights.

    Raises:
        ModelError: one of them is no such model.
    """
    import torch
    import transformers

    kinds: Any = transformers  # whose classes are typed in part
    try:
        language: Any = transformers.AutoModelForCausalLM.from_pretrained(
            text, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        eyes, processor = _tower(tower)
        tokenizer = load_tokenizer(text)
        tokenizer.add_special_tokens({"additional_special_tokens": [MARK]}, replace_extra_special_tokens=False)
        token = tokenizer.get_vocab()[MARK]
        if token >= language.get_input_embeddings().weight.shape[0]:
            language.resize_token_embeddings(token + 1)
        transformers.set_seed(seed)
        config = kinds.LlavaConfig(
            vision_config=eyes.config, text_config=language.config, image_token_id=token, image_token_index=token,
            vision_feature_layer=getattr(eyes.config, "feature_layer", LAYER), vision_feature_select_strategy="default",
            image_seq_length=(eyes.config.image_size // eyes.config.patch_size) ** 2,
            tie_word_embeddings=language.config.tie_word_embeddings,
        )  # fmt: skip
        model = kinds.LlavaForConditionalGeneration(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{text} and {tower} cannot be joined: {error}") from error
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    model.model.vision_tower.load_state_dict(eyes.state_dict())
    model.generation_config = language.generation_config
    model.generation_config.suppress_tokens = [token]
    model.save_pretrained(folder)
    kinds.LlavaProcessor(
        processor, tokenizer, patch_size=eyes.config.patch_size, vision_feature_select_strategy="default",
        chat_template=tokenizer.chat_template, num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip


def _tower(folder: Path) -> tuple[Any, Any]:
    """A CLIP vision model, and its image processor with Pillow behind it."""
    import torch
    import transformers

    kinds: Any = transformers
    model = kinds.CLIPVisionModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    processor = kinds.AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, backend="pil")
    return model, processor
