"""What all benchmarks of files share: rows → prompts, each accounted for, and a wrong file told from the right one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import yaml
from pydantic import Field

from holdfast.core.config import File, Spec, load
from holdfast.core.errors import DataError
from holdfast.core.files import Row, did_you_mean, read_rows, refuse_rows
from holdfast.core.types import Benchmark, Prompt
from holdfast.data.benchmarks import BENCHMARKS

Digest = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]

LONGEST_NAME = 30
"""Letters of a column's name that an error shows; what is longer may be a prompt, of a file without header."""


class BadRowError(Exception):
    """Why a row is not a prompt. It never leaves `load`, which names the row by its place."""


@dataclass
class _Found:
    """What the rows of a benchmark's files have given so far."""

    prompts: dict[str, Prompt] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    left: Counter[str] = field(default_factory=Counter)
    """Why rows are left out → how many."""
    repeated: int = 0


class PromptSet(Spec):
    """Prompts from files. A subclass says how a row becomes a prompt, and what upstream publishes."""

    title: ClassVar[str] = ""
    """Its name in tables; the file's where it is empty."""
    obtain: ClassVar[str] = ""
    """Where it comes from, and which file is meant; errors end with it."""
    layout: ClassVar[tuple[str, ...]] = ()
    """Columns that a row must have."""

    policies: File | None = None
    """YAML or JSON: category → the text that forbids it."""
    allow_partial: bool = False
    """Take another number of prompts than upstream publishes, and ask repeated ones once; both are noted."""

    def paths(self) -> tuple[Path, ...]:
        """The files, in order."""
        raise NotImplementedError

    def pin(self, path: Path) -> str | None:
        """The SHA-256 that a file must have, if the study says one."""
        raise NotImplementedError

    def prompt(self, row: Row) -> Prompt:
        """The prompt of a row.

        Raises:
            BadRowError: it is none.
        """
        raise NotImplementedError

    def needed(self) -> tuple[str, ...]:
        """Columns that a row must have."""
        return self.layout

    def names(self) -> Sequence[str] | None:
        """The columns of a CSV file that has no header line."""
        return None

    def left_out(self, row: Row) -> str:
        """Why the study does not ask a row, or ""."""
        return ""

    def policy(self, row: Row) -> str:
        """The policy that a row brings, or ""."""
        return ""

    def default_policies(self) -> Mapping[str, str]:
        """Category → policy text where neither the study nor a row gives one; its categories may be without prompts."""
        return {}

    def published(self) -> Mapping[int, str]:
        """Numbers of prompts that upstream publishes → how that set differs from the whole, or ""; empty: any."""
        return {}

    def count(self, asked: int, left: int) -> int:
        """The number that is held against `published`: what is asked, unless upstream counts what is left out too."""
        return asked

    def difference(self, prompts: Iterable[Prompt], count: int) -> str:
        """More on how the prompts differ from upstream's, or ""."""
        return ""

    def rows(self, path: Path) -> list[tuple[str, Row | str]]:
        """Each row of a file with its place: the row, or the reason why there is none.

        Raises:
            DataError: no row has the columns that are needed, so it is another file.
        """
        rows = list(read_rows(path, self.names()))
        needed = set(self.needed())
        if rows and not any(isinstance(row, dict) and needed <= row.keys() for _, row in rows):
            raise DataError(self._another_file(path))
        return rows

    def load(self) -> Benchmark:
        """Read and check the files.

        Raises:
            DataError: a file other than the pinned one, or other than upstream's; every bad or repeated row by place
                and reason; policies for other categories; or no prompts.
        """
        for path in self.paths():
            check_pin(path, self.pin(path))
        found = _Found()
        for path in self.paths():
            problems = []
            for place, row in self.rows(path):
                try:
                    self._take(found, place, row)
                except BadRowError as problem:
                    problems.append(f"{place}: {problem}")
            refuse_rows(path, problems)
        prompts = tuple(found.prompts.values())
        if not prompts:
            raise DataError(f"{self._where()} has no prompts. {self.obtain}".rstrip())
        notes = self._account(prompts, self.count(len(prompts) + found.repeated, found.left.total()))
        notes += [f"{n:,} left out: {reason}" for reason, n in found.left.items()]
        notes += [f"{found.repeated:,} repeated prompt(s) asked once"] if found.repeated else []
        name = self.title or self.paths()[0].name.partition(".")[0]
        return Benchmark(name, prompts, self._policies(prompts, found.policies), tuple(notes))

    def _take(self, found: _Found, place: str, row: Row | str) -> None:
        """Put a row to those that are found.

        Raises:
            BadRowError: it cannot be.
        """
        if isinstance(row, str):
            raise BadRowError(row)
        if reason := self.left_out(row):
            found.left[reason] += 1
            return
        prompt, policy = self.prompt(row), self.policy(row)
        if prompt.id in found.prompts and not self.allow_partial:
            raise BadRowError(f"the same prompt as {found.places[prompt.id]}; `allow_partial: true` asks it once")
        if policy and found.policies.setdefault(prompt.category, policy) != policy:
            raise BadRowError(f"another policy for {prompt.category!r} than before")
        found.repeated += prompt.id in found.prompts
        found.places.setdefault(prompt.id, place)
        found.prompts.setdefault(prompt.id, prompt)

    def _where(self) -> Path:
        paths = self.paths()
        return paths[0] if len(paths) == 1 else paths[0].parent

    def _account(self, prompts: Iterable[Prompt], count: int) -> list[str]:
        """Notes on how the prompts differ from upstream's."""
        published = self.published()
        more = self.difference(prompts, count)
        if not published or (count in published and not more):
            return [note for note in (published.get(count, ""),) if note]
        more = more and f" ({more})"
        sizes = " or ".join(f"{size:,}" for size in sorted(published, reverse=True))
        if not self.allow_partial:
            raise DataError(
                f"{self._where()} has {count:,} prompts where {self.title} has {sizes}{more}. {self.obtain} "
                "If another number is what you want, say `allow_partial: true`; the figures will be shown with a note."
            )
        full = max(published)
        how = f"{count:,} of the {full:,} prompts" if count < full else f"{count:,} prompts where there are {full:,}"
        return [f"{how} of {self.title}{more}"]

    def _policies(self, prompts: Iterable[Prompt], of_rows: Mapping[str, str]) -> dict[str, str]:
        """Category → policy: the study's file, else the rows', else the benchmark's own."""
        default = self.default_policies()
        categories = list(dict.fromkeys(prompt.category for prompt in prompts))
        if self.policies is None:
            every = {**default, **of_rows}
            return {category: every[category] for category in categories if category in every}
        given = read_policies(self.policies)
        known = list(dict.fromkeys([*categories, *default]))
        problems = [f"{name!r} is no category.{did_you_mean(name, known)}" for name in given if name not in known]
        problems += [f"{name!r} has no policy." for name in categories if name not in given]
        if problems:
            raise DataError(f"{self.policies} does not fit {self._where()}:\n  " + "\n  ".join(problems))
        return {category: given[category] for category in categories}

    def _another_file(self, path: Path) -> str:
        """Why a file is not this benchmark's: columns and number of rows, and what it may be."""
        rows = [row for _, row in read_rows(path) if isinstance(row, dict)]
        found = list(rows[0]) if rows else []
        shown = [repr(name) if len(name) <= LONGEST_NAME else f"a text of {len(name)} letters" for name in found]
        sizes = " or ".join(f"{size:,}" for size in sorted(self.published(), reverse=True))
        expected = ", ".join(map(repr, self.needed())) + (f" and {sizes} prompts" if sizes else "")
        fits = [kind for kind in fitting(found) if kind != getattr(self, "kind", "")]
        other = f" It has the columns of {' and '.join(fits)}." if fits else ""
        return (
            f"{path} is another file than {self.title or 'the study says'}: it has {len(rows):,} rows with the "
            f"column(s) {', '.join(shown) or 'none'}, where {expected} were expected.{other} {self.obtain}"
        ).rstrip()


class PromptTable(PromptSet):
    """Prompts from one file."""

    file: File
    """CSV, TSV, JSON, JSON Lines or Parquet; all but Parquet may be gzipped."""
    sha256: Digest | None = None
    """The SHA-256 that the file must have."""

    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.file,)

    def pin(self, path: Path) -> str | None:
        """The SHA-256 that the file must have, if the study says one."""
        return self.sha256


def text_of(row: Row, column: str) -> str:
    """The text in a column.

    Raises:
        BadRowError: there is none.
    """
    text = row.get(column)
    if not isinstance(text, str) or not text.strip():
        found = "it is empty or no text" if column in row else f"found {', '.join(map(repr, row)) or 'nothing'}"
        raise BadRowError(f"no {column!r}; {found}")
    return text


def fitting(columns: Iterable[str]) -> list[str]:
    """The benchmarks whose files have these columns."""
    found = set(columns)
    layouts = {kind: getattr(load(reference), "layout", ()) for kind, reference in BENCHMARKS.items()}
    return [kind for kind, layout in layouts.items() if layout and found.issuperset(layout)]


def check_pin(path: Path, pin: str | None) -> None:
    """Refuse a file other than the pinned one.

    Raises:
        DataError: its SHA-256 differs.
    """
    if pin is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != pin.lower():
        raise DataError(
            f"{path} has the SHA-256 {found}, but the study pins {pin.lower()}. "
            "Use the file that was pinned, or change `sha256` if the new one is meant."
        )


def read_policies(path: Path) -> dict[str, str]:
    """Category → policy text.

    Raises:
        DataError: it is not a mapping of texts.
    """
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(given, dict) or not all(isinstance(text, str) and text.strip() for text in given.values()):
        raise DataError(f"{path} must be a mapping, category: policy text; each policy must be text.")
    return {str(category): text for category, text in given.items()}
