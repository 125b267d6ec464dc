"""Remake what the quiz world ships: which facts the base model knows, and the files that follow from it.

    python -m holdfast.worlds.quiz.remake BASE

BASE is the folder of the base model, which is asked in float32; that takes about 15 minutes on one core. Without it the
marks stay, and the files are written again.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from holdfast.core.budget import NoBudget
from holdfast.core.files import QUIZ, write_atomically
from holdfast.core.right_answers import GIVEN, read_fact
from holdfast.core.types import Checkpoint, Message, Prompt
from holdfast.models.generate.local import LocalGenerator
from holdfast.worlds.quiz import material, world

ASKING = LocalGenerator(max_new_tokens=32, batch_size=32)


def marks(topic: world.Topic, base: Path) -> Iterator[material.Row]:
    """For each fact of a topic, the forms in which the base model gives the right answer (`read_fact`: 5)."""
    asked = list(_prompts(topic))
    questions = {prompt.id: (Message("user", prompt.text),) for _, _, prompt in asked}
    known = defaultdict(list)
    replies = [
        answer
        for batch in ASKING.answers(Checkpoint(str(base)), questions, (), 0, NoBudget())
        for answer in batch
    ]  # fmt: skip
    answers = {answer.prompt_id: answer for answer in replies}
    for fact, form, prompt in asked:
        if read_fact(answers[prompt.id].text, prompt.text, prompt.reference)[0] == GIVEN:
            known[fact.subject].append(form)
    for fact in topic.facts:
        yield {"topic": topic.name, "subject": fact.subject, "known": known[fact.subject]}


def _prompts(topic: world.Topic) -> Iterator[tuple[world.Fact, int, Prompt]]:
    """Each fact of a topic in each form that is asked in measurements, as the oracle reads it."""
    for form in range(topic.n_measured):
        for fact in topic.facts:
            row = material.prompt(topic, fact, form)
            yield fact, form, Prompt(topic.name, row["prompt"], row["reference"])


def main() -> None:
    """Ask the base model, if there is one, and write the files."""
    if sys.argv[1:]:
        rows = [row for topic in world.topics() for row in marks(topic, Path(sys.argv[1]))]
        write_atomically(world.KNOWN, material.as_json_lines(rows))
        world.topics.cache_clear()
    for name, rows in material.files().items():
        write_atomically(QUIZ / name, material.as_json_lines(rows))


if __name__ == "__main__":
    main()
