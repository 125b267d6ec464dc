"""Options that several commands share, how their values are checked, and what the shell can complete."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.core.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.core.terminal import Terminal
    from holdfast.study.limits import Limits


PATH = "PATH"
"""What `--help` shows as the kind of a value that `a_path` reads."""


def complete_study(incomplete: str) -> Iterator[str]:
    """Shipped studies, and study files on disk, whose name begins with what was typed."""
    from holdfast.core.files import ROOT

    shipped = sorted(path.stem for path in (ROOT / "study" / "studies").glob("*.yaml"))
    yield from (name for name in shipped if name.startswith(incomplete))
    yield from complete_file(incomplete, (".yaml", ".yml"))


def complete_file(incomplete: str, endings: tuple[str, ...] = ()) -> Iterator[str]:
    """Files with one of the endings (any file without endings), and folders, whose path begins with what was typed."""
    typed = Path(incomplete)
    folder = typed if incomplete.endswith("/") else typed.parent
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        shown = f"{path}/" if path.is_dir() else str(path)
        if shown.startswith(incomplete) and (path.is_dir() or not endings or path.suffix in endings):
            yield shown


def complete_judge(incomplete: str) -> Iterator[str]:
    """Judges whose name begins with what was typed, and YAML files."""
    from holdfast.judges import JUDGES

    yield from (name for name in JUDGES if name.startswith(incomplete))
    yield from complete_file(incomplete, (".yaml", ".yml"))


def complete_benchmark(incomplete: str) -> Iterator[str]:
    """Benchmarks of harmfulness whose name begins with what was typed, and files of prompts."""
    from holdfast.study.starter import FILES

    yield from (name for name in FILES if name.startswith(incomplete))
    yield from complete_file(incomplete, (".csv", ".tsv", ".json", ".jsonl", ".parquet"))


def complete_preset(incomplete: str) -> list[str]:
    """Presets of the paper whose name begins with what was typed."""
    return [name for name in ("pocket", "quiz", "llama-2-7b-chat", "hosted") if name.startswith(incomplete)]


def complete_part(incomplete: str) -> list[str]:
    """Tables and figures of the paper whose name begins with what was typed."""
    parts = [f"table{n}" for n in range(1, 6)] + ["figure1", "figure2", "figure4a", "figure4b"]
    return [name for name in parts if name.startswith(incomplete)]


def a_path(text: str) -> Path:
    """The path that an option names. An empty one, often of a variable that is not set, would be the current folder.

    Raises:
        typer.BadParameter: it is empty.
    """
    if not text.strip():
        raise typer.BadParameter("it is empty. Name a file or folder, such as runs/mine, or `.` for this folder.")
    return Path(text)


def a_place(text: str) -> str:
    """The path or address that an option names.

    Raises:
        typer.BadParameter: it is empty.
    """
    return text if "://" in text else str(a_path(text))


StudyName = Annotated[
    str,
    typer.Argument(help="A study file, or the name of a shipped study such as `demo`.", autocompletion=complete_study),
]
RunFolder = Annotated[Path, typer.Argument(help="The folder of a finished run.")]
Place = Annotated[
    str | None,
    typer.Option(
        "--out", metavar=PATH, parser=a_place,
        help="Folder of the run, or its address where fsspec reaches it, such as s3://bucket/runs/mine. Default: runs/"
        "<name of the study>.",
    ),
]  # fmt: skip
Out = Annotated[
    Path | None, typer.Option(help="Folder of the run. Default: runs/<name of the study>.", parser=a_path, metavar=PATH)
]
Seeds = Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2. Default: the seeds of the study.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes. Default: one for each core; one in all on a GPU.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Do the work on a Ray cluster at HOST:PORT, in place of --workers; `auto` is the one that this machine "
        "belongs to, else one on this machine alone.",
    ),
]
ShowAnswers = Annotated[bool, typer.Option("--show-answers", help="Put the models' answers on the page.")]
Keep = Annotated[
    bool, typer.Option("--keep-checkpoints", help="Keep tuned weights after their answers have been generated.")
]
Fresh = Annotated[
    bool, typer.Option("--fresh-verdicts", help="Pay for verdicts again instead of taking them from the cache.")
]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace the results of another study; the folder's previous/ keeps them.")
]
MaxUsd = Annotated[float | None, typer.Option(min=0, help="The most US dollars that the run's folder may cost.")]
MaxHours = Annotated[float | None, typer.Option(min=0, help="After so many hours, no new work is started.")]


def console() -> Terminal:
    """Where tables and progress are printed: as wide as the terminal, 120 columns elsewhere."""
    from holdfast.core.terminal import Terminal

    return Terminal(width=None if sys.stdout.isatty() else 120)


def print_path(terminal: Terminal, what: str, path: Path) -> None:
    """Say where something is, on one line that can be copied whatever the path holds."""
    from rich.text import Text

    terminal.print(Text.assemble(f"{what}: ", (one_line(path), "bold")), soft_wrap=True)


def one_line(text: object) -> str:
    """A name as it stands in a sentence: an end of line in it would begin a line that seems to be ours."""
    return re.sub(r"[\n\t]", lambda end: repr(end[0])[1:-1], str(text))


def parse_seeds(text: str, option: str = "--seeds") -> tuple[int, ...]:
    """The seeds in a text such as `0,1,2`, which an option was given.

    Raises:
        HoldfastError: it holds something else than distinct whole numbers from 0 to 4294967295.
    """
    from holdfast.study.schema import seeds_problem

    try:
        seeds = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise HoldfastError(
            f"{option} takes whole numbers with commas between, such as 0,1,2; found {text[:100]!r}."
        ) from None
    if problem := seeds_problem(seeds):
        raise HoldfastError(f"{option} {problem}; found {text[:100]!r}.")
    return seeds


def limits(max_usd: float | None, max_hours: float | None) -> Limits:
    """The caps of a run; its hours are counted from now."""
    from holdfast.study import limits

    return limits.limits(max_usd, max_hours)
