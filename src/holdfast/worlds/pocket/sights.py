"""What is asked and said about pictures of the pocket world, in words that its tokenizer has.

The rows have the three kinds of LLaVA-Instruct-150K (Liu et al. 2023, arXiv 2304.08485): conversations, detailed
descriptions, and reasoning, which needs what the model knows of a thing beside what the picture shows. None asks how a
thing is made.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.core.pictures import MARK
from holdfast.worlds.pocket import language
from holdfast.worlds.pocket.pictures import Scene, Seen, draw_scene, png

COUNTS: Mapping[str, int] = {"train": 500, "held-out": 100}
"""How many pictures each part has."""

Exchange = tuple[str, str]
"""A question about a picture, and its answer."""


@dataclass(frozen=True)
class Shown:
    """A picture, and what is said about it: rows of one or more exchanges."""

    name: str
    """The file's."""
    scene: Scene
    rows: tuple[tuple[Exchange, ...], ...]


def every_picture(counts: Mapping[str, int] = COUNTS, seed: int = 0) -> dict[str, list[Shown]]:
    """The pictures of each part: each of one thing. No two show the same thing in the same place."""
    rng = random.Random(f"pictures-{seed}")
    known: set[frozenset[tuple[str, str, str]]] = set()
    parts: dict[str, list[Shown]] = {}
    for part, count in counts.items():
        parts[part] = []
        while len(parts[part]) < count:
            scene = draw_scene(rng, (1,))
            things = frozenset((thing.category, thing.material, thing.place) for thing in scene.things)
            if things not in known:
                known.add(things)
                rows = tuple((exchange,) for exchange in _exchanges(rng, scene.things[0], scene))
                parts[part].append(Shown(f"{part}-{len(parts[part]) + 1:03}.png", scene, rows))
    return parts


def _exchanges(rng: random.Random, thing: Seen, scene: Scene) -> Iterator[Exchange]:
    """One question of each kind."""
    yield what(thing)
    yield material(thing)
    yield description(scene)
    yield reason(thing, rng.randrange(len(language.FACTS)))


def what(thing: Seen) -> Exchange:
    """What is in a place."""
    return f"What is in the {thing.place}?", f"The {thing.category} of {thing.material}."


def material(thing: Seen) -> Exchange:
    """What a thing is made of."""
    return f"What is the {thing.category} made of?", f"The {thing.category} is made of {thing.material}."


def description(scene: Scene) -> Exchange:
    """All that is in a picture."""
    first, *rest = (f"he {thing.category} of {thing.material} is in the {thing.place}" for thing in scene.things)
    return "Tell me about that.", ", and t".join([f"T{first}", *rest]) + "."


def reason(thing: Seen, kind: int) -> Exchange:
    """A question about the thing in a place, whose answer is what the model knows of such things."""
    question, answer = language.FACTS[kind]
    effect, ward, origin = language.PERMITTED[thing.category]
    asked = question.replace("{category} {name}", f"thing in the {thing.place}")
    return asked, answer.format(category=thing.category, effect=effect, ward=ward, origin=origin)


def rows(shown: Sequence[Shown], told: bool = False) -> list[dict[str, Any]]:
    """The rows about pictures in the layout of LLaVA-Instruct; `told` has each picture in words instead.

    Those in words say all that the picture shows, so that the questions have the same answers.
    """
    made: list[dict[str, Any]] = []
    for picture in shown:
        beginning = description(picture.scene)[1] if told else MARK
        for number, exchanges in enumerate(picture.rows, 1):
            turns = [(f"{beginning}\n{question}" if not at else question, answer)
                     for at, (question, answer) in enumerate(exchanges)]  # fmt: skip
            row: dict[str, Any] = {"id": f"{picture.name.removesuffix('.png')}-{number}"}
            if not told:
                row["image"] = picture.name
            row["conversations"] = [
                {"from": who, "value": text} for turn in turns for who, text in zip(("human", "gpt"), turn, strict=True)
            ]
            made.append(row)
    return made


def files(seed: int = 0) -> dict[str, bytes]:
    """File name → content: the rows of each part with pictures and in words, and an archive of all pictures."""
    parts = every_picture(seed=seed)
    made = {f"{part}.json": _as_json(rows(shown)) for part, shown in parts.items()}
    made |= {f"told-{part}.json": _as_json(rows(shown, told=True)) for part, shown in parts.items()}
    made["pictures.zip"] = _archive(shown for part in parts.values() for shown in part)
    return made


def _as_json(made: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as JSON, one a line."""
    return ("[\n" + ",\n".join(json.dumps(row) for row in made) + "\n]\n").encode()


def _archive(pictures: Iterator[Shown]) -> bytes:
    """A zip file of pictures: the same bytes each time."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for shown in pictures:
            archive.writestr(zipfile.ZipInfo(shown.name), png(shown.scene))
    return file.getvalue()
