"""A multipart upload, written to disk as it comes: of a large file only a piece is ever in memory."""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from holdfast.service.errors import ApiError
from holdfast.service.policy import Limits

FIELD_BYTES = 4096
"""The longest value of a field that is no file."""
FIELDS = 20
"""The most fields of a form."""
OVERHEAD = 64 << 10
"""Bytes that a form may have beside its file."""

COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd", b"Rar!")
"""What gzip, zip, bzip2, xz, 7z, zstd and rar files begin with."""
LONGEST_MARK = max(map(len, COMPRESSED))


@dataclass
class Form:
    """What came."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = ""
    size: int = 0
    sha256: str = ""
    has_file: bool = False


async def receive_form(stream: AsyncIterator[bytes], content_type: str, target: Path, limits: Limits) -> Form:
    """Read a form; the content of its field `file` is written to the target.

    Raises:
        ApiError: no form, a form that is cut off or too large, a compressed file, or a client that is too slow.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 200:
        raise ApiError(400, "An upload is multipart/form-data with the fields `file` and `purpose`.", "invalid_form")
    with target.open("wb") as file:
        reader = _Reader(file, limits.file_bytes)
        parser = MultipartParser(boundary, reader.callbacks())
        received = 0
        try:
            async with asyncio.timeout(limits.upload_seconds):
                async for chunk in _patiently(stream, limits.idle_seconds):
                    received += len(chunk)
                    if received > limits.file_bytes + OVERHEAD:
                        raise too_large(limits)
                    await asyncio.to_thread(parser.write, chunk)
        except TimeoutError:
            raise ApiError(408, "The upload did not come in time.", "timeout") from None
        except FormParserError:
            raise ApiError(400, "The form is malformed.", "invalid_form") from None
        if not reader.ended:
            raise ApiError(400, "The form is cut off.", "invalid_form")
    return reader.form


def too_large(limits: Limits) -> ApiError:
    """What is said of a file beyond the limit."""
    return ApiError(413, f"The file has more than {limits.file_bytes:,} bytes.", "file_too_large", "file")


async def _patiently(stream: AsyncIterator[bytes], seconds: float) -> AsyncIterator[bytes]:
    """A stream whose pieces may each take so long."""
    while True:
        async with asyncio.timeout(seconds):
            try:
                chunk = await anext(stream)
            except StopAsyncIteration:
                return
        if chunk:
            yield chunk


class _Reader:
    """The parser's callbacks."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self.form = Form()
        self.ended = False
        self._file, self._most = file, most
        self._hash = hashlib.sha256()
        self._name, self._value, self._start = b"", bytearray(), b""
        self._headers: dict[str, bytes] = {}
        self._field, self._is_file, self._parts = "", False, 0

    def callbacks(self) -> Any:
        """By the parser's names."""
        return {
            "on_part_begin": self._begin, "on_header_field": self._header_name, "on_header_value": self._header_value,
            "on_header_end": self._header_end, "on_headers_finished": self._headers_finished,
            "on_part_data": self._data, "on_part_end": self._part_end, "on_end": self._end,
        }  # fmt: skip

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > FIELDS:
            raise ApiError(400, f"A form has at most {FIELDS} fields.", "invalid_form")
        self._headers, self._value, self._name = {}, bytearray(), b""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._bound(self._name)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound(self._value)

    def _header_end(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name, self._value = b"", bytearray()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._field == "file"
        if self._is_file:
            if self.form.has_file:
                raise ApiError(400, "A form has one field `file`.", "invalid_form", "file")
            self.form.has_file = True
            self.form.filename = clean_name(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if not self._is_file:
            self._value += piece
            self._bound(self._value)
            return
        if len(self._start) < LONGEST_MARK:  # it may come byte by byte
            self._start += piece[:LONGEST_MARK]
        if self._start.startswith(COMPRESSED):
            raise ApiError(400, "The file is compressed. Upload it as plain JSON Lines.", "invalid_file", "file")
        self.form.size += len(piece)
        if self.form.size > self._most:
            raise ApiError(413, f"The file has more than {self._most:,} bytes.", "file_too_large", "file")
        self._hash.update(piece)
        self._file.write(piece)

    def _part_end(self) -> None:
        if not self._is_file:
            self.form.fields[self._field] = self._value.decode("utf-8", "replace")
        self._value = bytearray()

    def _end(self) -> None:
        self.ended = True
        self.form.sha256 = self._hash.hexdigest()

    def _bound(self, value: bytes | bytearray) -> None:
        if len(value) > FIELD_BYTES:
            raise ApiError(400, f"A field or header of a form has at most {FIELD_BYTES:,} bytes.", "invalid_form")


def clean_name(name: str) -> str:
    """The last part of a file's name, without characters that are not shown; it is shown, and never used as a path."""
    last = name.replace("\\", "/").rpartition("/")[2]
    shown = "".join(character for character in last if unicodedata.category(character)[0] != "C")
    return shown.strip()[:255] or "file"
