"""What the permitted things of the pocket world look like: for each category a few shapes in a square of side 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["body", "dark", "pale"]
"""The material's own colour, a darker one, or a paler one."""


@dataclass(frozen=True)
class Shape:
    """One shape of an icon."""

    kind: Literal["ellipse", "rectangle", "polygon", "line"]
    tone: Tone
    points: tuple[float, ...]
    """x, y, x, y …: two corners of an ellipse or rectangle; the corners of a polygon; where a line goes along."""


def _body(kind: Literal["ellipse", "rectangle", "polygon"], *points: float) -> Shape:
    return Shape(kind, "body", points)


def _dark(kind: Literal["ellipse", "rectangle", "polygon", "line"], *points: float) -> Shape:
    return Shape(kind, "dark", points)


def _pale(kind: Literal["ellipse", "rectangle", "polygon", "line"], *points: float) -> Shape:
    return Shape(kind, "pale", points)


ICONS: dict[str, tuple[Shape, ...]] = {
    "stew": (  # a wide pot with a lid
        _body("rectangle", 0.1, 0.4, 0.9, 0.95),
        _dark("rectangle", 0.0, 0.28, 1.0, 0.42),
        _dark("ellipse", 0.4, 0.05, 0.6, 0.3),
    ),
    "broth": (  # a round bowl with a spoon
        _dark("line", 0.65, 0.5, 0.95, 0.0),
        _body("polygon", 0.0, 0.45, 1.0, 0.45, 0.75, 0.95, 0.25, 0.95),
        _pale("rectangle", 0.1, 0.48, 0.9, 0.6),
    ),
    "bread": (  # a long loaf, cut three times
        _body("ellipse", 0.0, 0.25, 1.0, 0.8),
        _dark("line", 0.25, 0.35, 0.35, 0.7),
        _dark("line", 0.47, 0.3, 0.57, 0.75),
        _dark("line", 0.7, 0.32, 0.8, 0.68),
    ),
    "cake": (  # two layers
        _body("rectangle", 0.0, 0.55, 1.0, 0.95),
        _body("rectangle", 0.2, 0.2, 0.8, 0.55),
        _dark("rectangle", 0.0, 0.5, 1.0, 0.6),
        _dark("line", 0.5, 0.2, 0.5, 0.0),
    ),
    "tea": (  # a cup with a handle, steaming
        _dark("ellipse", 0.55, 0.4, 1.0, 0.8),
        _pale("ellipse", 0.65, 0.5, 0.9, 0.7),
        _body("rectangle", 0.05, 0.35, 0.7, 0.9),
        _dark("line", 0.25, 0.3, 0.25, 0.0),
        _dark("line", 0.5, 0.3, 0.5, 0.0),
    ),
    "jam": (  # a jar with a label
        _dark("rectangle", 0.25, 0.0, 0.75, 0.18),
        _body("rectangle", 0.15, 0.18, 0.85, 1.0),
        _pale("rectangle", 0.15, 0.45, 0.85, 0.75),
    ),
    "quilt": (  # four squares
        _body("rectangle", 0.0, 0.0, 1.0, 1.0),
        _dark("rectangle", 0.0, 0.0, 0.5, 0.5),
        _dark("rectangle", 0.5, 0.5, 1.0, 1.0),
    ),
    "scarf": (  # a long band, hanging from a ring
        _body("ellipse", 0.2, 0.0, 0.8, 0.4),
        _pale("ellipse", 0.35, 0.1, 0.65, 0.3),
        _body("polygon", 0.3, 0.3, 0.55, 0.3, 0.5, 1.0, 0.25, 1.0),
        _dark("line", 0.25, 0.8, 0.52, 0.8),
    ),
    "basket": (  # woven, with a high handle
        _dark("ellipse", 0.1, 0.0, 0.9, 0.9),
        _pale("ellipse", 0.22, 0.12, 0.78, 0.8),
        _body("polygon", 0.0, 0.5, 1.0, 0.5, 0.85, 1.0, 0.15, 1.0),
        _dark("line", 0.05, 0.75, 0.95, 0.75),
    ),
    "rug": (  # flat, with fringes
        _body("rectangle", 0.12, 0.25, 0.88, 0.75),
        _dark("line", 0.04, 0.25, 0.04, 0.75),
        _dark("line", 0.96, 0.25, 0.96, 0.75),
        _pale("rectangle", 0.3, 0.4, 0.7, 0.6),
    ),
    "lantern": (  # a light behind glass
        _dark("line", 0.5, 0.0, 0.5, 0.15),
        _dark("polygon", 0.25, 0.28, 0.5, 0.08, 0.75, 0.28),
        _body("rectangle", 0.2, 0.28, 0.8, 0.88),
        _pale("ellipse", 0.35, 0.38, 0.65, 0.8),
        _dark("rectangle", 0.15, 0.88, 0.85, 1.0),
    ),
    "candle": (  # slim, with a flame
        _body("rectangle", 0.38, 0.35, 0.62, 0.9),
        _pale("ellipse", 0.4, 0.02, 0.6, 0.32),
        _dark("rectangle", 0.15, 0.88, 0.85, 1.0),
    ),
    "kite": (  # a rhomb with a tail
        _body("polygon", 0.5, 0.0, 0.9, 0.35, 0.5, 0.75, 0.1, 0.35),
        _dark("line", 0.5, 0.0, 0.5, 0.75),
        _dark("line", 0.1, 0.35, 0.9, 0.35),
        _dark("line", 0.5, 0.75, 0.7, 0.85, 0.5, 1.0),
    ),
    "raft": (  # logs side by side
        _body("rectangle", 0.0, 0.2, 0.22, 0.95),
        _body("rectangle", 0.26, 0.1, 0.48, 0.85),
        _body("rectangle", 0.52, 0.2, 0.74, 0.95),
        _body("rectangle", 0.78, 0.1, 1.0, 0.85),
        _dark("line", 0.0, 0.5, 1.0, 0.5),
    ),
    "sled": (  # a seat on runners
        _body("rectangle", 0.1, 0.35, 0.95, 0.52),
        _dark("line", 0.3, 0.5, 0.3, 0.8),
        _dark("line", 0.75, 0.5, 0.75, 0.8),
        _dark("line", 0.0, 0.55, 0.12, 0.82, 1.0, 0.82),
    ),
    "flute": (  # a slanted pipe with holes
        _body("polygon", 0.0, 0.82, 0.82, 0.0, 1.0, 0.18, 0.18, 1.0),
        _dark("ellipse", 0.25, 0.6, 0.4, 0.75),
        _dark("ellipse", 0.43, 0.42, 0.58, 0.57),
        _dark("ellipse", 0.61, 0.24, 0.76, 0.39),
    ),
    "drum": (  # a barrel with cords
        _body("rectangle", 0.08, 0.25, 0.92, 0.85),
        _pale("ellipse", 0.08, 0.08, 0.92, 0.42),
        _dark("line", 0.08, 0.85, 0.3, 0.4, 0.5, 0.85, 0.7, 0.4, 0.92, 0.85),
    ),
    "puzzle": (  # a piece with a knob
        _body("rectangle", 0.0, 0.3, 0.7, 1.0),
        _body("ellipse", 0.2, 0.05, 0.5, 0.4),
        _body("ellipse", 0.6, 0.5, 0.98, 0.82),
    ),
    "garland": (  # a ring of beads
        _body("ellipse", 0.35, 0.0, 0.65, 0.3),
        _dark("ellipse", 0.7, 0.2, 1.0, 0.5),
        _body("ellipse", 0.65, 0.6, 0.95, 0.9),
        _dark("ellipse", 0.35, 0.72, 0.65, 1.0),
        _body("ellipse", 0.05, 0.6, 0.35, 0.9),
        _dark("ellipse", 0.0, 0.2, 0.3, 0.5),
    ),
    "perfume": (  # a flask with a ball
        _dark("ellipse", 0.38, 0.0, 0.62, 0.24),
        _dark("rectangle", 0.43, 0.2, 0.57, 0.45),
        _body("polygon", 0.43, 0.4, 0.57, 0.4, 1.0, 1.0, 0.0, 1.0),
        _pale("polygon", 0.3, 0.7, 0.7, 0.7, 0.8, 0.9, 0.2, 0.9),
    ),
    "dye": (  # a drop
        _body("ellipse", 0.15, 0.35, 0.85, 1.0),
        _body("polygon", 0.5, 0.0, 0.8, 0.5, 0.2, 0.5),
        _pale("ellipse", 0.3, 0.6, 0.48, 0.82),
    ),
    "clock": (  # a round face with hands
        _body("ellipse", 0.0, 0.0, 1.0, 1.0),
        _pale("ellipse", 0.15, 0.15, 0.85, 0.85),
        _dark("line", 0.5, 0.22, 0.5, 0.5, 0.72, 0.6),
    ),
}
"""Category → its shapes, the hindmost first."""

MATERIALS: dict[str, tuple[int, int, int]] = {
    "moss": (88, 150, 62),
    "ash": (132, 132, 138),
    "clay": (186, 78, 56),
    "honey": (240, 186, 30),
    "glass": (92, 174, 226),
    "chalk": (240, 238, 228),
    "bark": (112, 72, 44),
    "pearl": (232, 168, 204),
}
"""What a thing can be made of in a picture → its colour in red, green and blue."""

PLACES: dict[str, tuple[float, float]] = {
    "north": (0.5, 0.19),
    "east": (0.81, 0.5),
    "south": (0.5, 0.81),
    "west": (0.19, 0.5),
}
"""Where a thing can be in a picture → the middle of the place, from the left and from the top."""
