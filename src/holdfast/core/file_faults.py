"""What is wrong with a file that cannot be read as rows, and how to mend it, in words."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

SHOWN_LENGTH = 200
"""Characters of a user's value that a message shows."""

MOST_NAMES = 30
"""Columns that a message names."""

UTF8_BOM = b"\xef\xbb\xbf"
"""The byte-order mark that some programs put before UTF-8."""

TO_UTF8 = "Save it as UTF-8, for example with `iconv -f {encoding} -t utf-8 OLD > NEW`."

KINDS = {
    b"PAR1": "a Parquet file. Give it a name that ends with .parquet.",
    b"PK\x03\x04": "a zip archive, which an Excel workbook is too. Unpack it, or export the table as CSV.",
    b"BZh": "compressed with bzip2. Unpack it, or compress it with gzip.",
    b"\x28\xb5\x2f\xfd": "compressed with zstd. Unpack it, or compress it with gzip.",
    b"\xfd7zXZ": "compressed with xz. Unpack it, or compress it with gzip.",
    b"version https://git-lfs": "a pointer of Git LFS, not the file itself. Fetch the file with `git lfs pull`.",
    b"\xff\xfe": "encoded in UTF-16, not UTF-8. " + TO_UTF8.format(encoding="utf-16"),
    b"\xfe\xff": "encoded in UTF-16, not UTF-8. " + TO_UTF8.format(encoding="utf-16"),
}
"""First bytes of a file → what it is, and what to do."""

PAGE = (b"<!doctype html", b"<html")
"""How a web page begins, in lower case."""

NAMED = {",": "commas", ";": "semicolons", "\t": "tabs"}
"""What stands between the columns of a table."""


def another_kind(start: bytes, ending: str) -> str:
    """What a file is by its first bytes, if that is something else than its name says; else ""."""
    for magic, kind in KINDS.items():
        if start.startswith(magic) and not (magic == b"PAR1" and ending == "parquet"):
            return kind
    if start.lstrip().lower().startswith(PAGE):
        return "a web page. Download the file itself, often under a link called “raw” or “download”."
    if ending == "parquet":
        return ""
    for encoding, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if len(start) > 3 and zeros.count(0) > len(zeros) / 2:
            return f"encoded in UTF-16 without a byte-order mark, not in UTF-8. {TO_UTF8.format(encoding=encoding)}"
    looks_like_json = start.removeprefix(UTF8_BOM).lstrip()[:2] in (b'{"', b"[{", b"[\n", b"{\n")
    if looks_like_json and ending in ("csv", "tsv"):
        return "JSON, not a table. Give it a name that ends with .json or .jsonl."
    return ""


def folder_in_place_of_file(path: Path) -> str:
    """That a path is a folder, with the files in it that could be meant."""
    files = sorted(entry.name for entry in path.iterdir() if entry.is_file())[:5]
    return f"{path} is a folder, but a file is needed. " + (f"Name a file in it, such as {', '.join(files)}." if files
                                                            else "It holds no file.")  # fmt: skip


def not_utf8(path: Path, open_file: Callable[[Path], BinaryIO]) -> str:
    """The first line of a text file that is not UTF-8, with the letter that its byte may stand for."""
    number = 1
    with open_file(path) as lines, contextlib.suppress(EOFError, OSError, zlib.error):  # a damaged gzip file
        for number, line in enumerate(lines, 1):
            try:
                line.decode("utf-8-sig")
            except UnicodeDecodeError as error:
                return f"{path}, line {number}: {bad_byte(line, error.start)} {TO_UTF8.format(encoding='cp1252')}"
    return f"{path}, line {number}: not UTF-8. {TO_UTF8.format(encoding='cp1252')}"


def bad_byte(line: bytes, place: int) -> str:
    """What the byte at a place of a line is, if it is not UTF-8."""
    letter = line[place : place + 1].decode("cp1252", errors="replace")
    return f"not UTF-8: byte 0x{line[place]:02X}, which is {letter!r} in Windows-1252 (and mostly in Latin-1)."


def not_json(text: str, error: Exception) -> str:
    """Why a text is not JSON, with a remedy for the usual mistakes."""
    if not isinstance(error, json.JSONDecodeError):
        return f"not JSON ({error})"
    rest, before = text[error.pos :].lstrip(), text[: error.pos].rstrip()
    if rest[:1] == "," and error.msg == "Extra data":
        return "a comma stands behind the object. Remove the commas between lines, or put all rows into one list, [ … ]"
    if "trailing comma" in error.msg or (before.endswith(",") and rest[:1] in ("]", "}")):
        return f"a comma stands before the closing bracket (line {error.lineno}, column {error.colno}). Remove it"
    if text[error.pos : error.pos + 1] == "'":
        return f"not JSON ({error}): texts and names need double quotes, not single ones"
    return f"not JSON ({error})"


def no_json_lines(text: str, first_problem: str) -> str:
    """What a file is, of which no line is a JSON object."""
    try:
        whole: Any = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict):
        lists = [name for name, value in whole.items() if isinstance(value, list)]
        hint = f" Are the rows in {listed_names(lists)}? Write that list into a file of its own." if lists else ""
        return f"it is one JSON object, where one object on each line, or one list of objects, is needed.{hint}"
    table = "" if text.lstrip().startswith(("{", "[")) else " Is it a table? Then give it a name that ends with .csv."
    return f"no line is a JSON object. {first_problem}.{table}"


def other_separator(fields: Sequence[str], n_expected: int | None, separator: str) -> str:
    """What seems to stand between the columns of a row instead of the separator, and what to do; else ""."""
    if len(fields) != 1:
        return ""
    for other, name in NAMED.items():
        n_others = fields[0].count(other)
        if other == separator or not n_others or (n_expected is not None and n_others != n_expected - 1):
            continue
        mend = {"\t": "Give the file a name that ends with .tsv", ",": "Give the file a name that ends with .csv"}
        remedy = mend.get(other, "Save it with commas; a spreadsheet asks for that when it exports CSV")
        return f"the columns seem to be separated by {name}, not by {NAMED[separator]}. {remedy}"
    return ""


def unusable_text(column: str, value: Any) -> str:
    """Why the text in a column cannot be used, or "". Texts inside of lists and objects are looked at too."""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return f"{shown(column)} holds lists or objects that are nested too deeply"
    if not isinstance(value, str):
        text = text.replace("\\u0000", "\0")
    if problem := half_character(f"{column}{text}"):
        return f"{shown(column)} holds {problem}"
    return ""


def half_character(text: str) -> str:
    """Why a text can neither be stored nor be shown to a model, or ""."""
    if "\0" in text:
        return "a NUL character, which no text should; remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "half of a character (a lone surrogate): it was cut in the middle, often of an emoji"
    return ""


def listed_names(names: Iterable[str]) -> str:
    """The names of columns as a message lists them."""
    first = [shown(name) for name in islice(names, MOST_NAMES + 1)]
    return ", ".join([*first[:MOST_NAMES], *(["…"] if len(first) > MOST_NAMES else [])]) or "nothing"


def shown(value: Any) -> str:
    """A value of a user as a message shows it: not longer than a line or two, and with nothing that cannot be shown."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python turns into text
        text = f"a {type(value).__name__} that is too large to be shown"
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"
