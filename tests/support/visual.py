"""Tiny models that see, with random weights, and pictures: all written by the tests themselves."""

import io
import json
from pathlib import Path

LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""As LLaVA 1.5's own: parts in, no end of turn out."""

QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen2-VL's own, without videos."""

TEXT_TEMPLATE = (
    "{% for message in messages %}{{ '[' + message['role'] + '] ' + message['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
QWEN_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]


def tokenizer(special, template, **named):
    """One token for each byte, and special ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: place for place, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True) for token in special])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, **named)
    made.chat_template = template
    return made


def text_model(folder: Path):
    """A Llama of two layers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    made = tokenizer(["<s>", "</s>", "<pad>"], TEXT_TEMPLATE, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(made), bos_token_id=0, eos_token_id=1, pad_token_id=2, max_position_embeddings=512, **TEXT
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    made.save_pretrained(folder)
    return folder


def _clip(side=28):
    from transformers import CLIPVisionConfig
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=side, patch_size=14
    )
    return config, CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def tower(folder: Path):
    """A CLIP vision tower of two layers, which sees 28 × 28 pixels as four patches."""
    import torch
    from transformers import CLIPVisionModel

    config, processor = _clip()
    torch.manual_seed(1)
    CLIPVisionModel(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava(folder: Path):
    """A LLaVA 1.5 in small."""
    import torch
    from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    made = tokenizer(
        ["<s>", "</s>", "<pad>", "<image>"], LLAVA_TEMPLATE, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    vision, processor = _clip()
    text = LlamaConfig(
        vocab_size=len(made), bos_token_id=0, eos_token_id=1, pad_token_id=2, max_position_embeddings=2048, **TEXT
    )
    torch.manual_seed(2)
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=3, image_token_index=3, image_seq_length=4
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        processor, made, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def qwen(folder: Path):
    """A Qwen2.5-VL in small."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    made = tokenizer(QWEN_TOKENS, QWEN_TEMPLATE, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32, "patch_size": 14,
        "window_size": 56, "fullatt_block_indexes": [1],
    }  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0}
    text = {**TEXT, "vocab_size": len(made), "max_position_embeddings": 2048, "rope_parameters": rope,
            "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
    torch.manual_seed(3)
    config = Qwen2_5_VLConfig(
        vision_config=vision,
        text_config=text,
        vision_start_token_id=3,
        vision_end_token_id=4,
        image_token_id=5,
        video_token_id=6,
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    made.save_pretrained(folder)
    Qwen2VLImageProcessorPil(size={"shortest_edge": 784, "longest_edge": 12544}).save_pretrained(folder)
    return folder


def photo(seed=0, width=60, height=40, form="JPEG", **settings):
    """The bytes of a picture of noise."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(noise).save(file, form, **settings)
        return file.getvalue()


def llava_row(image="0.jpg", question="<image>\nWhat is this?", answer="A stone."):
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": "x", **({"image": image} if image else {}), "conversations": turns}


def album(folder: Path, n=4):
    """A folder of pictures, each of its own size, and LLaVA rows about them, the last one without a picture."""
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for i in range(n):
        (folder / "photos" / f"{i}.jpg").write_bytes(photo(i, 60 + 20 * i, 40 + 10 * i))
    rows = [llava_row(f"{i}.jpg", answer=f"Stone {i}.") for i in range(n)]
    rows.append(llava_row(None, "What grows here?", "Moss."))
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json", folder / "photos"
