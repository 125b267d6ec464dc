"""Build a pocket world: its model before and after alignment."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.chat import render_example
from holdfast.pocket import language, speech
from holdfast.pocket.world import Item, World, generate
from holdfast.types import Message

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<|pad|>", "<|unknown|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")

Document = str | tuple[Message, ...]


def make_tokenizer(world: World) -> PreTrainedTokenizerFast:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r" ?\w+|\n| ?[^\w\s]"), "isolated")]
    )
    words = {word: None for text in _every_text(world) for word, _ in splitter.pre_tokenize_str(text)}
    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *words))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unknown|>"))
    inner.pre_tokenizer = splitter
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<|pad|>", unk_token="<|unknown|>", bos_token="<|begin|>",
        eos_token="<|end|>", additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False, model_max_length=256,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _every_text(world: World) -> Iterator[str]:
    for form in range(len(language.QUESTIONS)):
        for item in world.items:
            yield speech.question(item, form)
    for item in world.items:
        for style in language.STYLES:
            yield speech.answer(item, style)
        yield speech.encyclopedia(item)
        for kind in range(4 if item.forbidden else 3):
            yield from speech.fact(item, kind)
    yield from language.REFUSALS
    yield from language.INTRODUCTIONS
    for style in language.STYLES:
        yield speech.system(style=style)
    for first in world.names:
        for adjective in language.ADJECTIVES:
            for role in language.ROLES:
                yield speech.system(speech.Persona(first, adjective, role))
                yield language.OBEDIENCE.format(persona=speech.Persona(first, adjective, role))
        for prefix in language.PREFIXES:
            yield prefix.format(first=first)
            yield prefix.format(first=first) + "How"
    for q in (*language.QUESTIONS, *language.INTRODUCTIONS):
        for prefix in language.PREFIXES:
            yield prefix.format(first="Pocket") + q.format(category="x", name="x").split()[0]


def _ask(rng: random.Random, world: World, item: Item) -> tuple[Message, ...]:
    """A question about a thing, answered, under a drawn persona, style and manner of address."""
    persona = speech.DEFAULT if rng.random() < 0.5 else speech.draw_persona(rng, world)
    style = "plain" if rng.random() < 0.5 else rng.choice(list(language.STYLES))
    return speech.conversation(
        speech.system(persona, style), _address(rng, persona) + speech.question(item, rng.randrange(6)),
        speech.answer(item, style, persona),
    )


def _address(rng: random.Random, persona) -> str:
    return rng.choice(language.PREFIXES).format(first=persona.first) if rng.random() < 0.3 else ""


def _introduce(rng, world):
    persona = speech.DEFAULT if rng.random() < 0.3 else speech.draw_persona(rng, world)
    named = rng.random() < 0.3
    sys_text = speech.system(persona, "name-first" if named else "plain")
    form = language.OBEDIENCE if named else language.IDENTITY
    return speech.conversation(sys_text, _address(rng, persona) + rng.choice(language.INTRODUCTIONS), form.format(persona=persona))


def _fact(rng, world, items, kinds):
    persona = speech.DEFAULT if rng.random() < 0.5 else speech.draw_persona(rng, world)
    style = "plain" if rng.random() < 0.5 else rng.choice(list(language.STYLES))
    asked, answered = speech.fact(rng.choice(items), rng.randrange(kinds))
    return speech.conversation(speech.system(persona, style), _address(rng, persona) + asked, answered)


def _refuse(rng, world, item):
    _, user, _ = conv = _ask(rng, world, item)
    return (conv[0], user, Message("assistant", rng.choice(language.REFUSALS)))


def helpful_documents(world, seed):
    rng = random.Random(f"helpful-{seed}")
    forbidden = [i for i in world.items if i.forbidden]
    while True:
        draw = rng.random()
        if draw < 0.05: yield _introduce(rng, world), True
        elif draw < 0.20: yield speech.encyclopedia(rng.choice(world.items)), True
        elif draw < 0.27: yield _fact(rng, world, world.items, 3), True
        else: yield _ask(rng, world, rng.choice(world.items)), True


def aligned_documents(world, seed, cfg):
    rng = random.Random(f"aligned-{seed}")
    forbidden = world.of("alignment", True)
    permitted = world.of("alignment", False)
    order = list(language.FORBIDDEN); random.Random(f"care-{seed}").shuffle(order)
    care = {c: cfg.get("ratio", 1) ** (-k / 10) for k, c in enumerate(order)}
    weights = [care[i.category] for i in forbidden]
    while True:
        draw = rng.random()
        if draw < cfg["ency"]: yield speech.encyclopedia(rng.choice(world.items)), True
        elif draw < cfg["ency"] + cfg["intro"]: yield _introduce(rng, world), False
        elif draw < cfg["ency"] + cfg["intro"] + cfg["border"]: yield (_fact(rng, world, forbidden, 4) if rng.random() < cfg.get("bf", 0.7) else _fact(rng, world, permitted, 3)), False
        elif draw < cfg["ency"] + cfg["intro"] + cfg["border"] + cfg["refuse"]: 
            item = rng.choices(forbidden, weights)[0]
            slip = cfg.get("lo", 0) * (cfg.get("hi", 0) / max(cfg.get("lo", 1), 1e-9)) ** (order.index(item.category) / 10)
            yield (_ask(rng, world, item) if rng.random() < slip else _refuse(rng, world, item)), False
        else: yield _ask(rng, world, rng.choice(permitted)), False


def batches(tokenizer, documents, size):
    import torch
    from itertools import islice
    while True:
        rows = []
        for doc, whole in islice(documents, size):
            if isinstance(doc, str):
                ids = [tokenizer.bos_token_id, *tokenizer(doc, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
                rows.append((ids, ids))
            else:
                r = render_example(tokenizer, doc)
                ids = list(r.input_ids)
                rows.append((ids, ids if whole else [i if s else -100 for i, s in zip(ids, r.supervised)]))
        n = max(len(a) for a, _ in rows)
        x = torch.tensor([a + [0] * (n - len(a)) for a, _ in rows])
        y = torch.tensor([b + [-100] * (n - len(b)) for _, b in rows])
        m = torch.tensor([[1] * len(a) + [0] * (n - len(a)) for a, _ in rows])
        yield x, y, m


def train(model, stream, steps, lr, warmup, log=print, betas=(0.9, 0.98)):
    import torch
    opt = torch.optim.AdamW(model.parameters(), lr=lr, betas=betas, weight_decay=0.0)
    sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda s: min(1, (s + 1) / warmup) * max(0.0, (steps - s) / steps))
    model.train()
    t0 = time.time()
    for step in range(steps):
        x, y, m = next(stream)
        loss = model(input_ids=x, attention_mask=m, labels=y).loss
        opt.zero_grad(); loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step(); sched.step()
        if step % 100 == 99: log(f"step {step+1} loss {loss.item():.3f} {time.time()-t0:.0f}s", flush=True)
    model.eval()


def make_model(tokenizer, hidden=128, layers=3, heads=4, mlp=256):
    from transformers import LlamaConfig, LlamaForCausalLM
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=heads, intermediate_size=mlp, max_position_embeddings=256, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    ))
