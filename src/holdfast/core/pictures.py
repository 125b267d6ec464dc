"""A picture of a conversation: where it lies, and what it is. It is unpacked when a model is to see it, not before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core import albums, looking
from holdfast.core.looking import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = "<image>"
"""What stands for a picture in the text of a turn that has pictures."""

DRAWN = "drawn:"
"""Place of a picture that is made by code."""

DRAWINGS = ("blank", "unrelated")
"""Pictures that are made by code."""

SIDE = 336
"""Pixels of a side of a picture that is made by code: as CLIP-L/336 sees it."""


@dataclass(frozen=True)
class Picture:
    """A picture: where it lies, and what it must be when it is read."""

    place: str
    """A folder, a zip or tar archive, a data set, or `drawn:`."""
    name: str
    """Its name there."""
    sha256: str
    """Of its bytes when it was first looked at."""
    width: int
    """In pixels, as it is to be looked at."""
    height: int

    def image(self) -> Image:
        """Its pixels in RGB.

        Raises:
            PictureError: it is gone, has changed since it was first looked at, or cannot be read.
        """
        if self.place == DRAWN:
            return _draw(self.name)
        try:
            data = albums.album(self.place).read(self.name)
            if hashlib.sha256(data).hexdigest() != self.sha256:
                raise PictureError("has changed since the rows were read. Start the run again")
            return looking.pixels(data)
        except PictureError as error:
            raise PictureError(f"the picture {self.name} in {self.place} {error}.") from None


def look(place: str, name: str) -> Picture:
    """A picture in an album, which is read once to see that it is whole.

    Raises:
        PictureError: it is missing or cannot be read; the message goes on from the picture's name.
    """
    return of_bytes(place, name, albums.album(place).read(name))


def of_bytes(place: str, name: str, data: bytes) -> Picture:
    """A picture whose bytes are at hand. Raises as `look`."""
    width, height = looking.size_of(data)
    return Picture(place, name, hashlib.sha256(data).hexdigest(), width, height)


def of_file(path: Path) -> Picture:
    """A picture in a file of its own.

    Raises:
        PictureError: it cannot be read.
    """
    path = path.resolve()
    try:
        return look(str(path.parent), path.name)
    except PictureError as error:
        raise PictureError(f"the picture {path} {error}.") from None


def drawn(name: str) -> Picture:
    """A picture that is made by code: `blank`, white; `unrelated`, coloured discs on a colour gradient."""
    return Picture(DRAWN, name, hashlib.sha256(f"{DRAWN}{name}-{SIDE}".encode()).hexdigest(), SIDE, SIDE)


def _draw(name: str) -> Image:
    import numpy as np
    from PIL import Image

    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    canvas = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
    if name == "unrelated":
        canvas[..., 0], canvas[..., 1], canvas[..., 2] = rows * 255 // SIDE, columns * 255 // SIDE, 128
        for x, y, radius, colour in (
            (90, 100, 60, (220, 40, 40)),
            (230, 210, 80, (40, 90, 220)),
            (250, 80, 30, (250, 220, 60)),
        ):
            canvas[(columns - x) ** 2 + (rows - y) ** 2 < radius**2] = colour
    return Image.fromarray(canvas)
