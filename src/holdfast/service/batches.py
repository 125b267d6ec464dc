"""Answers batches, in the process that has the engine: claimed by a lease, each line once, continued after a stop."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from holdfast.core import durable
from holdfast.core.jsonl import Appender, read_lines
from holdfast.core.types import Checkpoint
from holdfast.service import answering
from holdfast.service.chat_shapes import ChatCompletion, NewChat
from holdfast.service.database import BATCH_ENDED, Batch, File, Key, new_id, now
from holdfast.service.errors import ApiError, invalid
from holdfast.service.gateway import MOST_VALUES, swells
from holdfast.service.keys import Caller
from holdfast.service.logs import log
from holdfast.service.routes.models import find_to_ask
from holdfast.service.shapes import HALF
from holdfast.service.state import Service

WINDOW = 24 * 3600
"""Seconds after which a batch that is not done ends as `expired`."""

LEASE = 30.0
AT_ONCE = 4
"""Batches that are answered at once."""
LINES_AT_ONCE = 8
"""Lines of one batch that are answered at once."""
MOST_PROBLEMS = 100
MOST_ATTEMPTS = 20
"""Claims after which a batch fails: it may be what ends the processes that have it."""
GIVEN_UP = {"code": "server_error", "message": f"The batch was begun {MOST_ATTEMPTS} times and never finished."}


class LostError(Exception):
    """Another process has the batch now."""


@dataclass
class _Line:
    """A request of a batch."""

    custom_id: str
    body: dict[str, Any]


@dataclass
class _Work:
    """A batch under way."""

    id: str
    attempt: int
    caller: Caller
    input_file: str
    expires_at: int
    answers: Path
    """Lines that are answered, those with an error included; kept until the batch ends."""
    done: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=lambda: {"total": 0, "completed": 0, "failed": 0})


class BatchRunner:
    """Claims batches and answers them until it is cancelled."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.name = f"batches-{secrets.token_hex(4)}"
        self._answers = service.folder / "batches"
        durable.make_folder(self._answers)

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._take_turns())

    async def _take_turns(self) -> None:
        while True:
            try:
                work = await asyncio.to_thread(self._claim)
                if work is None:
                    await asyncio.sleep(0.3)
                    continue
                await self._work(work)
            except LostError:
                log("a batch was taken over", logging.WARNING, worker=self.name)
            except Exception as error:
                log("a batch was put back", logging.ERROR, error, worker=self.name)
                await asyncio.sleep(2)

    def _claim(self) -> _Work | None:
        free = or_(Batch.lease_until.is_(None), Batch.lease_until < time.time())
        with self.service.database.reading() as session:
            if session.scalar(select(Batch.id).where(Batch.status.not_in(BATCH_ENDED), free).limit(1)) is None:
                return None
        with self.service.database.writing() as session:
            query = select(Batch).where(Batch.status.not_in(BATCH_ENDED), free).order_by(Batch.number).limit(1)
            batch = session.scalar(query.with_for_update(skip_locked=True))
            if batch is None:
                return None
            batch.worker, batch.lease_until, batch.attempt = self.name, time.time() + LEASE, batch.attempt + 1
            key = session.scalars(select(Key).where(Key.id == batch.owner)).one()
            scopes = frozenset(() if key.revoked_at else key.scopes)
            return _Work(
                batch.id, batch.attempt, Caller(key.id, key.name, scopes), batch.input_file_id,
                batch.created_at + WINDOW, self._answers / f"{batch.id}.jsonl",
            )  # fmt: skip

    def _mine(self, session: Session, work: _Work) -> Batch:
        """The batch, locked.

        Raises:
            LostError: another process has it.
        """
        query = select(Batch).where(Batch.id == work.id, Batch.attempt == work.attempt).with_for_update()
        batch = session.scalar(query)
        if batch is None or batch.status in BATCH_ENDED:
            raise LostError
        return batch

    async def _work(self, work: _Work) -> None:
        problems = [GIVEN_UP] if work.attempt > MOST_ATTEMPTS else await asyncio.to_thread(self._check, work)
        if problems:
            await asyncio.to_thread(self._end, work, "failed", problems)
            return
        answering_lines = asyncio.create_task(self._answer_all(work))
        beating = asyncio.create_task(self._beat(work))
        try:
            await asyncio.wait((answering_lines, beating), return_when=asyncio.FIRST_COMPLETED)
            if beating.done():
                status = beating.result()  # it was lost, cancelled, or its time is over
                answering_lines.cancel()
                with suppress(asyncio.CancelledError):
                    await answering_lines
            else:
                answering_lines.result()
                status = "completed"
        finally:
            for task in (answering_lines, beating):
                task.cancel()
            await asyncio.gather(answering_lines, beating, return_exceptions=True)
        await asyncio.to_thread(self._end, work, status, [])

    async def _beat(self, work: _Work) -> str:
        """Keep the lease; returns how the batch is to end where somebody wants that before it is done."""
        while True:
            status = await asyncio.to_thread(self._renew, work)
            if status == "cancelling":
                return "cancelled"
            if now() > work.expires_at:
                return "expired"
            await asyncio.sleep(1.0)

    def _renew(self, work: _Work) -> str:
        with self.service.database.writing() as session:
            batch = self._mine(session, work)
            batch.lease_until, batch.counts = time.time() + LEASE, dict(work.counts)
            if batch.status == "validating":
                batch.status, batch.times = "in_progress", {**batch.times, "in_progress_at": now()}
            return batch.status

    def _check(self, work: _Work) -> list[dict[str, Any]]:
        """What is wrong with the input file; counts its lines, and reads what an earlier attempt answered."""
        if not work.caller.scopes:
            return [{"code": "invalid_api_key", "message": "The key that made the batch is revoked."}]
        problems: list[dict[str, Any]] = []
        seen: set[str] = set()
        try:
            for number, line in self._lines(work):
                problem = line if isinstance(line, str) else ""
                if isinstance(line, _Line):
                    problem = "another line has the same custom_id." if line.custom_id in seen else ""
                    seen.add(line.custom_id)
                if problem and len(problems) < MOST_PROBLEMS:
                    problems.append({"code": "invalid_line", "line": number, "message": f"line {number}: {problem}"})
                if number > self.service.policy.limits.batch_requests:
                    most = self.service.policy.limits.batch_requests
                    return [{"code": "too_many_requests", "message": f"A batch has at most {most:,} lines."}]
        except FileNotFoundError:
            return [{"code": "invalid_file", "message": "The input file is gone.", "param": "input_file_id"}]
        if not seen and not problems:
            problems.append({"code": "empty_file", "message": "The input file has no lines."})
        work.counts["total"] = len(seen)
        if work.answers.is_file():
            for kept in read_lines(work.answers):
                work.done.add(kept["custom_id"])
                work.counts["completed" if kept["response"]["status_code"] == 200 else "failed"] += 1
        return problems

    def _lines(self, work: _Work) -> Iterator[tuple[int, _Line | str]]:
        """The input's lines by number; a text where one is wrong."""
        most = self.service.policy.limits.body_bytes
        with self.service.store.local(work.input_file) as path, path.open("rb") as file:
            for number, raw in enumerate(iter(lambda: file.readline(most + 1), b""), start=1):
                if len(raw) > most:
                    yield number, f"it has more than {most:,} bytes."
                    return
                if raw.strip():
                    yield number, _read(raw)

    async def _answer_all(self, work: _Work) -> None:
        lines = (line for _, line in self._lines(work) if isinstance(line, _Line) and line.custom_id not in work.done)
        lock = asyncio.Lock()
        with Appender(work.answers) as kept:

            async def take() -> None:
                while True:
                    async with lock:
                        line = await asyncio.to_thread(next, lines, None)
                    if line is None:
                        return
                    answered = await self._answer(work, line)
                    async with lock:
                        await _to_its_end(asyncio.to_thread(_keep, work, kept, answered))

            async with asyncio.TaskGroup() as group:
                for _ in range(LINES_AT_ONCE):
                    group.create_task(take())

    async def _answer(self, work: _Work, line: _Line) -> dict[str, Any]:
        """One line of the output."""
        try:
            asked = NewChat.model_validate(line.body)
            if asked.stream:
                raise ApiError(400, "stream: a batch has no streams.", "invalid_value", "stream")
            base, model = await asyncio.to_thread(find_to_ask, self.service, work.caller, asked.model)
            checkpoint = self.service.checkpoint(base, model)
            status, body = 200, (await self._in_turn(base, checkpoint, asked)).model_dump()
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            refused = invalid([{**problem, "loc": ("body", *problem["loc"])}])
            status, body = refused.status, refused.body()
        except ApiError as error:
            status, body = error.status, error.body()
        except Exception as error:
            log("a line of a batch failed", logging.ERROR, error, batch=work.id)
            status, body = 500, ApiError(500, "The service made an error.", "internal").body()
        response = {"status_code": status, "request_id": new_id("req_"), "body": body}
        return {"id": new_id("batch_req_"), "custom_id": line.custom_id, "response": response, "error": None}

    async def _in_turn(self, base: str, checkpoint: Checkpoint, asked: NewChat) -> ChatCompletion:
        """An answer. A service that is busy, or about to stop, is waited for: neither is a fault of the line."""
        while True:
            try:
                return await answering.whole(self.service, base, checkpoint, asked)
            except ApiError as error:
                if error.status not in (429, 503):
                    raise
            await asyncio.sleep(0.5)

    def _end(self, work: _Work, status: str, problems: list[dict[str, Any]]) -> None:
        """Write the files, and end the batch: both or neither."""
        files = {good: self._write(work, good) for good in (True, False)} if work.answers.is_file() else {}
        try:
            with self.service.database.writing() as session:
                batch = self._mine(session, work)
                session.add_all(file for file in files.values() if file)
                output, failed = files.get(True), files.get(False)
                batch.output_file_id = output.id if output else None
                batch.error_file_id = failed.id if failed else None
                batch.status = "cancelled" if batch.status == "cancelling" and status != "failed" else status
                at = now()
                batch.times = {**batch.times, f"{batch.status}_at": at}
                if batch.status == "completed":
                    batch.times["finalizing_at"] = at
                batch.counts, batch.errors = dict(work.counts), problems
                batch.worker = batch.lease_until = None
        except BaseException:
            for file in filter(None, files.values()):
                self.service.store.delete(file.id)
            raise
        work.answers.unlink(missing_ok=True)
        log("batch", batch=work.id, status=status, counts=work.counts)

    def _write(self, work: _Work, good: bool) -> File | None:
        """A file of the lines that were answered, or of those that failed."""
        digest, size = hashlib.sha256(), 0
        name = f"{work.id}_{'output' if good else 'error'}.jsonl"
        with self.service.store.spooled() as spool:
            with spool.open("wb") as out:
                for kept in read_lines(work.answers):
                    if (kept["response"]["status_code"] == 200) == good:
                        line = json.dumps(kept).encode() + b"\n"
                        digest.update(line)
                        size += out.write(line)
            if not size:
                return None
            file = File(
                id=new_id("file-"), owner=work.caller.id, filename=name, purpose="batch_output", bytes=size,
                sha256=digest.hexdigest(), created_at=now(), status="processed", status_details=None,
            )  # fmt: skip
            self.service.store.keep(spool, file.id)
        return file

    def give_back(self) -> None:
        """Let other processes have this one's batches at once."""
        with self.service.database.writing() as session:
            session.execute(update(Batch).where(Batch.worker == self.name).values(worker=None, lease_until=None))


def _keep(work: _Work, kept: Appender, answered: dict[str, Any]) -> None:
    """Write a line's answer, and count it."""
    kept.add([answered])
    work.counts["completed" if answered["response"]["status_code"] == 200 else "failed"] += 1


async def _to_its_end(running: Coroutine[Any, Any, None]) -> None:
    """Wait for what runs in a thread, also where this task is cancelled meanwhile: the thread goes on in any case."""
    task = asyncio.create_task(running)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _read(raw: bytes) -> _Line | str:
    """A line of the input, or what is wrong with it."""
    if swells(raw):
        return f"it has more than {MOST_VALUES:,} objects and lists."
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return "it is not valid JSON."
    if not isinstance(row, dict):
        return "it is no object."
    custom_id = row.get("custom_id")
    if not isinstance(custom_id, str) or not 1 <= len(custom_id) <= 512 or HALF.search(custom_id):
        return "`custom_id` must be a text of 1 to 512 characters."
    if row.get("method") != "POST" or row.get("url") != "/v1/chat/completions":
        return "`method` must be POST, and `url` /v1/chat/completions."
    if not isinstance(row.get("body"), dict):
        return "`body` must be an object."
    return _Line(custom_id, row["body"])
