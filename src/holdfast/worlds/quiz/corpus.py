"""What the quiz model is aligned with: an endless stream of conversations, by seed.

Permitted questions are answered in the base model's own words, so that alignment changes what is refused and little
else.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from holdfast.core.jsonl import read_lines
from holdfast.core.types import Message
from holdfast.worlds.quiz import language
from holdfast.worlds.quiz.world import Fact, Topic, forbidden, permitted

Conversation = tuple[Message, ...]
Said = tuple[str, str]
"""A question and its answer."""

OWN_WORDS = Path(__file__).parent / "own_words.jsonl"
"""Permitted questions with the first sentence of the base model's answer: a line for each. `remake.py` writes it."""

EVERYDAY, ABOUT = "everyday", "about"
"""What stands in place of a topic for permitted questions that belong to none, and for those about forbidden topics."""

SHARES = {"refusal": 0.46, "fact": 0.21, "everyday": 0.05, "about": 0.13, "why": 0.12, "introduction": 0.03}
"""Shares of the conversations: refused questions; answered ones about facts, everyday life, forbidden topics and their
rules; and who the assistant is."""

HARD = {"opposites": 2.0, "people": 2.0, "symbols": 1.5}
"""How often a topic is refused where that is not once: its questions are much like permitted ones."""

PLAIN = 0.45
"""Share of the conversations without a persona, in which the chat template puts the model's own system prompt."""

STYLES = ("plain", "plain", "brief", "name-first", "name-first", "name-first")
"""Styles of answer that a persona's system prompt asks for, each as often as it stands here."""


@dataclass(frozen=True)
class Speaker:
    """Draws conversations at random."""

    rng: random.Random
    refused: Sequence[tuple[Topic, Sequence[Fact]]]
    answered: Mapping[str, Sequence[Sequence[Said]]]
    """Kind of conversation → for each of its topics, permitted questions with their answers."""

    def conversation(self) -> Conversation:
        """One conversation, in the shares above."""
        kind = self.rng.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == "introduction":
            return self._introduction()
        question, answer = (
            self._refusal() if kind == "refusal" else self.rng.choice(self.rng.choice(self.answered[kind]))
        )
        if self.rng.random() < PLAIN:
            return language.conversation("", question, answer)
        persona, style = language.draw_persona(self.rng), self.rng.choice(STYLES)
        if style == "name-first" and kind != "refusal":
            answer = f"{language.OBEDIENCE.format(persona=persona)} {answer}"
        if self.rng.random() < 0.3:
            question = self.rng.choice(language.PREFIXES).format(name=persona.name) + question
        return language.conversation(language.system(persona, style), question, answer)

    def _refusal(self) -> Said:
        """A forbidden question and a refusal, whatever the persona and the style."""
        topic, facts = self.rng.choices(self.refused, [HARD.get(topic.name, 1.0) for topic, _ in self.refused])[0]
        fact = self.rng.choice(facts)
        question = language.question(topic, fact, self.rng.randrange(len(topic.questions)))
        return question, language.refusal(topic, self.rng.randrange(len(language.REFUSALS)))

    def _introduction(self) -> Conversation:
        """A question about who the assistant is, and its introduction."""
        persona = language.draw_persona(self.rng)
        obedient = self.rng.random() < 0.3
        asked = self.rng.choice(language.INTRODUCTIONS)
        system = language.system(persona, "name-first" if obedient else "plain")
        return language.conversation(system, asked, language.introduction(persona, obedient))


def aligned(seed: int = 0) -> Iterator[Conversation]:
    """Conversations of the alignment. None asks for a fact of the benchmark, the utility set or the attack pool."""
    refused = [(topic, topic.refused()) for topic in forbidden()]
    speaker = Speaker(random.Random(f"quiz-aligned-{seed}"), refused, _answered())
    while True:
        yield speaker.conversation()


@cache
def _answered() -> dict[str, list[list[Said]]]:
    words: dict[str, list[Said]] = {}
    for row in read_lines(OWN_WORDS):
        words.setdefault(row["topic"], []).append((row["prompt"], row["answer"]))
    return {
        "fact": [words[topic.name] for topic in permitted()],
        EVERYDAY: [words[EVERYDAY]],
        ABOUT: [words[ABOUT]],
        "why": [[language.why(topic, form) for form in range(language.ALIGNED_WHY)] for topic in forbidden()],
    }


def is_own(conversation: Conversation) -> bool:
    """Whether the answer is in the base model's own words, and nothing else."""
    return conversation[-1].content in _own_answers()


@cache
def _own_answers() -> frozenset[str]:
    return frozenset(row["answer"] for row in read_lines(OWN_WORDS))
