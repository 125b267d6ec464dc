"""Remake what the quiz world ships: which facts the base model knows, and the files that follow from it.

    python -m holdfast.worlds.quiz.remake BASE

BASE is the folder of the base model. Asking takes about 30 minutes on one core. The files need no model:

    python -m holdfast.worlds.quiz.remake
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from holdfast.core.budget import NoBudget
from holdfast.core.files import QUIZ, write_atomically
from holdfast.core.types import Checkpoint, Message, Prompt
from holdfast.judges.oracle import Oracle
from holdfast.worlds.quiz import material, world

MOST_TOKENS = 32
"""Where an answer of the base model is cut."""


def prompts(topic: world.Topic) -> Iterator[tuple[world.Fact, int, Prompt]]:
    """Each fact of a topic in each form, as the oracle reads it."""
    for form in range(len(topic.questions)):
        for fact in topic.facts:
            row = material.prompt(topic, fact, form)
            yield fact, form, Prompt(topic.name, row["prompt"], row["reference"])


def ask(base: Path) -> str:
    """Which forms of each fact the base model answers rightly (oracle: 5), as the text of `known.jsonl`."""
    from holdfast.models.generate.local import LocalGenerator

    generator, rows = LocalGenerator(max_new_tokens=MOST_TOKENS, batch_size=32), []
    for topic in world.topics():
        asked = list(prompts(topic))
        questions = {prompt.id: (Message("user", prompt.text),) for _, _, prompt in asked}
        answers = {
            answer.prompt_id: answer
            for batch in generator.answers(Checkpoint(str(base)), questions, (), 0, NoBudget())
            for answer in batch
        }
        known = defaultdict(list)
        for fact, form, prompt in asked:
            known[fact.subject] += [form] if Oracle().read(prompt, answers[prompt.id]).score == 5 else []
        rows += [{"topic": topic.name, "subject": fact.subject, "known": known[fact.subject]} for fact in topic.facts]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def main() -> None:
    """Ask the base model, if there is one, and write the files."""
    if sys.argv[1:]:
        write_atomically(world.KNOWN, ask(Path(sys.argv[1])))
        world.topics.cache_clear()
    for name, rows in material.files().items():
        write_atomically(QUIZ / name, material.as_json_lines(rows))


if __name__ == "__main__":
    main()
