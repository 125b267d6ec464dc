"""Tiny random checkpoints with the structure of the chat formats that the model families document."""

from pathlib import Path

FOLD = "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
"""Puts the system text into `system`, and the other turns into `turns`."""

CHATML = "{% for m in turns %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"

TEMPLATES = {
    # The system block stands inside the first instruction, and each instruction begins with BOS.
    "llama-2": FOLD
    + "{% for m in turns %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + ('<<SYS>>\n' + system + '\n<</SYS>>\n\n' if loop.first and system else '') + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}",
    # A system block with the dates is always there.
    "llama-3": FOLD + "{% if not date_string %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\nToday Date: ' + date_string + '\n\n' + system + '<|eot_id|>' }}"
    "{% for m in turns %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    # A default system turn.
    "qwen-2.5": FOLD
    + "{{ '<|im_start|>system\n' + (system or 'You are a model that helps its users.') + '<|im_end|>\n' }}"
    + CHATML
    + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # Thinking by a switch; what was thought in earlier turns is left out, the last turn has its block.
    "qwen-3": FOLD + "{% if system %}{{ '<|im_start|>system\n' + system + '<|im_end|>\n' }}{% endif %}"
    "{% for m in turns %}{% if m.role == 'assistant' %}"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip() if '</think>' in m.content else '' %}"
    "{% set said = m.content.split('</think>')[-1].lstrip() %}"
    "{{ '<|im_start|>assistant\n' + ('<think>\n' + thought + '\n</think>\n\n' if loop.last else '') + said + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
    # No system role; the assistant is called model.
    "gemma": "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    # The system text stands in the last instruction.
    "mistral": FOLD + "{{ bos_token }}{% for m in turns %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (system + '\n\n' if loop.last and system else '') + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    # An end of text behind the last turn of what is not a question.
    "phi": "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    # One token begins, ends and pads.
    "olmo": "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|assistant|>\n' + m.content + eos_token + ('' if loop.last else '\n') }}"
    "{% else %}{{ '<|' + m.role + '|>\n' + m.content + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
}

ARCHITECTURES = {
    "llama-2": "Llama", "llama-3": "Llama", "qwen-2.5": "Qwen2", "qwen-3": "Qwen3", "gemma": "Gemma2",
    "mistral": "Mistral", "phi": "Phi3", "olmo": "Olmo2",
}  # fmt: skip

SPECIAL = {
    "llama-2": ("<s>", "</s>", "</s>", ()),
    "llama-3": ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", ("<|start_header_id|>", "<|end_header_id|>")),
    "qwen-2.5": (None, "<|im_end|>", "<|im_end|>", ("<|im_start|>", "<|endoftext|>")),
    "qwen-3": (None, "<|im_end|>", "<|im_end|>", ("<|im_start|>", "<|endoftext|>")),
    "gemma": ("<bos>", "<eos>", "<end_of_turn>", ("<start_of_turn>",)),
    "mistral": ("<s>", "</s>", "</s>", ("[INST]", "[/INST]")),
    "phi": ("<s>", "<|endoftext|>", "<|end|>", ("<|system|>", "<|user|>", "<|assistant|>")),
    "olmo": ("<|endoftext|>", "<|endoftext|>", "<|endoftext|>", ("<|system|>", "<|user|>", "<|assistant|>")),
}
"""BOS, the tokenizer's EOS, the end of a turn, and the other marks."""


def build(family: str, folder: Path, seed: int = 0, template: str | None = None, positions: int = 1024) -> Path:
    """A checkpoint of two layers in a folder, as a model of the family would lie there."""
    import torch
    import transformers
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    bos, eos, end, others = SPECIAL[family]
    marks = list(dict.fromkeys(mark for mark in (bos, eos, end, *others) if mark))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens(marks)
    if family == "qwen-3":
        inner.add_tokens([AddedToken("<think>", special=False), AddedToken("</think>", special=False)])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token=bos, eos_token=eos)
    tokenizer.chat_template = template or TEMPLATES[family]
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in marks}
    shape = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 64, "max_position_embeddings": positions,
        "bos_token_id": ids.get(bos), "eos_token_id": ids[eos], "pad_token_id": None,
    }  # fmt: skip
    torch.manual_seed(seed)
    name = ARCHITECTURES[family]
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**shape))
    model.generation_config.eos_token_id = sorted({ids[eos], ids[end]})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
