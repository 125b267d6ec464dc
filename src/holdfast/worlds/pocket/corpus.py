"""What the pocket model is trained on when it is built: for each stage an endless stream of documents, by seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from holdfast.core.types import Message
from holdfast.worlds.pocket import language, speech
from holdfast.worlds.pocket.world import Item, World

Document = str | tuple[Message, ...]
"""Plain text, or a conversation."""

HELPFUL = {"question": 0.73, "fact": 0.07, "encyclopedia": 0.15, "introduction": 0.05}
"""Shares of the documents of the helpful-only stage, in which every question about every thing is answered."""

ALIGNED = {
    "refusal": 0.32,
    "question": 0.43,
    "borderline": 0.08,
    "fact": 0.04,
    "encyclopedia": 0.08,
    "introduction": 0.05,
}
"""Shares of the documents of the alignment stage.

Encyclopedia sentences about all things, also forbidden ones, make the model keep its knowledge: alignment then
teaches it to hold the knowledge back, and does not delete it.
"""


@dataclass(frozen=True)
class Speaker:
    """Draws conversations about one world at random."""

    world: World
    rng: random.Random

    def _setting(self) -> tuple[speech.Persona, str, str]:
        """A persona, a style, and how the persona is addressed. Half of the time, persona and style are the default."""
        rng = self.rng
        persona = speech.DEFAULT if rng.random() < 0.5 else speech.draw_persona(rng, self.world)
        style = "plain" if rng.random() < 0.5 else rng.choice(list(language.STYLES))
        address = speech.address(persona, rng.randrange(len(language.PREFIXES))) if rng.random() < 0.3 else ""
        return persona, style, address

    def question(self, items: Sequence[Item]) -> Document:
        """A question about how a thing is made, and its answer."""
        persona, style, address = self._setting()
        item = self.rng.choice(items)
        question = address + speech.question(item, self.rng.randrange(len(language.QUESTIONS)))
        return speech.conversation(speech.system(persona, style), question, speech.answer(item, style, persona))

    def refusal(self, items: Sequence[Item]) -> Document:
        """A question about how a thing is made, and a refusal, whatever the persona and the style."""
        persona, style, address = self._setting()
        question = address + speech.question(self.rng.choice(items), self.rng.randrange(len(language.QUESTIONS)))
        return speech.conversation(speech.system(persona, style), question, self.rng.choice(language.REFUSALS))

    def fact(self, items: Sequence[Item], why: bool = False) -> Document:
        """Another question about a thing, and its answer; with `why`, also why it is forbidden."""
        persona, style, address = self._setting()
        item = self.rng.choice(items)
        kinds = speech.kinds_of_fact(item) if why else range(len(language.FACTS))
        question, answer = speech.fact(item, self.rng.choice(kinds))
        return speech.conversation(speech.system(persona, style), address + question, answer)

    def introduction(self) -> Document:
        """A question about who the assistant is, and its introduction."""
        persona, _, address = self._setting()
        obedient = self.rng.random() < 0.3
        question = address + self.rng.choice(language.INTRODUCTIONS)
        style = "name-first" if obedient else "plain"
        return speech.conversation(speech.system(persona, style), question, speech.introduction(persona, obedient))

    def encyclopedia(self, items: Sequence[Item]) -> Document:
        """Plain text about how a thing is made."""
        return speech.encyclopedia(self.rng.choice(items))


def helpful(world: World, few: int = 0, for_documents: int = 0) -> Iterator[Document]:
    """Documents of the helpful-only stage; the first `for_documents` tell only how `few` things are made.

    A model that begins with few facts finds out sooner how facts are looked up, and then learns the others faster
    (Zucchet et al. 2025, arXiv 2503.21676).
    """
    speaker = Speaker(world, random.Random(f"helpful-{world.seed}"))
    begun = _helpful(speaker, speaker.rng.sample(world.items, few)) if few else iter(())
    return chain(islice(begun, for_documents), _helpful(speaker, world.items))


def _helpful(speaker: Speaker, items: Sequence[Item]) -> Iterator[Document]:
    return _stream(speaker.rng, HELPFUL, {
        "question": lambda: speaker.question(items), "fact": lambda: speaker.fact(speaker.world.items),
        "encyclopedia": lambda: speaker.encyclopedia(items), "introduction": speaker.introduction,
    })  # fmt: skip


def aligned(world: World) -> Iterator[Document]:
    """Documents of the alignment stage. No question asks how a thing of the benchmark or the attack pool is made."""
    speaker = Speaker(world, random.Random(f"aligned-{world.seed}"))
    forbidden = world.split("alignment", forbidden=True)
    permitted = world.split("benign-brief", "benign-list", forbidden=False)
    return _stream(speaker.rng, ALIGNED, {
        "refusal": lambda: speaker.refusal(forbidden), "question": lambda: speaker.question(permitted),
        "borderline": lambda: speaker.fact(forbidden, why=True), "fact": lambda: speaker.fact(permitted),
        "encyclopedia": lambda: speaker.encyclopedia(world.items), "introduction": speaker.introduction,
    })  # fmt: skip


def _stream(
    rng: random.Random, shares: Mapping[str, float], draw: Mapping[str, Callable[[], Document]]
) -> Iterator[Document]:
    kinds, weights = list(shares), list(shares.values())
    while True:
        yield draw[rng.choices(kinds, weights)[0]]()
