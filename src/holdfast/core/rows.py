"""Files of a user → rows: JSON Lines, JSON, CSV, TSV or Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, AnyStr, BinaryIO, cast

from holdfast.core import file_faults, long_lists
from holdfast.core.errors import DataError

Row = dict[str, Any]
"""One row of a file, by column."""

Rows = Iterator[tuple[str, Row | str]]
"""Each row with where it is (`line 7`, `row 7`): the row, or the reason why there is none."""

CONTAINERS = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet")
"""Endings of the files that rows are read from."""

SHOWN = 20
"""How many bad rows one error names."""

LONGEST_PROBLEM = 400
"""Characters that an error says of one row."""

LONGEST_LINE = 20_000_000
"""Bytes or characters of the longest line that is read. A packed file of 1 MB may hold one of a gigabyte."""

MOST_IN_ONE_LIST = 200_000_000
"""Bytes of the largest file of one JSON list that is read as a whole; larger ones are read object by object."""


def refuse_rows(path: Path | str, problems: list[str], remedy: str = "") -> None:
    """Raise a DataError that names the bad rows of a file, if there are any, and how to mend it."""
    if not problems:
        return
    more = [f"  … and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    lines = [f"{path} has {len(problems)} bad row(s):", *listed(problems), *more]
    raise DataError("\n".join(lines + [remedy] * bool(remedy)))


def listed(problems: Sequence[str]) -> list[str]:
    """The first bad rows as lines of an error."""
    return [f"  {each if len(each) <= LONGEST_PROBLEM else each[:LONGEST_PROBLEM] + '…'}" for each in problems[:SHOWN]]


def read_rows(path: Path, header: Sequence[str] | None = None) -> Rows:
    """Each row of a file with its line or number: the row, or the reason why there is none. Blank lines are no rows.

    The name tells the container: .jsonl or .json (an object on each line, or one list of objects), .csv, .tsv or
    .parquet. All but Parquet may be compressed with gzip. Text is UTF-8, with or without a byte-order mark. `header`
    names the columns of a CSV file that has no header line.

    Raises:
        DataError: a file that is not what its name says, that is not UTF-8, or that has no rows.
    """
    if path.is_dir():
        raise DataError(file_faults.folder_in_place_of_file(path))
    ending = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending not in CONTAINERS:
        raise DataError(f"the name of {path} does not tell what it is; use one of .{', .'.join(CONTAINERS)} (.gz too).")
    n_rows = 0
    start = b""
    try:
        start = _start(path)
        if kind := file_faults.another_kind(start, ending):
            raise DataError(f"{path} is {kind}")
        for place, row in _reader(path, ending, start, header):
            n_rows += 1
            yield place, usable(row)
    except UnicodeDecodeError as error:
        raise DataError(file_faults.not_utf8(path, _open)) from error
    except OverflowError as error:
        raise DataError(f"{path}: {error}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a gzip file that is damaged or cut off: {error}. Get it again.") from error
    if not n_rows:
        raise DataError(f"{path} has no rows: it {'holds no more than its header' if start.strip() else 'is empty'}.")


def usable(row: Row | str) -> Row | str:
    """A row, or the reason why its text cannot be used: half characters and NUL would stop the run later."""
    if isinstance(row, str):
        return row
    problems = (file_faults.unusable_text(column, value) for column, value in row.items())
    return next(filter(None, problems), row)


def _reader(path: Path, ending: str, start: bytes, header: Sequence[str] | None) -> Rows:
    if ending == "parquet":
        return _parquet(path)
    if ending in ("csv", "tsv"):
        return _csv(path, "\t" if ending == "tsv" else ",", header)
    is_list = start.removeprefix(file_faults.UTF8_BOM).lstrip().startswith(b"[")
    return _json_list(path) if is_list else _json_lines(path)


def _open(path: Path) -> BinaryIO:
    """A file's bytes, unpacked where they are packed with gzip, whatever the name says."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(path, "rb")) if packed else path.open("rb")


def _start(path: Path) -> bytes:
    with _open(path) as file:
        return file.read(4096)


def _lines(file: IO[AnyStr]) -> Iterator[AnyStr]:
    """The lines of a file.

    Raises:
        OverflowError: one is longer than is read.
    """
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise OverflowError(f"line {number} is longer than {LONGEST_LINE:,} characters. Is it the right file?")
        yield line


def _json_lines(path: Path) -> Rows:
    first_problem, n_good = "", 0
    with _open(path) as file:
        for number, line in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            row = _json_line(line)
            if isinstance(row, str):
                first_problem = first_problem or f"Line {number}: {row}"
            else:
                n_good += 1
            yield f"line {number}", row
    if first_problem and not n_good:
        with _open(path) as file:
            text = file.read(LONGEST_LINE).decode("utf-8-sig", "replace")
        raise DataError(f"{path}: {file_faults.no_json_lines(text, first_problem)}")


def _json_line(line: bytes) -> Row | str:
    try:
        text = line.decode("utf-8-sig")
        return _object(json.loads(text))
    except UnicodeDecodeError as error:
        return file_faults.bad_byte(line, error.start)
    except (ValueError, RecursionError) as error:
        return f"{file_faults.not_json(text, error)}; each line must be one JSON object"


def _json_list(path: Path) -> Rows:
    with _open(path) as file:
        content = file.read(MOST_IN_ONE_LIST + 1)
    if len(content) > MOST_IN_ONE_LIST:
        del content
        with io.TextIOWrapper(_open(path), encoding="utf-8-sig") as long:
            for number, row in enumerate(long_lists.values(long, str(path), LONGEST_LINE), 1):
                yield f"row {number}", _object(row)
        return
    text = content.decode("utf-8-sig")
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        problem = file_faults.not_json(text, error)
        raise DataError(f"{path} is not one whole JSON list: {problem}. Or is it cut off?") from error
    for number, row in enumerate(rows, 1):
        yield f"row {number}", _object(row)


def _csv(path: Path, separator: str, header: Sequence[str] | None) -> Rows:
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(_lines(file), delimiter=separator)
        names = list(header) if header is not None else None
        before = 0
        try:
            for fields in lines:
                place, before = f"line {before + 1}", lines.line_num
                if not fields:
                    continue
                if names is None:
                    names = _header(path, place, fields, separator)
                else:
                    yield place, _csv_row(fields, names, separator)
        except csv.Error as error:
            raise DataError(
                f"{path}, line {lines.line_num}: not CSV: {error}. Is a quotation mark not closed?"
            ) from error


def _header(path: Path, place: str, fields: list[str], separator: str) -> list[str]:
    """The names of a CSV file's columns.

    Raises:
        DataError: another separator than the file's name says, or a name that is given twice.
    """
    if problem := file_faults.other_separator(fields, None, separator):
        raise DataError(f"{path}, {place}: {problem}.")
    twice = sorted({name for name in fields if fields.count(name) > 1})
    if twice:
        raise DataError(f"{path}, {place}: the column(s) {', '.join(map(repr, twice))} are named twice; rename one.")
    return fields


def _csv_row(fields: list[str], names: list[str], separator: str) -> Row | str:
    if len(fields) == len(names):
        return dict(zip(names, fields, strict=True))
    hint = file_faults.other_separator(fields, len(names), separator)
    return f"{len(fields)} fields where {len(names)} were expected ({', '.join(names)})" + (f"; {hint}" if hint else "")


def _parquet(path: Path) -> Rows:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a whole Parquet file: {error}. Get it again.") from error


def _object(row: Any) -> Row | str:
    return row if isinstance(row, dict) else f"expected a JSON object, found {type(row).__name__}"
