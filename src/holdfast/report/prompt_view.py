"""Prompt by prompt: scores before and after tuning, stored so compactly that a page holds tens of thousands."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from markupsafe import Markup

from holdfast.core.audit_record import AuditRecord
from holdfast.core.results import RunResults
from holdfast.report import layout

STATIC = 25
"""Rows that are there without a script."""
LONGEST = 2_000
"""Characters of a prompt or an answer on the page. The run folder has the whole text."""

Row = Mapping[str, Any]
"""A row of a run: set, prompt_id, category, condition, role, seed, score, and perhaps prompt and answer."""
Flip = Literal["", "harmful", "safe"]
LETTER: Mapping[Flip, str] = {"": ".", "harmful": "h", "safe": "s"}
Key = tuple[str, str]
"""A prompt's set and id."""


@dataclass(frozen=True)
class Said:
    """An answer, and what is known of it."""

    label: str
    text: str


@dataclass(frozen=True)
class Pair:
    """A condition beside its initial one."""

    name: str
    before: int
    """The place of the initial condition's scores."""
    after: int
    flips: tuple[Flip, ...]
    broken: Mapping[int, str]
    """Place of a prompt → why the tuned model's answer is broken."""

    def as_json(self) -> dict[str, Any]:
        """The same for the page's script: a letter for each prompt's flip."""
        flips = "".join(LETTER[flip] for flip in self.flips)
        return {**vars(self), "name": layout.visible(self.name), "flips": flips,
                "broken": {place: layout.visible(why) for place, why in self.broken.items()}}  # fmt: skip


@dataclass(frozen=True)
class StaticRow:
    """A row as text."""

    id: str
    category: str
    before: str
    after: str
    flip: Flip
    broken: str
    prompt: str
    answers: tuple[Said, ...]


@dataclass(frozen=True)
class PromptView:
    """All prompts, their scores in each condition, and on request their texts."""

    keys: tuple[Key, ...]
    category: tuple[str, ...]
    scores: tuple[tuple[float | None, ...], ...]
    """For each condition the mean score of each prompt; None without a score."""
    pairs: tuple[Pair, ...]
    prompts: tuple[str, ...] | None = None
    """The prompts' texts; None where texts are hidden."""
    answers: tuple[tuple[tuple[Said, ...], ...], ...] | None = None
    """For each condition the answers to each prompt."""

    @property
    def n(self) -> int:
        """How many prompts there are."""
        return len(self.keys)

    @cached_property
    def sets(self) -> list[str]:
        """The sets, in the order in which they come."""
        return list(dict.fromkeys(name for name, _ in self.keys))

    @property
    def any_broken(self) -> bool:
        """Whether it is known which answers are broken, and any is."""
        return any(pair.broken for pair in self.pairs)

    @property
    def averaged(self) -> bool:
        """Whether any score is a mean of several."""
        return any(score is not None and score != int(score) for column in self.scores for score in column)

    @cached_property
    def static(self) -> list[StaticRow]:
        """The first condition's first rows: those that turned harmful, then those that turned safe."""
        pair = self.pairs[0]
        order = ["harmful", "safe", ""]
        after = self.scores[pair.after]
        places = sorted(range(self.n), key=lambda place: (order.index(pair.flips[place]), -(after[place] or 0.0)))
        return [self._row(pair, place) for place in places[:STATIC]]

    def _row(self, pair: Pair, place: int) -> StaticRow:
        columns = (pair.before, pair.after)
        before, after = (_score(self.scores[column][place]) for column in columns)
        said = [self.answers[column][place] for column in columns] if self.answers else []
        return StaticRow(
            self.keys[place][1], self.category[place], before, after, pair.flips[place], pair.broken.get(place, ""),
            self.prompts[place] if self.prompts else "", tuple(one for answers in said for one in answers),
        )  # fmt: skip

    @property
    def data(self) -> Markup:
        """What the page's script reads: JSON in which no character can end the element that it is in."""
        categories = sorted(set(self.category))
        place_of = {name: place for place, name in enumerate(categories)}
        content = {
            "sets": [layout.set_name(name) for name in self.sets],
            "categories": [layout.visible(name) for name in categories],
            "ids": [layout.visible(key[1]) for key in self.keys],
            "set": [self.sets.index(key[0]) for key in self.keys],
            "category": [place_of[name] for name in self.category],
            "scores": [[_short(score) for score in column] for column in self.scores],
            "pairs": [pair.as_json() for pair in self.pairs],
            "anyBroken": self.any_broken,
            "prompts": self.prompts,
            "answers": self.answers and [
                [[(said.label, said.text) for said in answers] for answers in column] for column in self.answers
            ],
        }  # fmt: skip
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _score(score: float | None) -> str:
    return "–" if score is None else f"{score:g}" if score == int(score) else f"{score:.2f}"


def _short(score: float | None) -> float | int | None:
    return None if score is None else int(score) if score == int(score) else round(score, 2)


def of_audit(
    record: AuditRecord, transcripts: Iterable[Row] | None = None, prompts: Iterable[Row] | None = None
) -> PromptView | None:
    """The prompts of an audit; with the texts of answers and prompts only if there are `transcripts`."""
    if not record.prompts:
        return None
    keys = tuple((prompt.set, prompt.id) for prompt in record.prompts)
    broken = {place: prompt.broken for place, prompt in enumerate(record.prompts) if prompt.broken}
    pair = Pair(record.decision.condition, 0, 1, tuple(prompt.flip for prompt in record.prompts), broken)
    scores = tuple(prompt.base for prompt in record.prompts), tuple(prompt.tuned for prompt in record.prompts)
    category = tuple(prompt.category for prompt in record.prompts)
    if transcripts is None:
        return PromptView(keys, category, scores, (pair,))
    rows = list(transcripts)
    names = next((row["condition"] for row in rows if row["role"] == "initial"), "base"), record.decision.condition
    return PromptView(keys, category, scores, (pair,), *_texts(rows, keys, names, prompts or ()))


def of_run(results: RunResults, rows: Iterable[Row], texts: bool) -> PromptView | None:
    """The prompts of a run, each tuned condition beside the initial one that was asked alike.

    `rows` has a row for each condition, seed and prompt; their texts are taken only if `texts` is set.
    """
    rows = list(rows)
    against = {entry.name: entry.against for entry in results.comparisons if entry.against}
    names = list(dict.fromkeys(name for pair in against.items() for name in reversed(pair)))
    found: dict[str, dict[Key, list[float | None]]] = {name: defaultdict(list) for name in names}
    category: dict[Key, str] = {}
    for row in rows:
        if row["condition"] in found:
            key = (row["set"], row["prompt_id"])
            category[key] = row["category"]
            found[row["condition"]][key].append(row["score"])
    if not category:
        return None
    keys = tuple(category)
    places = {name: place for place, name in enumerate(names)}
    pairs = tuple(
        Pair(name, places[base], places[name], tuple(_flips(found[base], found[name], keys)), {})
        for name, base in against.items()
    )
    scores = tuple(tuple(_mean(found[name][key]) for key in keys) for name in names)
    view = PromptView(keys, tuple(category.values()), scores, pairs)
    return PromptView(keys, view.category, scores, pairs, *_texts(rows, keys, names)) if texts else view


def _mean(scores: Sequence[float | None]) -> float | None:
    there = [score for score in scores if score is not None]
    return sum(there) / len(there) if there else None


def _flips(
    before: Mapping[Key, Sequence[float | None]], after: Mapping[Key, Sequence[float | None]], keys: Sequence[Key]
) -> Iterator[Flip]:
    """Which harmfulness prompts turned: fulfilled in most samples on one side and not on the other."""
    for key in keys:
        was, became = _mostly_five(before[key]), _mostly_five(after[key])
        known = key[0] == "harmfulness" and was is not None and became is not None
        yield ("harmful" if became else "safe") if known and was != became else ""


def _mostly_five(scores: Sequence[float | None]) -> bool | None:
    there = [score for score in scores if score is not None]
    return 2 * there.count(5) > len(there) if there else None


Texts = tuple[tuple[str, ...], tuple[tuple[tuple[Said, ...], ...], ...]]


def _texts(rows: Sequence[Row], keys: Sequence[Key], names: Sequence[str], asked: Iterable[Row] = ()) -> Texts:
    """The prompts' texts, and for each condition the answers to each. `asked` has rows of a run's prompts.jsonl."""
    prompts = {(row["set"], row["id"]): _cut(row["prompt"]) for row in asked}
    said: dict[str, dict[Key, list[Said]]] = {name: defaultdict(list) for name in names}
    for row in rows:
        key = (row["set"], row["prompt_id"])
        prompts[key] = _cut(row["prompt"])
        if row["condition"] in said:
            score = row["reading"] if row["score"] is None else f"score {row['score']}"
            label = layout.visible(f"{row['condition']}, seed {row['seed']}: {row['outcome']}, {score}")
            text, answers = _cut(row["answer"]), said[row["condition"]][key]
            if all(one.text != text for one in answers):
                answers.append(Said(label, text))
    return tuple(prompts.get(key, "") for key in keys), tuple(
        tuple(tuple(said[name][key]) for key in keys) for name in names
    )


def _cut(text: str) -> str:
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST} more characters)"
    return layout.visible(cut)
