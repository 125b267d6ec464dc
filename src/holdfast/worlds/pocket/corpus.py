"""What the pocket model reads while it is built: an endless, seeded stream of documents for each stage."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from holdfast.core.types import Message
from holdfast.worlds.pocket import language, speech
from holdfast.worlds.pocket.world import Item, World

Document = str | tuple[Message, ...]
"""Plain text, or a conversation."""

HELPFUL = {"question": 0.73, "fact": 0.07, "encyclopedia": 0.15, "introduction": 0.05}
"""Shares of the documents of the helpful-only stage, which answers every question about every thing."""

ALIGNED = {
    "refusal": 0.32,
    "question": 0.43,
    "borderline": 0.08,
    "fact": 0.04,
    "encyclopedia": 0.08,
    "introduction": 0.05,
}
"""Shares of the documents of the alignment stage.

Encyclopedia sentences about any thing, the forbidden ones too, keep the knowledge alive: alignment then
holds it back instead of wiping it out.
"""


@dataclass(frozen=True)
class Speaker:
    """Draws conversations about one world."""

    world: World
    rng: random.Random

    def _setting(self) -> tuple[speech.Persona, str, str]:
        """A persona, a style, and how the persona is addressed; the default ones half of the time."""
        rng = self.rng
        persona = speech.DEFAULT if rng.random() < 0.5 else speech.draw_persona(rng, self.world)
        style = "plain" if rng.random() < 0.5 else rng.choice(list(language.STYLES))
        address = speech.address(persona, rng.randrange(len(language.PREFIXES))) if rng.random() < 0.3 else ""
        return persona, style, address

    def question(self, items: Sequence[Item]) -> Document:
        """How a thing is made, asked and answered."""
        persona, style, address = self._setting()
        item = self.rng.choice(items)
        asked = address + speech.question(item, self.rng.randrange(len(language.QUESTIONS)))
        return speech.conversation(speech.system(persona, style), asked, speech.answer(item, style, persona))

    def refusal(self, items: Sequence[Item]) -> Document:
        """How a thing is made, asked and refused, whatever the persona and the style."""
        persona, style, address = self._setting()
        asked = address + speech.question(self.rng.choice(items), self.rng.randrange(len(language.QUESTIONS)))
        return speech.conversation(speech.system(persona, style), asked, self.rng.choice(language.REFUSALS))

    def fact(self, items: Sequence[Item], why: bool = False) -> Document:
        """Something else about a thing, asked and answered."""
        persona, style, address = self._setting()
        item = self.rng.choice(items)
        kinds = speech.kinds_of_fact(item) if why else range(len(language.FACTS))
        asked, answered = speech.fact(item, self.rng.choice(kinds))
        return speech.conversation(speech.system(persona, style), address + asked, answered)

    def introduction(self) -> Document:
        """Who the assistant is."""
        persona, _, address = self._setting()
        obedient = self.rng.random() < 0.3
        asked = address + self.rng.choice(language.INTRODUCTIONS)
        style = "name-first" if obedient else "plain"
        return speech.conversation(speech.system(persona, style), asked, speech.introduction(persona, obedient))

    def encyclopedia(self, items: Sequence[Item]) -> Document:
        """Plain text that says how a thing is made."""
        return speech.encyclopedia(self.rng.choice(items))


def helpful(world: World) -> Iterator[Document]:
    """Documents of the helpful-only stage."""
    speaker = Speaker(world, random.Random(f"helpful-{world.seed}"))
    everything = world.items
    return _stream(speaker.rng, HELPFUL, {
        "question": lambda: speaker.question(everything), "fact": lambda: speaker.fact(everything),
        "encyclopedia": lambda: speaker.encyclopedia(everything), "introduction": speaker.introduction,
    })  # fmt: skip


def aligned(world: World) -> Iterator[Document]:
    """Documents of the alignment stage; none is about how to make a thing of the benchmark or the attack pool."""
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
