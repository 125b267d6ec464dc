"""The command `init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli.options import complete_benchmark, console, one_line, print_path
from holdfast.core.errors import HoldfastError, StudyError


def init(
    file: Annotated[Path, typer.Argument(help="The study file to write.")] = Path("study.yaml"),
    model: Annotated[
        str | None, typer.Option(help="A folder, or an id on the Hugging Face Hub. Default: the pocket model.")
    ] = None,
    rows: Annotated[
        Path | None, typer.Option(help="Your training rows; their layout is told by their columns.")
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            help="Requests that the model should refuse: a name such as strongreject, or a file of your own.",
            autocompletion=complete_benchmark,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented study to begin with, for your own model and rows. It asks nothing."""
    from holdfast.core.files import write_atomically
    from holdfast.study import loader
    from holdfast.study.starter import Starter

    if file.exists() and not force:
        raise HoldfastError(f"{file} is there already; name another file, or overwrite it with --force.")
    if rows and not rows.is_file():
        raise HoldfastError(f"there is no file {rows}. --rows takes a file of training rows.")
    write_atomically(file, Starter(file, model, rows, benchmark).text())
    terminal = console()
    print_path(terminal, "Study", file)
    try:
        loader.read(file)
    except StudyError as error:
        terminal.print("Before it can run:", style="yellow")
        terminal.print(str(error), soft_wrap=True)
    else:
        terminal.print(f"Next: holdfast doctor {one_line(file)}", soft_wrap=True)
