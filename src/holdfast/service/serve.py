"""Starts a service: its place, its web server, and the worker processes beside it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from holdfast.core import durable, stopping
from holdfast.core.errors import HoldfastError
from holdfast.service.database import Database, connect
from holdfast.service.logs import log, write_json_logs
from holdfast.service.policy import read_policy
from holdfast.service.state import Service
from holdfast.service.store import FileStore

PARENT = "HOLDFAST_SERVE_PARENT"
"""The environment's name for the process that a worker ends with."""
MOST_CONNECTIONS = 16_384
SPARE_FILES = 256
"""Files that the process may have open beside its connections."""
KEEP_ALIVE = 75
"""Seconds for which an idle connection is kept. Clients drop theirs after 5 s: a server that does so at the same time
resets the connection under a request."""
PATIENCE = 20.0
"""Seconds that requests and workers have to end when the service is stopped."""
LONGEST_PAUSE = 60.0
"""Seconds before a worker that keeps dying is started again."""


@dataclass(frozen=True)
class Place:
    """Where a service keeps what it has. The API and all its workers have the same."""

    folder: Path
    """Tuned models lie here, and what is not named otherwise."""
    database: str | None = None
    """An URL; `service.db` in the folder if not given."""
    files: str | None = None
    """A folder or fsspec URL; `files` in the folder if not given."""

    def open_database(self) -> Database:
        """The database, with its tables brought up to this version.

        Raises:
            HoldfastError: it cannot be reached, or is neither SQLite nor PostgreSQL.
        """
        durable.make_folder(self.folder.absolute())
        url = self.database or f"sqlite:///{self.folder / 'service.db'}"
        try:
            database = connect(url)
            database.migrate()
        except (ArgumentError, ValueError):
            raise HoldfastError(
                "--database must be an URL: sqlite:///FILE, or postgresql://USER:…@HOST/NAME."
            ) from None
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0]
            raise HoldfastError(f"the database cannot be used: {cause}") from None
        return database

    def open_files(self) -> FileStore:
        """Where the content of files lies."""
        return FileStore(self.files or str(self.folder / "files"), self.folder.absolute() / "spool")

    @property
    def environment(self) -> dict[str, str]:
        """How a worker process is told of it; not by arguments, which every user of the machine can read."""
        told = {"HOLDFAST_SERVE_DATABASE": self.database, "HOLDFAST_SERVE_FILES": self.files}
        return {name: value for name, value in told.items() if value is not None}


def serve(place: Place, policy: Path | None, host: str, port: int, workers: int) -> None:
    """Serve until a signal comes.

    Raises:
        HoldfastError: a policy with mistakes, a database that cannot be used, or a port that is taken.
    """
    import uvicorn

    from holdfast.service.app import create_app
    from holdfast.service.connections import patient
    from holdfast.service.engine import Engine

    settings = read_policy(policy)
    protocol = patient(settings.limits.idle_seconds, _allow_many_connections())
    database = place.open_database()
    engine = Engine(most_rows=settings.limits.concurrent_chats)
    service = Service(database, place.open_files(), place.folder.absolute(), settings, engine)
    write_json_logs()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(service), host, port, log_config=None, access_log=False, server_header=False, backlog=2048,
            timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=int(PATIENCE), http=protocol,
        )
    )  # fmt: skip
    command = [sys.executable, "-m", "holdfast", "serve", "worker", "--folder", str(place.folder)]
    command += ["--policy", str(policy)] if policy else []
    crew = Crew(command, place.environment, workers)
    log("serving", host=host, port=port, workers=workers, version=server.config.app.version)  # type: ignore[union-attr]
    crew.start()
    try:
        with stopping.safe_points():
            server.run()  # which sends itself the signals that stopped it once more, at its end
    except SystemExit:
        raise HoldfastError(
            f"the service cannot listen on {host}:{port}; is another one running? --port takes another port."
        ) from None
    finally:
        crew.stop()
        log("stopped")


def _allow_many_connections() -> int:
    """Raise the number of files that this process may have open; 1,024 are few for a server.

    Returns:
        How many connections there may be.
    """
    with suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MOST_CONNECTIONS + SPARE_FILES
        wanted = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return max(1, wanted - SPARE_FILES)
    return MOST_CONNECTIONS


class Crew:
    """Worker processes, each started again when it dies."""

    def __init__(self, command: list[str], environment: dict[str, str], size: int) -> None:
        self.command = command
        self.environment = {**os.environ, **environment, PARENT: str(os.getpid())}
        self.size = size
        self.processes: list[subprocess.Popen[bytes]] = []
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start them."""
        for number in range(self.size):
            thread = threading.Thread(target=self._keep_one, name=f"crew-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _keep_one(self) -> None:
        pause = 1.0
        while not self._ended.is_set():
            begun = time.monotonic()
            with self._lock:
                if self._ended.is_set():
                    return
                process = subprocess.Popen(self.command, env=self.environment, stdin=subprocess.DEVNULL)
                self.processes.append(process)
            code = process.wait()
            with self._lock:
                self.processes.remove(process)
            if self._ended.is_set():
                return
            pause = 1.0 if time.monotonic() - begun > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            log("a worker died", logging.ERROR, code=code, again_in=pause)
            self._ended.wait(pause)

    def stop(self) -> None:
        """Ask them to end; kill those that do not."""
        with self._lock:
            self._ended.set()
            for process in self.processes:
                process.terminate()
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            left = list(self.processes)
        for process in left:
            process.kill()


def work(place: Place, policy: Path | None, stopping: threading.Event) -> None:
    """Be a worker until `stopping` is set, or the process that started this one is gone.

    Raises:
        HoldfastError: as `serve`.
    """
    from holdfast.service.worker import Worker

    settings = read_policy(policy)
    database = place.open_database()
    write_json_logs()
    worker = Worker(database, place.open_files(), place.folder.absolute(), settings, stopping=stopping)
    parent = int(os.environ.get(PARENT, "0"))
    if parent:
        threading.Thread(target=_end_with, args=(parent, stopping), daemon=True).start()
    log("a worker begins", worker=worker.name)
    try:
        worker.run()
    finally:
        database.close()
        log("a worker ends", worker=worker.name)


def _end_with(parent: int, stopping: threading.Event) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    stopping.set()
