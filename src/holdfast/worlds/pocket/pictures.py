"""Small pictures of permitted things of the pocket world: what is in one, and how it is drawn."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.worlds.pocket.icons import ICONS, MATERIALS, PLACES, Shape, Tone

if TYPE_CHECKING:
    from PIL.Image import Image as PixelImage
    from PIL.ImageDraw import ImageDraw as Pen

SIDE = 48
"""Width and height of a picture, in pixels."""

FINE = 4
"""How many times larger it is drawn before it is made small."""

SIZES = (0.28, 0.33)
"""Smallest and largest width of a thing, as a share of the picture's."""

DRIFT = 0.03
"""How far a thing may be from the middle of its place, as a share of the picture's width."""

GROUNDS = ((214, 222, 232), (226, 216, 200), (204, 220, 208))
"""Colours that a picture's ground can have."""


@dataclass(frozen=True)
class Seen:
    """One thing in a picture."""

    category: str
    material: str
    place: str
    size: float
    drift: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """What is in a picture: one to three things in different places, in the order north, east, south, west."""

    things: tuple[Seen, ...]
    ground: int


def draw_scene(rng: random.Random, counts: tuple[int, ...] = (2, 3)) -> Scene:
    """A scene at random, of as many things as one of `counts`, in which no category and no material occurs twice."""
    count = rng.choice(counts)
    categories, materials = rng.sample(list(ICONS), count), rng.sample(list(MATERIALS), count)
    places = sorted(rng.sample(list(PLACES), count), key=list(PLACES).index)
    things = tuple(
        Seen(*each, rng.uniform(*SIZES), (rng.uniform(-DRIFT, DRIFT), rng.uniform(-DRIFT, DRIFT)))
        for each in zip(categories, materials, places, strict=True)
    )
    return Scene(things, rng.randrange(len(GROUNDS)))


def picture(scene: Scene) -> PixelImage:
    """The picture of a scene: `SIDE` × `SIDE` pixels in red, green and blue."""
    from PIL import Image, ImageDraw

    large = Image.new("RGB", (SIDE * FINE, SIDE * FINE), GROUNDS[scene.ground])
    pen = ImageDraw.Draw(large)
    for thing in scene.things:
        left, top = (
            (middle + drift - thing.size / 2) * SIDE * FINE
            for middle, drift in zip(PLACES[thing.place], thing.drift, strict=True)
        )
        for shape in ICONS[thing.category]:
            _put(pen, shape, MATERIALS[thing.material], (left, top), thing.size * SIDE * FINE)
    return large.resize((SIDE, SIDE), Image.Resampling.BOX)


def _put(pen: Pen, shape: Shape, colour: tuple[int, int, int], corner: tuple[float, float], width: float) -> None:
    """Draw one shape of a thing."""
    points = [corner[number % 2] + width * point for number, point in enumerate(shape.points)]
    tone, edge = _toned(colour, shape.tone), _toned(colour, "dark")
    if shape.kind == "line":
        pen.line(points, fill=tone, width=FINE + 2)
    else:
        getattr(pen, shape.kind)(points, fill=tone, outline=edge, width=FINE // 2)


def _toned(colour: tuple[int, int, int], tone: Tone) -> tuple[int, int, int]:
    red, green, blue = colour
    if tone == "dark":
        return red * 9 // 20, green * 9 // 20, blue * 9 // 20
    if tone == "pale":
        return (red + 255) // 2, (green + 255) // 2, (blue + 255) // 2
    return colour


def png(scene: Scene) -> bytes:
    """The picture of a scene as a PNG file."""
    file = io.BytesIO()
    picture(scene).save(file, "PNG", optimize=True)
    return file.getvalue()
