"""What all benchmarks of files share: rows → prompts, each accounted for, and a wrong file told from the right one."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from holdfast.core.config import Config, File, load
from holdfast.core.errors import DataError
from holdfast.core.file_faults import MOST_NAMES, listed_names, shown
from holdfast.core.files import did_you_mean
from holdfast.core.rows import SHOWN, Row, read_rows, refuse_rows
from holdfast.core.types import Benchmark, Prompt
from holdfast.core.yaml_text import read_yaml
from holdfast.data.benchmarks import BENCHMARKS

Digest = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]

LONGEST_NAME = 30
"""Letters of a column's name that an error shows; what is longer may be a prompt, of a file without header."""


class BadRowError(Exception):
    """Why a row is not a prompt. It never leaves `load`, which names the row by its line."""


@dataclass
class _Collected:
    """What the rows of a benchmark's files have given so far."""

    prompts: dict[str, Prompt] = field(default_factory=dict)
    """Prompts by id."""
    places: dict[str, str] = field(default_factory=dict)
    """Prompt's id → the line where it first stands."""
    policies: dict[str, str] = field(default_factory=dict)
    """Category → the policy that the rows give."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Why rows are left out → how many."""
    n_repeated: int = 0


class PromptSet(Config):
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

    def names(self, path: Path) -> Sequence[str] | None:
        """The columns of a CSV file, if it has no header line."""
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
        """Each row of a file with its line: the row, or the reason why there is none.

        Raises:
            DataError: no row has the columns that are needed, so it is another file.
        """
        rows = list(read_rows(path, self.names(path)))
        needed = set(self.needed())
        if rows and not any(isinstance(row, dict) and needed <= row.keys() for _, row in rows):
            raise DataError(self._another_file(path))
        return rows

    def load(self) -> Benchmark:
        """Read and check the files.

        Raises:
            DataError: a file other than the pinned one, or other than upstream's; every bad or repeated row by line
                and reason; policies for other categories; or no prompts.
        """
        for path in self.paths():
            check_pin(path, self.pin(path))
        collected = _Collected()
        for path in self.paths():
            refuse_rows(path, list(self._collect(path, collected)))
        prompts = tuple(collected.prompts.values())
        if not prompts:
            raise DataError(f"{self._where()} has no prompts. {self.obtain}".rstrip())
        n_repeated, left_out = collected.n_repeated, collected.left_out
        notes = self._account(prompts, self.count(len(prompts) + n_repeated, left_out.total()))
        notes += [f"{n:,} left out: {reason}" for reason, n in left_out.items()]
        notes += [f"{n_repeated:,} repeated prompt(s) asked once"] if n_repeated else []
        name = self.title or self.paths()[0].name.partition(".")[0]
        return Benchmark(name, prompts, self._policies(prompts, collected.policies), tuple(notes))

    def _collect(self, path: Path, collected: _Collected) -> Iterator[str]:
        """Collect the prompts of a file; what is wrong with its bad rows, by line."""
        for place, row in self.rows(path):
            try:
                self._add(collected, place, row)
            except BadRowError as problem:
                yield f"{place}: {problem}"

    def _add(self, collected: _Collected, place: str, row: Row | str) -> None:
        """Add a row to those that are collected.

        Raises:
            BadRowError: it is no prompt, or one that was there before.
        """
        if isinstance(row, str):
            raise BadRowError(row)
        if reason := self.left_out(row):
            collected.left_out[reason] += 1
            return
        prompt, policy = self.prompt(row), self.policy(row)
        if policy and collected.policies.setdefault(prompt.category, policy) != policy:
            raise BadRowError(f"another policy for {shown(prompt.category)} than before")
        if prompt.id not in collected.prompts:
            collected.places[prompt.id] = place
            collected.prompts[prompt.id] = prompt
        elif self.allow_partial:
            collected.n_repeated += 1
        else:
            first = collected.places[prompt.id]
            raise BadRowError(f"the same prompt as {first}; remove one, or ask it once with `allow_partial: true`")

    def _where(self) -> Path:
        paths = self.paths()
        return paths[0] if len(paths) == 1 else paths[0].parent

    def _account(self, prompts: Iterable[Prompt], count: int) -> list[str]:
        """Notes on how the prompts differ from upstream's."""
        published = self.published()
        difference = self.difference(prompts, count)
        if not published or (count in published and not difference):
            return [published[count]] if published.get(count) else []
        more = f" ({difference})" if difference else ""
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
        policies = read_policies(self.policies)
        known = list(dict.fromkeys([*categories, *default]))
        strange = [name for name in policies if name not in known][:SHOWN]
        problems = [f"{shown(name)} is no category.{did_you_mean(name, known)}" for name in strange]
        problems += [f"{shown(name)} has no policy." for name in categories if name not in policies]
        if problems:
            raise DataError(f"{self.policies} does not fit {self._where()}:\n  " + "\n  ".join(problems[:SHOWN]))
        return {category: policies[category] for category in categories}

    def _another_file(self, path: Path) -> str:
        """Why a file is not this benchmark's: columns and number of rows, and what it may be."""
        rows = [row for _, row in read_rows(path) if isinstance(row, dict)]
        columns = list(rows[0]) if rows else []
        named = [repr(name) if len(name) <= LONGEST_NAME else f"a text of {len(name)} letters" for name in columns]
        has = ", ".join([*named[:MOST_NAMES], *(["…"] if len(named) > MOST_NAMES else [])]) or "none"
        sizes = " or ".join(f"{size:,}" for size in sorted(self.published(), reverse=True))
        expected = ", ".join(map(repr, self.needed())) + (f" and {sizes} prompts" if sizes else "")
        fitting = [kind for kind in fitting_benchmarks(columns) if kind != getattr(self, "kind", "")]
        other = f" It has the columns of {' and '.join(fitting)}." if fitting else ""
        return (
            f"{path} is another file than {self.title or 'the study says'}: it has {len(rows):,} rows with the "
            f"column(s) {has}, where {expected} were expected.{other} {self.obtain}"
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
    if isinstance(text, str) and text.strip():
        return text
    if column in row:
        raise BadRowError(f"no {column!r}; it is empty or no text")
    raise BadRowError(f"no {column!r}; found {listed_names(row)}")


def fitting_benchmarks(columns: Iterable[str]) -> list[str]:
    """The benchmarks whose files have these columns."""
    present = set(columns)
    layouts = {kind: getattr(load(reference), "layout", ()) for kind, reference in BENCHMARKS.items()}
    return [kind for kind, layout in layouts.items() if layout and present.issuperset(layout)]


def settings_of_file(path: Path, option: str) -> dict[str, Any]:
    """How a study names a file of prompts: its kind is told by its columns.

    Raises:
        DataError: the file cannot be read, or its columns are those of no benchmark; `option` named it.
    """
    columns: dict[str, None] = {}
    for _, row in islice(read_rows(path), 20):
        columns.update(dict.fromkeys(row if isinstance(row, dict) else ()))
    fitting = fitting_benchmarks(columns)
    # OR-Bench's columns are those that any file may have.
    if "generic" in fitting and not path.name.startswith("or-bench"):
        return {"kind": "generic", "file": str(path)}
    if fitting:
        return {"kind": fitting[0], "file": str(path)}
    if list(columns) == ["prompt"]:
        return {"kind": "generic", "file": str(path), "category": "all"}
    raise DataError(
        f"{option}: {path} has the columns {', '.join(list(columns)[:8]) or 'of no benchmark'}, which are those of no "
        f"benchmark that is known. Call them prompt and category in the file, or say what they are: {option} "
        f"'{{kind: generic, file: {path}, columns: {{prompt: …, category: …}}}}'; where no column holds a category, "
        "`columns: {prompt: …}, category: all`."
    )


def check_pin(path: Path, pin: str | None) -> None:
    """Refuse a file other than the pinned one.

    Raises:
        DataError: its SHA-256 differs.
    """
    if pin is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != pin.lower():
        raise DataError(
            f"{path} has the SHA-256 {digest}, but the study pins {pin.lower()}. "
            "Use the file that was pinned, or change `sha256` if the new one is meant."
        )


def read_policies(path: Path) -> dict[str, str]:
    """Category → policy text.

    Raises:
        DataError: it is neither YAML nor JSON, or no mapping of texts.
    """
    policies = read_yaml(path)
    if not isinstance(policies, dict) or not all(isinstance(text, str) and text.strip() for text in policies.values()):
        raise DataError(f"{path} must be a mapping, category: policy text; each policy must be text.")
    return {str(category): text for category, text in policies.items()}
