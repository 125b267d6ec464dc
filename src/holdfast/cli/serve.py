"""The commands `serve`, `serve worker` and `serve keys`."""

from __future__ import annotations

import importlib.util
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli.options import console
from holdfast.core.errors import HoldfastError
from holdfast.core.optional import how_to_install

if TYPE_CHECKING:
    from holdfast.service.serve import Place

Folder = Annotated[
    Path,
    typer.Option(
        help="Where the service keeps tuned models, its database and its files.", envvar="HOLDFAST_SERVE_FOLDER"
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        help="sqlite:///FILE or postgresql://USER:…@HOST/NAME. Default: service.db in the folder.",
        envvar="HOLDFAST_SERVE_DATABASE",
    ),
]  # fmt: skip
Files = Annotated[
    str | None,
    typer.Option(
        help="Where uploads lie: a folder, or an fsspec URL. Default: files in the folder.",
        envvar="HOLDFAST_SERVE_FILES",
    ),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option("--policy", help="A YAML file: bases, limits, defences. Default: the shipped one.",
                 envvar="HOLDFAST_SERVE_POLICY"),
]  # fmt: skip
DEFAULT = Path("holdfast-service")


def _place(folder: Path, database: str | None, files: str | None = None) -> Place:
    """Where the service is.

    Raises:
        HoldfastError: what it needs is not installed.
    """
    for package in ("fastapi", "uvicorn", "sqlalchemy", "alembic", "python_multipart", "prometheus_client"):
        if importlib.util.find_spec(package) is None:
            raise HoldfastError(f"`holdfast serve` needs {package}, which is not installed. {how_to_install('serve')}")
    from holdfast.service.serve import Place

    return Place(folder, database or None, files or None)


def serve(
    context: typer.Context,
    folder: Folder = DEFAULT,
    database: DatabaseUrl = None,
    files: Files = None,
    policy: PolicyFile = None,
    host: Annotated[str, typer.Option(help="The address that it listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Worker processes that tune.")] = 1,
) -> None:
    """Serve OpenAI's API: tune with our own back end, and look before a tuned model is released."""
    if context.invoked_subcommand is not None:
        return
    from holdfast.core.workers import quiet

    place = _place(folder, database, files)
    from holdfast.service.serve import serve as serve_there

    quiet()
    serve_there(place, policy, host, port, workers)


def worker(
    folder: Folder = DEFAULT, database: DatabaseUrl = None, files: Files = None, policy: PolicyFile = None
) -> None:
    """Tune for a service, one job at a time, until it is stopped. Start as many as the machine can take."""
    from holdfast.core.workers import quiet

    place = _place(folder, database, files)
    from holdfast.service.serve import work

    quiet()
    stopping = threading.Event()

    def stop(*_: Any) -> None:
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    work(place, policy, stopping)


def create_key(
    name: Annotated[str, typer.Argument(help="Whose it is, or what it is for.")],
    scope: Annotated[list[str], typer.Option(help="tune, ask, audit or operate; may be given several times.")],
    folder: Folder = DEFAULT,
    database: DatabaseUrl = None,
) -> None:
    """Make an API key, and print it. It is shown only now: the service keeps nothing but a hash of it."""
    place = _place(folder, database)
    from holdfast.service import keys

    key, secret = keys.create(place.open_database(), name, scope)
    typer.echo(secret)
    typer.echo(f"{key.id} may {', '.join(key.scopes)}. It is not shown again.", err=True)


def list_keys(folder: Folder = DEFAULT, database: DatabaseUrl = None) -> None:
    """All API keys: their ids, names and scopes."""
    from rich.table import Table
    from rich.text import Text

    place = _place(folder, database)
    from holdfast.service import keys

    table = Table()
    for heading in ("id", "name", "scopes", "state"):
        table.add_column(heading, overflow="fold")
    for key in keys.everyone(place.open_database()):
        state = "revoked" if key.revoked_at else "valid"
        table.add_row(key.id, Text(key.name), ", ".join(key.scopes), state)
    console().print(table)


def revoke_key(
    key: Annotated[str, typer.Argument(help="The id of a key, as `list` shows it.")],
    folder: Folder = DEFAULT,
    database: DatabaseUrl = None,
) -> None:
    """Revoke an API key: it is refused from the next request on. What was made with it stays."""
    place = _place(folder, database)
    from holdfast.service import keys

    typer.echo(f"{keys.revoke(place.open_database(), key).id} is revoked.")
