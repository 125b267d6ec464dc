"""Conversations with pictures: LLaVA's own layout, and `messages` with `images`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, model_validator

from holdfast.core import albums, pictures
from holdfast.core.config import explained
from holdfast.core.file_faults import shown
from holdfast.core.files import is_file, is_folder, locate, shown_name, similar_name
from holdfast.core.looking import PictureError
from holdfast.core.pictures import MARK, Picture
from holdfast.core.rows import Row, Rows, usable
from holdfast.core.types import Message
from holdfast.data.training.base import RowSource
from holdfast.data.training.conversation import conversation
from holdfast.data.training.sharegpt import speakers_turns

KEPT = 200_000
"""Pictures of which the size is remembered: LLaVA-Instruct names each of its 81,000 about twice."""


def _album(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path):
        raise explained(f"expected a folder, a zip or a tar of pictures, found {shown(value)}")
    path = locate(str(value), (info.context or {}).get("folder"))
    if not is_folder(path) and not is_file(path):
        raise explained(f"there is no folder or archive of pictures {shown(str(path))}.{similar_name(path)}")
    return path.resolve()


AlbumPath = Annotated[Path, BeforeValidator(_album), PlainSerializer(shown_name)]


@lru_cache(maxsize=KEPT)
def _seen(place: str, name: str, state: tuple[int, int]) -> Picture:
    """A picture that was looked at in a certain state of its file."""
    del state
    return pictures.look(place, name)


class WithPictures(RowSource):
    """Rows whose turns may have pictures."""

    column: ClassVar[str]
    """Where a row names its pictures."""

    images: AlbumPath | None = None
    """Where the pictures lie that rows name: a folder, a zip, or a tar. A data set of the Hub can hold them itself."""

    @model_validator(mode="after")
    def _has_pictures(self) -> WithPictures:
        if self.images is None and self.hub is None:
            raise explained("say where the pictures lie: `images`, a folder, a zip or a tar")
        return self

    def rows(self) -> Rows:
        """Each row; the pictures that stand in a data set's own rows are looked at as it is read."""
        if self.images is not None:
            albums.album(str(self.images))  # an archive that is broken is said at once
        return super().rows() if self.hub is None else self._rows_of_table()

    def _rows_of_table(self) -> Rows:
        settings = {
            "path": self.hub, "name": self.config, "data_dir": self.data_dir, "split": self.split,
            "revision": self.revision,
        }  # fmt: skip
        table = albums.load_table(**settings).with_format("arrow")
        place = albums.HUB + json.dumps(settings)
        for number in range(len(table)):
            (row,) = table[number].to_pylist()
            row[self.column] = self._embedded(row.get(self.column), place, number)
            checked = usable({name: value for name, value in row.items() if name != self.column})
            yield f"row {number + 1}", checked if isinstance(checked, str) else row

    def _embedded(self, value: Any, place: str, number: int) -> Any:
        """A row's pictures: those that it only names stay names; a fault stays in the place of its picture."""
        if isinstance(value, list):
            return [self._one(each, place, f"{number}/{self.column}/{i}") for i, each in enumerate(value)]
        return self._one(value, place, f"{number}/{self.column}/0")

    def _one(self, value: Any, place: str, name: str) -> Any:
        if value is None or isinstance(value, str):
            return value
        try:
            return pictures.of_bytes(place, name, albums.embedded(value))
        except PictureError as error:
            return error

    def picture(self, value: Any) -> Picture | str:
        """The picture that an entry of a row names or holds, or why there is none."""
        if isinstance(value, Picture):
            return value
        if isinstance(value, PictureError):
            return f"its picture {value}"
        if not isinstance(value, str):
            return f"{self.column!r} must name a picture, found {shown(value)}"
        if self.images is None:
            return f"it names the picture {shown(value)}, but `images` does not say where pictures lie"
        try:
            file = self.images if self.images.is_file() else self.images / value
            state = file.stat() if "\0" not in value and file.is_file() else None
            return _seen(str(self.images), value, (state.st_size, state.st_mtime_ns) if state else (0, 0))
        except PictureError as error:
            return f"the picture {shown(value)} {error}"
        except OSError as error:
            return f"the picture {shown(value)} cannot be read: {error}"

    def with_pictures(self, turns: tuple[Message, ...] | str, named: Any) -> tuple[Message, ...] | str:
        """The turns with the pictures that the row names, each in the place of its mark; or why that cannot be."""
        if isinstance(turns, str):
            return turns
        values = named if isinstance(named, list) else [] if named is None else [named]
        if problem := _problem_of_marks(turns, len(values)):
            return problem
        found: list[Picture] = []
        for value in values:
            picture = self.picture(value)
            if isinstance(picture, str):
                return picture
            found.append(picture)
        return tuple(_shared_out(turns, found))


def _problem_of_marks(turns: tuple[Message, ...], n_pictures: int) -> str:
    """Why the marks of a conversation and its pictures do not belong together, or ""."""
    for number, turn in enumerate(turns, 1):
        if turn.role != "user" and MARK in turn.content:
            return f"turn {number} ({turn.role}) has an {MARK} mark; only the user shows pictures"
        if turn.role == "user" and not turn.content.replace(MARK, "").strip():
            return f"turn {number} (user) shows a picture and asks nothing"
    marks = sum(turn.content.count(MARK) for turn in turns)
    if marks == n_pictures:
        return ""
    if not n_pictures:
        return f"it has {marks} {MARK} mark(s), but names no picture"
    return f"it has {marks} {MARK} mark(s) and names {n_pictures} picture(s); each picture needs one mark"


def _shared_out(turns: tuple[Message, ...], found: list[Picture]) -> Iterator[Message]:
    """The turns, each with as many of the pictures as it has marks."""
    left = iter(found)
    for turn in turns:
        n = turn.content.count(MARK) if found else 0
        yield replace(turn, pictures=tuple(next(left) for _ in range(n))) if n else turn


class LLaVA(WithPictures):
    """Conversations as LLaVA-Instruct has them: `conversations` as in ShareGPT, with `<image>` where `image` stands."""

    needs: ClassVar[tuple[str, ...]] = ("conversations", "image")
    column: ClassVar[str] = "image"
    kind: Literal["llava"] = "llava"

    @property
    def needed(self) -> tuple[str, ...]:
        """The turns; a row without a picture has no `image`."""
        return ("conversations",)

    def turns(self, row: Row) -> tuple[Message, ...] | str:
        """The turns with their pictures."""
        return self.with_pictures(speakers_turns(row), row.get("image"))


class MessagesImages(WithPictures):
    """Conversations of `messages` with `<image>` in them, or parts of type `image`, and `images` in their order."""

    needs: ClassVar[tuple[str, ...]] = ("messages", "images")
    column: ClassVar[str] = "images"
    kind: Literal["messages-images"] = "messages-images"

    def turns(self, row: Row) -> tuple[Message, ...] | str:
        """The turns with their pictures."""
        turns = row["messages"]
        if isinstance(turns, list):
            turns = [_joined(turn) for turn in turns]
        read = conversation({**row, "messages": turns})
        return self.with_pictures(read, row["images"])


def _joined(turn: Any) -> Any:
    """A turn whose content is a list of parts, as one text with marks; any other turn as it is."""
    if not isinstance(turn, dict) or not isinstance(turn.get("content"), list):
        return turn
    parts = [_text_of(part) for part in turn["content"]]
    texts = [part for part in parts if part is not None]
    return turn if len(texts) < len(parts) else {**turn, "content": "\n".join(texts)}


def _text_of(part: Any) -> str | None:
    """A part of a turn as text; None where it is neither text nor a picture."""
    if not isinstance(part, dict):
        return None
    if part.get("type") == "image":
        return MARK
    text = part.get("text")
    return text if part.get("type") == "text" and isinstance(text, str) else None
