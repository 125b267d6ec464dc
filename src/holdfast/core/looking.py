"""The bytes of a picture of others → its size, or its pixels; what is hostile or broken is refused by name.

Nothing is believed but the bytes: not the file's name, and not what its header promises.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any

from holdfast.core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""What is read. Other readers of Pillow are left alone: each is one more way in."""

MOST_BYTES = 50_000_000
"""Of a picture's file."""
MOST_PIXELS = 50_000_000
"""Of a picture: 150 MB once it is unpacked."""
MOST_EXIF = 1_000_000
"""Bytes of what a camera wrote into a file."""
LONGEST_SIDE = 200
"""How many times as long as the other one side may be; Qwen2-VL takes no more."""

ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)
"""Orientations in which width and height change places."""

SHRUNK = 8
"""A JPEG is unpacked to an eighth of its size where only its wholeness is looked at."""

OTHERS = {
    b"<svg": "an SVG drawing",
    b"<?xml": "XML, perhaps an SVG drawing",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"%pdf": "a PDF file",
    b"pk\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"ii*\x00": "a TIFF file",
    b"mm\x00*": "a TIFF file",
    b"\x00\x00\x01\x00": "an icon",
    b"%!ps": "a PostScript program",
    b"version https://git-lfs": "a pointer of Git LFS, not the picture itself",
    b"{": "text",
    b"[": "text",
}
"""How a file begins that is no picture, in lower case → what it is."""

BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, MemoryError,
    AttributeError, struct.error, zlib.error, Warning,
)  # fmt: skip
"""What Pillow raises on files that are not what they say."""


class PictureError(DataError):
    """A picture that is missing, or that cannot or shall not be read."""


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a picture, as it is to be looked at, in pixels. All of it is read, to see that it is whole.

    Raises:
        PictureError: it is no picture of a kind that is read, moves, is cut off, too large, or has a false EXIF block.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = _opened(data)
        width, height = image.size
        if image.format in ("JPEG", "MPO"):
            image.draft("RGB", (max(1, width // SHRUNK), max(1, height // SHRUNK)))
        _load(image)
        turned = _orientation(image) in TURNED
    return (height, width) if turned else (width, height)


def pixels(data: bytes) -> Image:
    """A picture in RGB, turned as its camera says. Raises as `size_of`."""
    from PIL import ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = _opened(data)
        _load(image)
        _orientation(image)
        try:
            return ImageOps.exif_transpose(image).convert("RGB")
        except BROKEN as error:
            raise PictureError(f"cannot be unpacked: {_words(error)}") from error


def _opened(data: bytes) -> Any:
    """A picture whose header is sound; nothing is unpacked yet."""
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError("is an empty file")
    if len(data) > MOST_BYTES:
        raise PictureError(f"has {len(data):,} bytes, more than the {MOST_BYTES:,} that are read")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise PictureError(_no_picture(data)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(f"is a decompression bomb: {_words(error)}") from error
    except BROKEN as error:
        raise PictureError(f"has a broken header: {_words(error)}") from error
    _check_size(*image.size, len(data))
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise PictureError("moves: it has several frames, of which a model would see one")
    return image


def _check_size(width: int, height: int, n_bytes: int) -> None:
    if width * height > MOST_PIXELS:
        raise PictureError(
            f"is a decompression bomb: {n_bytes:,} bytes that unpack to {width:,} × {height:,} pixels, where "
            f"{MOST_PIXELS:,} pixels are the most that is read"
        )
    if max(width, height) > LONGEST_SIDE * min(width, height):
        raise PictureError(
            f"is {width:,} × {height:,} pixels: no model sees a line. Sides may differ {LONGEST_SIDE}-fold"
        )


def _orientation(image: Any) -> int:
    """How a picture is turned, by its EXIF block: 1 to 8."""
    block = image.info.get("exif") or b""
    if len(block) > MOST_EXIF:
        raise PictureError(f"has an EXIF block of {len(block):,} bytes, more than the {MOST_EXIF:,} that are read")
    if block and not block.removeprefix(b"Exif\0\0").startswith((b"II*\0", b"MM\0*")):
        raise PictureError(f"has an EXIF block that cannot be read: it begins with {block[:10]!r}")
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except BROKEN as error:
        raise PictureError(f"has an EXIF block that cannot be read: {_words(error)}") from error
    if type(orientation) is not int or not 0 <= orientation <= 8:
        raise PictureError(f"has an EXIF block with the orientation {str(orientation)[:20]!r}, where 1 to 8 exist")
    return orientation or 1


def _load(image: Any) -> None:
    try:
        image.load()
    except BROKEN as error:
        words = _words(error)
        what = "is cut off" if "truncated" in words or isinstance(error, EOFError) else "is damaged"
        raise PictureError(f"{what}: {words}") from error


def _no_picture(data: bytes) -> str:
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    found = next((kind for magic, kind in OTHERS.items() if start.startswith(magic)), "")
    named = found or f"a file that begins with {data[:8]!r}"
    return f"is {named}, and none of {', '.join(FORMATS)}"


def _words(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
