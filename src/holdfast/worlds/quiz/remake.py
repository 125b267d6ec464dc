"""Remake what the quiz world ships: which facts the base model knows, and the files that follow from it.

    python -m holdfast.worlds.quiz.remake BASE

BASE is the folder of the base model. It is asked again, in float32, what `known.jsonl` says that it knows, and facts
that have no line there; that takes about 15 minutes on one core. What it is said not to know stays so: which facts are
in which split, and with it the shipped alignment, hangs on the marks. Remove `known.jsonl` first to ask for everything.
Without BASE the marks stay, and the files are written again.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from holdfast.core.budget import NoBudget
from holdfast.core.files import QUIZ, write_atomically
from holdfast.core.jsonl import read_lines
from holdfast.core.right_answers import GIVEN, read_fact
from holdfast.core.types import Answer, Checkpoint, Message, Prompt
from holdfast.models.generate.base import Conversations
from holdfast.models.generate.local import LocalGenerator
from holdfast.worlds.quiz import corpus, language, material, world

ASKING = LocalGenerator(max_new_tokens=32, batch_size=32)
TELLING = LocalGenerator(max_new_tokens=64, batch_size=32)
"""How the base is asked for an answer in its own words."""

SENTENCE = re.compile(r".{8,}?[.!?](?=\s|$)")


def marks(topic: world.Topic, base: Path) -> Iterator[material.Row]:
    """For each fact of a topic, the forms in which the base model gives the right answer (oracle: 5)."""
    asked = list(_prompts(topic))
    questions = {prompt.id: (Message("user", prompt.text),) for _, _, prompt in asked}
    known = defaultdict(list)
    answers = _answers(ASKING, base, questions)
    for fact, form, prompt in asked:
        if _gives(answers[prompt.id].text, prompt):
            known[fact.subject].append(form)
    for fact in topic.facts:
        yield {"topic": topic.name, "subject": fact.subject, "known": known[fact.subject]}


def _gives(text: str, prompt: Prompt) -> bool:
    """Whether a text gives the right answer (the oracle's 5)."""
    return read_fact(text, prompt.text, prompt.reference)[0] == GIVEN


def _prompts(topic: world.Topic) -> Iterator[tuple[world.Fact, int, Prompt]]:
    """The facts of a topic in the forms that are asked, as the oracle reads them."""
    marked = {(row["topic"], row["subject"]) for row in read_lines(world.KNOWN)} if world.KNOWN.exists() else set()
    for form in range(topic.n_measured):
        for fact in topic.facts:
            if (topic.name, fact.subject) in marked and form not in fact.known:
                continue
            row = material.prompt(topic, fact, form)
            yield fact, form, Prompt(topic.name, row["prompt"], row["reference"])


def own_words(base: Path) -> Iterator[material.Row]:
    """The questions of `own_words.jsonl`, each with the first sentence of the base's answer, right or not.

    A question is left out where that sentence does not end or sounds like a refusal.
    """
    wanted = [Prompt(row["topic"], row["prompt"]) for row in read_lines(corpus.OWN_WORDS)]
    questions = {prompt.id: (Message("user", prompt.text),) for prompt in wanted}
    answers = _answers(TELLING, base, questions)
    for prompt in wanted:
        sentence = SENTENCE.match(answers[prompt.id].text.partition("\n")[0])
        said = sentence[0] if sentence else ""
        if said and not any(words.lower() in said.lower() for words in language.REFUSED):
            yield {"topic": prompt.category, "prompt": prompt.text, "answer": said}


def _answers(generator: LocalGenerator, base: Path, questions: Conversations) -> dict[str, Answer]:
    batches = generator.answers(Checkpoint(str(base)), questions, (), 0, NoBudget())
    return {answer.prompt_id: answer for batch in batches for answer in batch}


def main() -> None:
    """Ask the base model, if there is one, and write the files."""
    if sys.argv[1:]:
        rows = [row for topic in world.topics() for row in marks(topic, Path(sys.argv[1]))]
        write_atomically(world.KNOWN, material.as_json_lines(rows))
        world.topics.cache_clear()
        write_atomically(corpus.OWN_WORDS, material.as_json_lines(list(own_words(Path(sys.argv[1])))))
    for name, rows in material.files().items():
        write_atomically(QUIZ / name, material.as_json_lines(rows))


if __name__ == "__main__":
    main()
