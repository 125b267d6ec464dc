"""What the service remembers: keys, files, jobs and their events, checkpoints, models, batches. SQLite or PostgreSQL.

Times are Unix seconds. `number` is the order in which rows came; lists are in its order, and no number is used twice.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import JSON, BigInteger, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).parent / "migrations"

BUSY_SECONDS = 30
"""How long a process waits for another one's write to SQLite."""

CLAIMABLE = ("validating_files", "queued", "running")
"""States of a job that a worker may claim: `running` where an earlier worker's lease has run out."""
ENDED = ("succeeded", "failed", "cancelled")
"""States of a job that never change again."""
BATCH_ENDED = ("completed", "failed", "expired", "cancelled")
"""States of a batch that never change again."""


class Table(DeclarativeBase):
    """What all tables share."""

    type_annotation_map = {dict[str, Any]: JSON, list[str]: JSON, list[Any]: JSON}  # noqa: RUF012 - SQLAlchemy's own
    __table_args__: Any = {"sqlite_autoincrement": True}  # noqa: RUF012

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)


class Key(Table):
    """An API key. Only a hash of it is kept."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the key, in hex; the key has 256 random bits."""
    scopes: Mapped[list[str]]
    """Of `tune`, `ask`, `audit`, `operate`."""
    created_at: Mapped[int]
    revoked_at: Mapped[int | None]


class File(Table):
    """A file that was uploaded, or that a batch wrote. Its content lies under its id."""

    __tablename__ = "files"
    id: Mapped[str] = mapped_column(String(64), unique=True)
    owner: Mapped[str] = mapped_column(ForeignKey("keys.id"), index=True)
    filename: Mapped[str] = mapped_column(String(255))
    """The name that the user gave; shown, and never used as a path."""
    purpose: Mapped[str] = mapped_column(String(32))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int]
    status: Mapped[str] = mapped_column(String(16))
    """`uploaded`, `processed`, or `error` where a check after upload refused it."""
    status_details: Mapped[str | None] = mapped_column(Text)


class Leased:
    """Work that one worker at a time has. Whoever claims it raises `attempt`; a write of an earlier attempt is void."""

    worker: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[float | None]
    """Until when the worker has it; a heartbeat moves this on. After it another worker may claim the work."""
    attempt: Mapped[int] = mapped_column(default=0)


class Job(Leased, Table):
    """A fine-tuning job."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(64), unique=True)
    owner: Mapped[str] = mapped_column(ForeignKey("keys.id"), index=True)
    status: Mapped[str] = mapped_column(String(32), index=True)
    """`validating_files`, `queued`, `running`, `paused`, `succeeded`, `failed` or `cancelled`."""
    wanted: Mapped[str] = mapped_column(String(16), default="run")
    """What its owner asked for: `run`, `pause` or `cancel`. The worker that has it looks at each heartbeat."""
    model: Mapped[str] = mapped_column(String(255))
    """The base, as the policy names it."""
    training_file: Mapped[str] = mapped_column(String(64))
    validation_file: Mapped[str | None] = mapped_column(String(64))
    hyperparameters: Mapped[dict[str, Any]]
    """`n_epochs`, `batch_size`, `learning_rate_multiplier`: numbers, or `auto`."""
    suffix: Mapped[str | None] = mapped_column(String(64))
    seed: Mapped[int]
    meta: Mapped[dict[str, Any]]
    """The caller's `metadata`."""
    faults: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """Faults on purpose that the policy or a request set, e.g. `{"fail_job_at": 0.5}`."""
    created_at: Mapped[int]
    started_at: Mapped[int | None]
    finished_at: Mapped[int | None]
    estimated_finish: Mapped[int | None]
    trained_tokens: Mapped[int | None] = mapped_column(BigInteger)
    fine_tuned_model: Mapped[str | None] = mapped_column(String(255))
    """The name under which the model can be asked; only of a job that succeeded."""
    error: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """`code`, `message` and `param` of a job that failed; empty otherwise."""
    decision: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """What was decided before release, with its figures."""


class Event(Table):
    """One thing that happened to a job."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("job_id", "mark"), {"sqlite_autoincrement": True})
    id: Mapped[str] = mapped_column(String(64), unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    mark: Mapped[str] = mapped_column(String(64))
    """What tells it from the job's other events, e.g. `step-12`: work that is done again adds no second event."""
    created_at: Mapped[int]
    level: Mapped[str] = mapped_column(String(8))
    """`info`, `warn` or `error`."""
    type: Mapped[str] = mapped_column(String(8))
    """`message` or `metrics`."""
    message: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]]


class JobCheckpoint(Table):
    """The model after an epoch of a job."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "step"), {"sqlite_autoincrement": True})
    id: Mapped[str] = mapped_column(String(64), unique=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    step: Mapped[int]
    model: Mapped[str] = mapped_column(String(255))
    """The name of the model, a row of `models`."""
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[int]


class Model(Table):
    """A model that a job made. Bases stand in the policy."""

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(String(255), unique=True)
    """The name under which it is asked: `ft:<base>:<owner's short name>:<suffix>:<random>`."""
    owner: Mapped[str] = mapped_column(ForeignKey("keys.id"), index=True)
    base: Mapped[str] = mapped_column(String(255))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    folder: Mapped[str] = mapped_column(Text)
    """Where its weights or adapter lie, relative to the service's folder."""
    created_at: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), index=True)
    """`held` until it is decided, `released`, or `refused`. Only a released one can be asked, except by an auditor."""
    decision: Mapped[dict[str, Any]] = mapped_column(default=dict)
    released_by: Mapped[str | None] = mapped_column(String(64))
    """The operator's key that released it by hand; None where the gate did."""
    released_why: Mapped[str | None] = mapped_column(Text)
    deleted_at: Mapped[int | None]
    """Since when it is deleted; its weights are removed, its decision is kept."""


class Batch(Leased, Table):
    """A file of requests that are answered together."""

    __tablename__ = "batches"
    id: Mapped[str] = mapped_column(String(64), unique=True)
    owner: Mapped[str] = mapped_column(ForeignKey("keys.id"), index=True)
    status: Mapped[str] = mapped_column(String(16), index=True)
    """`validating`, `in_progress`, `finalizing`, `completed`, `failed`, `expired`, `cancelling` or `cancelled`."""
    endpoint: Mapped[str] = mapped_column(String(64))
    input_file_id: Mapped[str] = mapped_column(String(64))
    output_file_id: Mapped[str | None] = mapped_column(String(64))
    error_file_id: Mapped[str | None] = mapped_column(String(64))
    completion_window: Mapped[str] = mapped_column(String(16))
    meta: Mapped[dict[str, Any]]
    times: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """`in_progress_at`, `finalizing_at`, `completed_at` and so on."""
    counts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """`total`, `completed`, `failed`."""
    errors: Mapped[list[Any]] = mapped_column(default=list)
    """What is wrong with the input file: `code`, `line`, `message`, `param`."""
    created_at: Mapped[int]


class Repeat(Table):
    """A creation that may be sent again: the same Idempotency-Key gives the same object, and no second one."""

    __tablename__ = "repeats"
    __table_args__ = (UniqueConstraint("owner", "idempotency_key"), {"sqlite_autoincrement": True})
    owner: Mapped[str] = mapped_column(ForeignKey("keys.id"))
    idempotency_key: Mapped[str] = mapped_column(String(64))
    """The hash of the header's value and the route."""
    asked: Mapped[str] = mapped_column(String(64))
    """The hash of the request's content."""
    made: Mapped[str] = mapped_column(String(64))
    """The id of what was made."""
    created_at: Mapped[int]


class Database:
    """An engine, and sessions that commit at their end."""

    def __init__(self, engine: Engine) -> None:
        from sqlalchemy.orm import sessionmaker

        self.engine = engine
        self._read = sessionmaker(engine, expire_on_commit=False)
        self._write = sessionmaker(engine.execution_options(begins="BEGIN IMMEDIATE"), expire_on_commit=False)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only reads."""
        with self._read() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that commits at its end, or changes nothing if an error ends it. SQLite has one at a time.

        Rows that are read to be changed are locked on PostgreSQL with `select(...).with_for_update()`.
        """
        with self._write.begin() as session:
            yield session

    def migrate(self) -> None:
        """Make the tables, or bring those of an earlier version up to this one. Two processes may do it at once."""
        from alembic import command
        from alembic.config import Config
        from sqlalchemy import text

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.engine.execution_options(begins="BEGIN IMMEDIATE").begin() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(7201441)"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def connect(url: str, pool: int = 20) -> Database:
    """The database at an URL such as `sqlite:///service.db` or `postgresql://user@host/name`.

    Raises:
        ValueError: the URL is of neither.
    """
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import make_url

    address = make_url(url)
    if address.get_backend_name() == "postgresql":
        address = address.set(drivername="postgresql+psycopg")
        return Database(create_engine(address, pool_size=pool, max_overflow=0, pool_pre_ping=True))
    if address.get_backend_name() != "sqlite":
        raise ValueError(f"use sqlite:///FILE or postgresql://…; found {address.drivername}://")
    engine = create_engine(address, pool_size=pool, max_overflow=0)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return Database(engine)


def _prepare(connection: Any, _record: Any) -> None:
    """Many readers beside one writer; a commit is on the disk when it returns."""
    connection.isolation_level = None  # sqlite3 then begins no transaction of its own
    for setting in ("journal_mode=WAL", f"busy_timeout={BUSY_SECONDS * 1000}", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")


def _begin(connection: Connection) -> None:
    """A writer takes the lock at once: taking it after a read would fail if another one wrote in between."""
    connection.exec_driver_sql(connection.get_execution_options().get("begins", "BEGIN"))


def new_id(prefix: str) -> str:
    """An id that nobody can guess: `ftjob-` and 24 hex digits."""
    return prefix + secrets.token_hex(12)


def now() -> int:
    """The time in Unix seconds."""
    return int(time.time())
