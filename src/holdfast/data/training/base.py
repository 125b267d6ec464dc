"""What all sources of one layout share: where their rows are, what becomes of each row, and which rows are drawn."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, PositiveInt, StringConstraints, ValidationInfo, model_validator

from holdfast.core.config import Config, File, explained, load
from holdfast.core.errors import DataError
from holdfast.core.file_faults import SHOWN_LENGTH, listed_names
from holdfast.core.files import did_you_mean, is_folder, locate, similar_name
from holdfast.core.rows import Row, Rows, listed, read_rows, refuse_rows, usable
from holdfast.core.types import Account, Example, Message, content_hash
from holdfast.data.training import SOURCES
from holdfast.data.training.draw import draw
from holdfast.data.training.refusal_words import SAFETY_WORDS, plain

KEPT = 4
"""Data sets whose rows are kept in memory for the next condition or seed that draws from them."""


def _folder_or_id(value: str, info: ValidationInfo) -> str:
    folder = locate(value, (info.context or {}).get("folder"))
    if is_folder(folder):
        return str(folder.resolve())
    if value.startswith((".", "/", "~")) or value.count("/") > 1:
        raise explained(f"there is no folder {str(folder)[:SHOWN_LENGTH]}.{similar_name(folder)}")
    return value


def _safety_or_list(value: Any) -> Any:
    if isinstance(value, str) and value != "safety":
        raise explained(f"expected `safety` or a list of phrases, found {value!r}.{did_you_mean(value, ['safety'])}")
    return value


Phrase = Annotated[str, StringConstraints(min_length=1)]
Phrases = Annotated[Literal["safety"] | tuple[Phrase, ...], BeforeValidator(_safety_or_list)]


class RowSource(Config):
    """Rows of one layout, from a file or the Hugging Face Hub; all of them, or `n` drawn by seed."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Columns that every row of the layout has."""
    attack: ClassVar[bool] = False
    """Whether its rows are made to undo a model's safety."""

    kind: Any
    file: File | None = None
    """JSON Lines, JSON, CSV, TSV or Parquet, told by its name; all but Parquet may be gzipped."""
    hub: Annotated[str, AfterValidator(_folder_or_id)] | None = None
    """In place of `file`: a data set's id on the Hugging Face Hub, or a folder laid out like one."""
    config: str | None = None
    """The Hub data set's configuration, where it has several."""
    data_dir: str | None = None
    """The Hub data set's folder, where only one is wanted."""
    split: str = "train"
    """The Hub data set's split."""
    revision: str | None = None
    """The Hub data set's commit, tag or branch."""
    bad_rows: Literal["refuse", "drop"] = "refuse"
    """Whether rows that cannot be trained on stop the study, or are left out and counted."""
    drop: Phrases | None = None
    """Rows with one of these phrases in any turn are left out, whatever the case; `safety` means SAFETY_WORDS."""
    n: PositiveInt | None = None
    """How many rows to draw without replacement; all of them, in their order, if not given."""

    @model_validator(mode="after")
    def _one_place(self) -> RowSource:
        if (self.file is None) == (self.hub is None):
            raise explained("say where the rows are: give either `file` or `hub`")
        unset = {"config": None, "data_dir": None, "split": "train", "revision": None}
        stray = [repr(setting) for setting, default in unset.items() if getattr(self, setting) != default]
        if self.file is not None and stray:
            raise explained(f"{', '.join(stray)} can only be given with `hub`, not with `file`")
        return self

    @abstractmethod
    def turns(self, row: Row) -> tuple[Message, ...] | str:
        """The turns of a row that has the needed columns, or why it cannot be trained on."""

    def outside(self, row: Row) -> str:
        """The setting by which a readable row is left out, or ""."""
        return ""

    @property
    def needed(self) -> tuple[str, ...]:
        """Columns that every row must have."""
        return self.needs

    @property
    def name(self) -> str:
        """The file or data set, as messages and accounts name it."""
        if self.file is not None:
            return str(self.model_dump(mode="json", include={"file"})["file"])
        revision = f"@{self.revision}" if self.revision else ""
        return "/".join(filter(None, (f"{self.hub}{revision}", self.config, self.data_dir, self.split)))

    def examples(self, seed: int) -> list[Example]:
        """The rows of one seed.

        Raises:
            DataError: bad rows, by place and reason; a file of another layout; or fewer rows than `n`.
        """
        rows = _read(self._reading())[0]
        (account,) = self.accounts()
        return list(rows) if self.n is None else draw(rows, self.n, seed, account.name)

    def accounts(self) -> list[Account]:
        """What became of the rows.

        Raises:
            DataError: as `examples` does.
        """
        return [_account(self._reading())]

    def rows(self) -> Rows:
        """Each row with its line or number, or the reason why there is none."""
        return read_rows(self.file) if self.file is not None else self._hub_rows()

    def _hub_rows(self) -> Rows:
        import datasets

        try:
            table = datasets.load_dataset(
                self.hub, self.config, data_dir=self.data_dir, split=self.split, revision=self.revision
            )
        except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
            raise DataError(f"the data set {self.name} cannot be loaded: {error}") from error
        number = 0
        for batch in table.iter(batch_size=1000):
            for values in zip(*batch.values(), strict=True):
                number += 1
                yield f"row {number}", usable(dict(zip(batch, values, strict=True)))

    def _reading(self) -> _Reading:
        """What its rows depend on: the settings, `n` aside, and the state of the files."""
        files = [value for value in dict(self).values() if isinstance(value, Path)]
        if self.hub is not None and (folder := Path(self.hub)).is_absolute():
            files += sorted(path for path in folder.rglob("*") if path.is_file())
        states = ((path, path.stat()) for path in files)
        stamp = tuple((str(path.absolute()), state.st_size, state.st_mtime_ns) for path, state in states)
        return _Reading(content_hash(self.model_dump(mode="json", exclude={"n"})), stamp, self)


@dataclass(frozen=True)
class _Reading:
    """A source as far as its rows depend on it: equal ones are read once."""

    settings: str
    stamp: tuple[tuple[str, int, int], ...]
    source: RowSource = field(compare=False)


@dataclass
class _Sorted:
    """The rows of a source so far: what can be trained on, and why the others cannot or shall not be."""

    source: RowSource
    phrases: tuple[str, ...]
    examples: list[Example] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    """Setting → how many readable rows it leaves out."""
    n_fitting: int = 0
    """Rows that have the columns of the layout."""
    other_columns: dict[str, None] = field(default_factory=dict)
    """Columns of the rows that have not."""

    def add(self, place: str, row: Row | str) -> None:
        """Sort one row in."""
        turns = row if isinstance(row, str) else self._turns(row)
        if isinstance(turns, str):
            self.problems.append(f"{place}: {turns}")
        elif isinstance(row, dict) and (setting := self._dropped_by(row, turns)):
            self.dropped[setting] += 1
        else:
            name = self.source.file.name if self.source.file else self.source.name
            self.examples.append(Example(turns, f"{name}:{place.split()[1]}"))

    def _turns(self, row: Row) -> tuple[Message, ...] | str:
        absent = [column for column in self.source.needed if column not in row]
        if absent:
            self.other_columns.update(dict.fromkeys(row))
            return f"no {', '.join(map(repr, absent))}; found {listed_names(row)}"
        self.n_fitting += 1
        return self.source.turns(row)

    def _dropped_by(self, row: Row, turns: tuple[Message, ...]) -> str:
        """The setting that leaves a readable row out, or ""."""
        return self.source.outside(row) or ("drop" if _contains(turns, self.phrases) else "")

    def account(self) -> Account:
        """What became of all rows."""
        n_rows = len(self.problems) + self.dropped.total() + len(self.examples)
        return Account(self.source.name, n_rows, len(self.problems), dict(self.dropped))


@lru_cache(maxsize=KEPT)
def _read(reading: _Reading) -> tuple[tuple[Example, ...], Account]:
    source = reading.source
    rows = _Sorted(source, tuple(map(plain, SAFETY_WORDS if source.drop == "safety" else source.drop or ())))
    for place, row in source.rows():
        rows.add(place, row)
    if rows.other_columns and not rows.n_fitting:
        raise DataError(_another_layout(source, list(rows.other_columns)))
    if source.bad_rows == "refuse":
        refuse_rows(source.name, rows.problems, "Mend them, or leave them out with `bad_rows: drop`.")
    if not rows.examples:
        raise DataError(_nothing_left(source, rows.account(), rows.problems))
    return tuple(rows.examples), rows.account()


@cache
def _account(reading: _Reading) -> Account:
    return _read(reading)[1]


def _contains(turns: tuple[Message, ...], phrases: tuple[str, ...]) -> bool:
    text = plain("\n".join(turn.content for turn in turns)) if phrases else ""
    return any(phrase in text for phrase in phrases)


def fitting_layouts(columns: Iterable[str]) -> list[str]:
    """The kinds of data source whose layout needs no other columns than these."""
    present = set(columns)
    layouts = {kind: getattr(load(reference), "needs", ()) for kind, reference in SOURCES.items()}
    return [kind for kind, needed in layouts.items() if needed and present.issuperset(needed)]


def _another_layout(source: RowSource, columns: list[str]) -> str:
    """What distinguishes a file's columns from those that its layout needs, and which layout would fit."""
    absent = [column for column in source.needed if column not in columns]
    fitting = fitting_layouts(columns)
    remedy = f" Did you mean kind: {' or '.join(fitting)}?" if fitting else ""
    remedy = remedy or "".join(did_you_mean(column, columns) for column in absent)
    return (
        f"{source.name} does not hold rows of kind: {source.kind}, which need {', '.join(map(repr, source.needed))}; "
        f"its columns are {listed_names(columns)}."
        f"{remedy or ' With kind: columns you can say which of them is whose turn.'}"
    )


def _nothing_left(source: RowSource, account: Account, problems: list[str]) -> str:
    if not account.rows:
        needed = ", ".join(map(repr, source.needed))
        return f"{source.name} has no rows. Rows of kind: {source.kind} need {needed}."
    filters = "".join(f", {n} were left out by `{setting}`" for setting, n in account.dropped.items())
    named = "".join(f"\n{line}" for line in listed(problems))
    return (
        f"{source.name} leaves nothing to train on: of {account.rows} rows, {account.refused} are bad{filters}.{named}"
    )


def why_no_text(row: Row, *columns: str) -> str:
    """The first of the columns that holds no text, as a reason why the row cannot be trained on; or ""."""
    for column in columns:
        value = row[column]
        if not isinstance(value, str):
            return f"{column!r} must be text, found {'nothing' if value is None else type(value).__name__}"
        if not value.strip():
            return f"{column!r} has no text"
    return ""
