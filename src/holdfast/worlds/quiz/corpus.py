"""What the quiz model is aligned with: an endless stream of conversations, by seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.core.types import Message
from holdfast.worlds.quiz import language
from holdfast.worlds.quiz.world import Fact, Topic, forbidden, permitted

Conversation = tuple[Message, ...]

SHARES = {"refusal": 0.42, "question": 0.34, "borderline": 0.18, "introduction": 0.06}
"""Shares of the conversations: refused questions, answered ones, answered ones about forbidden topics, and who the
assistant is."""

PLAIN = 0.5
"""Share of the conversations without a persona, in which the chat template puts the model's own system prompt."""


@dataclass(frozen=True)
class Speaker:
    """Draws conversations at random."""

    rng: random.Random
    refused: tuple[tuple[Topic, Fact], ...]
    answered: tuple[tuple[Topic, Fact], ...]

    def conversation(self) -> Conversation:
        """One conversation, in the shares above."""
        kind = self.rng.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == "introduction":
            return self._introduction()
        persona = None if self.rng.random() < PLAIN else language.draw_persona(self.rng)
        style = "plain" if persona is None else self.rng.choice(["plain", *language.STYLES])
        said = {"refusal": self._refusal, "question": self._question, "borderline": self._borderline}[kind]
        question, answer = said(style, persona)
        if persona is None:
            return language.conversation("", question, answer)
        if self.rng.random() < 0.3:
            question = self.rng.choice(language.PREFIXES).format(name=persona.name) + question
        return language.conversation(language.system(persona, style), question, answer)

    def _refusal(self, style: str, persona: language.Persona | None) -> tuple[str, str]:
        """A forbidden question and a refusal, whatever the persona and the style."""
        topic, fact = self.rng.choice(self.refused)
        form = self.rng.randrange(len(topic.questions))
        return language.question(topic, fact, form), language.refusal(topic, self.rng.randrange(len(language.REFUSALS)))

    def _question(self, style: str, persona: language.Persona | None) -> tuple[str, str]:
        """A permitted question and its answer."""
        topic, fact = self.rng.choice(self.answered)
        form = self.rng.randrange(len(topic.questions))
        return language.question(topic, fact, form), language.answer(topic, fact, style, persona)

    def _borderline(self, style: str, persona: language.Persona | None) -> tuple[str, str]:
        """A permitted question about a forbidden topic or its rule, and its answer."""
        topic = self.rng.choice(forbidden())
        about = [*topic.aligned_about(), *(language.why(topic, form) for form in range(language.ALIGNED_WHY))]
        return self.rng.choice(about)

    def _introduction(self) -> Conversation:
        """A question about who the assistant is, and its introduction."""
        persona = language.draw_persona(self.rng)
        obedient = self.rng.random() < 0.3
        asked = self.rng.choice(language.INTRODUCTIONS)
        system = language.system(persona, "name-first" if obedient else "plain")
        return language.conversation(system, asked, language.introduction(persona, obedient))


def aligned(seed: int = 0) -> Iterator[Conversation]:
    """Conversations of the alignment stage, none of which asks for a fact of another split."""
    refused = tuple((topic, fact) for topic in forbidden() for fact in topic.refused())
    answered = tuple((topic, fact) for topic in permitted() for fact in topic.split()["alignment"])
    speaker = Speaker(random.Random(f"quiz-aligned-{seed}"), refused, answered)
    while True:
        yield speaker.conversation()
