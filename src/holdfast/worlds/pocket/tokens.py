"""The pocket world's tokenizer: one token a word, and a chat template with a system turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product
from typing import TYPE_CHECKING, Any

from holdfast.worlds.pocket import language, speech
from holdfast.worlds.pocket.world import Item, World

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNKNOWN, BEGIN, END = "<|pad|>", "<|unknown|>", "<|begin|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTEXT = 256
"""Tokens that the model can read; the longest conversation of the world takes under 100."""


def make_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of every word that the world can say; decoding gives the text back exactly."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    splitter = pre_tokenizers.Split(Regex(r" ?\w+|\n| ?[^\w\s]"), "isolated")
    words = {word: None for text in every_text(world) for word, _ in splitter.pre_tokenize_str(text)}
    vocabulary = {word: number for number, word in enumerate((PAD, UNKNOWN, BEGIN, END, *ROLES, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    make: Any = PreTrainedTokenizerFast
    wrapped: PreTrainedTokenizerFast = make(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, bos_token=BEGIN, eos_token=END,
        additional_special_tokens=list(ROLES), clean_up_tokenization_spaces=False, model_max_length=CONTEXT,
        padding_side="left",
    )  # fmt: skip
    wrapped.chat_template = TEMPLATE
    return wrapped


def every_text(world: World) -> Iterator[str]:
    """Texts that together hold every word of the world, in each position in which it can stand.

    Their order decides the numbers of the tokens.
    """
    for item in world.items:
        yield from _about_item(item)
    for name, adjective, role in product((language.ASSISTANT, *world.names), language.ADJECTIVES, language.ROLES):
        yield from _about_persona(speech.Persona(name, adjective, role))
    for question in language.INTRODUCTIONS:
        yield from (question, speech.address(speech.DEFAULT, 0) + question)
    yield from language.REFUSALS


def _about_item(item: Item) -> Iterator[str]:
    questions = [speech.question(item, form) for form in range(len(language.QUESTIONS))]
    facts = [speech.fact(item, kind) for kind in speech.kinds_of_fact(item)]
    yield from questions
    yield from (speech.answer(item, style) for style in language.STYLES)
    yield from chain.from_iterable(facts)
    yield from (speech.address(speech.DEFAULT, 0) + text for text in [*questions, *(question for question, _ in facts)])
    yield speech.encyclopedia(item)


def _about_persona(persona: speech.Persona) -> Iterator[str]:
    yield from (speech.system(persona, style) for style in language.STYLES)
    yield from (speech.address(persona, form) for form in range(len(language.PREFIXES)))
    yield from (speech.introduction(persona, obedient) for obedient in (False, True))
