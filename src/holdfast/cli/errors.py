"""How every command ends when something goes wrong: with one clear message and an exit code."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer
from typer.core import TyperGroup

from holdfast.cli import signals
from holdfast.core.errors import HoldfastError
from holdfast.core.files import why_file_failed
from holdfast.core.stopping import Terminated

FOUND, MENDABLE, INTERNAL, STOPPED, TERMINATED = 1, 2, 70, 130, 143
"""Exit codes: a check found something; a mistake that the user can mend; a fault in Holdfast; Ctrl-C; SIGTERM."""

EXIT_CODES = (
    "Exit codes: 0 done; 1 doctor found a fault, test-judge a judge that fails, or gate says fail; 2 a mistake that "
    "you can mend; 3 gate cannot tell; 4 gate says not to be trusted; 70 a fault in Holdfast itself; 130 stopped with "
    "Ctrl-C; 143 stopped with SIGTERM."
)

REPORT = (
    "This is a fault in Holdfast, not in your study. Please report it as an issue of the repository that you have "
    "Holdfast from, with the lines above, the command, and what `holdfast --version` prints."
)


@contextmanager
def user_errors() -> Iterator[None]:
    """Print what a user can mend as a message. Only an unexpected error gets a traceback, and where to report it."""
    try:
        yield
    except HoldfastError as error:
        from holdfast.core.terminal import visible

        typer.secho(visible(str(error)), err=True, fg="red")
        raise typer.Exit(MENDABLE) from None
    except KeyboardInterrupt as error:
        typer.secho(signals.STOPPED, err=True, nl=False)
        raise typer.Exit(TERMINATED if isinstance(error, Terminated) else STOPPED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:  # the last place where anybody could explain it
        from holdfast.core.terminal import visible

        if reason := why_file_failed(error):
            typer.secho(visible(reason), err=True, fg="red")
            raise typer.Exit(MENDABLE) from None
        typer.echo(visible("".join(traceback.format_exception(error))), err=True)
        typer.secho(REPORT, err=True, fg="red")
        raise typer.Exit(INTERNAL) from None


class Commands(TyperGroup):
    """The group of all commands: what typer says of an argument shows the argument, and never obeys it."""

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        """Read the arguments of the group."""
        with _visible_usage_errors():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Read the arguments of a command, and run it."""
        with _visible_usage_errors():
            return super().invoke(ctx)


@contextmanager
def _visible_usage_errors() -> Iterator[None]:
    """Have typer's own errors, which it prints itself, say their message without control characters."""
    try:
        yield
    except Exception as error:
        if said := getattr(error, "format_message", None):
            from holdfast.core.terminal import visible

            error.format_message = partial(visible, said())  # type: ignore[attr-defined]
        raise
