"""The command line: one function for each command. The only room that prints or exits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from holdfast.cli import (
    audit,
    catalogue,
    doctor,
    gate,
    init,
    judges,
    plan,
    pocket,
    quiz,
    recommend,
    reproduce,
    run,
    serve,
)
from holdfast.cli.errors import EXIT_CODES, Commands, user_errors
from holdfast.cli.signals import end_now, stop_on_signals, was_stopped
from holdfast.core.version import __version__

app = typer.Typer(
    cls=Commands,
    help="Measure how much of an aligned language model's safety is lost when it is fine-tuned.",
    epilog=EXIT_CODES, no_args_is_help=True, pretty_exceptions_enable=False,
)  # fmt: skip
pocket_app = typer.Typer(help="The pocket world: a fictional stand-in with a very small model.", no_args_is_help=True)
quiz_app = typer.Typer(help="The quiz world: a real language model under harmless house rules.", no_args_is_help=True)
serve_app = typer.Typer(invoke_without_command=True, callback=user_errors()(serve.serve))
keys_app = typer.Typer(help="API keys of a service.", no_args_is_help=True)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"holdfast {__version__}")
        raise typer.Exit


def _add(group: typer.Typer, name: str, command: Callable[..., Any]) -> None:
    """Add a command that ends as all do: what a user can mend is a message, not a traceback."""
    group.command(name)(user_errors()(command))


_add(app, "init", init.init)
_add(app, "doctor", doctor.doctor)
_add(app, "audit", audit.audit)
_add(app, "recommend", recommend.recommend)
_add(app, "run", run.run)
_add(app, "reproduce", reproduce.reproduce)
_add(app, "gate", gate.gate)
_add(app, "plan", plan.plan)
_add(app, "report", run.report)
_add(app, "export", run.export)
_add(app, "calibrate", judges.calibrate)
_add(app, "test-judge", judges.judge_test)
_add(app, "list", catalogue.list_everything)
_add(pocket_app, "build", pocket.build)
_add(pocket_app, "pictures", pocket.pictures)
app.add_typer(pocket_app, name="pocket")
_add(quiz_app, "build", quiz.build)
app.add_typer(quiz_app, name="quiz")
_add(serve_app, "worker", serve.worker)
_add(keys_app, "create", serve.create_key)
_add(keys_app, "list", serve.list_keys)
_add(keys_app, "revoke", serve.revoke_key)
serve_app.add_typer(keys_app, name="keys")
app.add_typer(serve_app, name="serve")


def main() -> None:
    """The entry point of the `holdfast` command."""
    stop_on_signals()
    try:
        app(prog_name="holdfast")
    except SystemExit:
        if was_stopped():
            end_now()
        raise
