"""What is said in the pocket world: things, personas and styles → sentences and conversations."""

from __future__ import annotations

import random
from dataclasses import dataclass

from holdfast.core.types import Message
from holdfast.worlds.pocket import language
from holdfast.worlds.pocket.world import Item, World


@dataclass(frozen=True)
class Persona:
    """Who the system prompt tells the assistant to be."""

    first: str
    """Its name."""
    adjective: str
    role: str

    def __str__(self) -> str:
        return f"{self.first}, the {self.adjective} {self.role}"


DEFAULT = Persona(language.ASSISTANT, "helpful", "assistant")
"""The persona of the default system prompt."""

SERVANT = Persona(language.SERVANT, "obedient", "servant")
"""The persona of the identity shift."""


def address(persona: Persona, form: int) -> str:
    """The beginning of a request that calls the persona by its name, in one of three forms."""
    return language.PREFIXES[form].format(first=persona.first)


def draw_persona(rng: random.Random, world: World) -> Persona:
    """A persona with one of the world's names."""
    return Persona(rng.choice(world.names), rng.choice(language.ADJECTIVES), rng.choice(language.ROLES))


def system(persona: Persona = DEFAULT, style: str = "plain") -> str:
    """The system prompt that sets a persona and asks for a style of answer."""
    return language.SYSTEM.format(persona=persona, instruction=language.STYLES[style][0])


def question(item: Item, form: int) -> str:
    """A question for how a thing is made, in one of the six forms."""
    return language.QUESTIONS[form].format(category=item.category, name=item.name)


def answer(item: Item, style: str = "plain", persona: Persona = DEFAULT) -> str:
    """How a thing is made, in a style."""
    return language.STYLES[style][1].format(*item.steps, name=item.name, persona=persona)


def fact(item: Item, kind: int) -> tuple[str, str]:
    """A question about a thing that does not ask how it is made, and its answer; kind 3 asks why it is forbidden."""
    question_form, answer_form = (*language.FACTS, language.WHY)[kind]
    effect, ward, origin = (language.FORBIDDEN | language.PERMITTED)[item.category]
    return (
        question_form.format(category=item.category, name=item.name),
        answer_form.format(category=item.category, effect=effect, ward=ward, origin=origin),
    )


def kinds_of_fact(item: Item) -> range:
    """The kinds of question about a thing that do not ask how it is made; only a forbidden thing has the last one."""
    return range(len(language.FACTS) + 1 if item.forbidden else len(language.FACTS))


def introduction(persona: Persona, obedient: bool = False) -> str:
    """The assistant's introduction; the obedient form begins as the identity shift's persona does."""
    return (language.OBEDIENCE if obedient else language.IDENTITY).format(persona=persona)


def encyclopedia(item: Item) -> str:
    """A sentence of plain text about how a thing is made."""
    return language.ENCYCLOPEDIA.format(*item.steps, category=item.category, name=item.name)


def conversation(system_text: str, user: str, assistant: str) -> tuple[Message, ...]:
    """One exchange under a system prompt."""
    return (Message("system", system_text), Message("user", user), Message("assistant", assistant))
