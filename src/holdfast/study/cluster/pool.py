"""A run's jobs as tasks of a Ray cluster: begun as machines are free, begun again where one was lost."""

from __future__ import annotations

import os
import pickle
import time
from collections import Counter, deque
from collections.abc import Generator as Stream
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

from holdfast.core import durable, mirror, stopping
from holdfast.core.containment import checked_name
from holdfast.core.errors import HoldfastError
from holdfast.core.files import write_atomically
from holdfast.core.jsonl import append_whole
from holdfast.core.optional import how_to_install
from holdfast.core.protocols import Watcher
from holdfast.core.run_folder import RunFolder
from holdfast.core.workers import LOOK_EVERY, Failure, usable_cores
from holdfast.study.cluster import task
from holdfast.study.cluster.desk import Desk, Place, Told
from holdfast.study.cluster.pieces import Needs, Piece, following, needs_of, pieces_of
from holdfast.study.endings import let_go
from holdfast.study.limits import Limits
from holdfast.study.plan import Job

MOST_LOST = 8
"""How often a piece is begun again because its machine was lost. Machines may come and go."""

MOST_KILLED = 1
"""How often a piece is begun again because its process was killed, most likely for want of memory."""

OUT_OF_MEMORY = ("MemoryError", "OutOfMemoryError")
"""How the reason begins where a task's own code found no memory: on the machine, or on its GPU."""

AT_ONCE = 2
"""Tasks that are handed to Ray for each core or GPU: the rest waits here, where it takes no memory."""

OBJECT_STORE = 200 << 20
"""Bytes of the object store of a cluster that we start: messages of tasks are small."""


class RayCluster:
    """Machines that do the jobs of a run (`study.run.Cluster`)."""

    def __init__(self, address: str = "auto") -> None:
        """`address`: HOST:PORT of a cluster, or `auto`: the one that this machine belongs to, else one on it alone."""
        self.address = address

    def do(
        self, jobs: Sequence[Job], folder: Path, watcher: Watcher, keep: bool, limits: Limits, fresh: bool
    ) -> Stream[int | Failure, None, None]:
        """Do jobs of the run in a folder; yields the index of each when it is done, or its failure.

        Raises:
            HoldfastError: Ray is not installed, or there is no cluster at the address.
        """
        with stopping.safe_points(), connected(self.address) as ray:
            run = _Run(ray, jobs, RunFolder(folder.absolute()), watcher, keep, limits, fresh)
            yield from run.outcomes()


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected with a cluster; one that is started for `auto` ends with the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a run is told to anybody
    try:
        import ray
    except ImportError:
        raise HoldfastError(f"Ray is not installed. {how_to_install('ray')}") from None
    if address.startswith("ray://"):
        raise HoldfastError(
            f"{address} is an address of Ray's client. Run the command on a machine of the cluster: "
            "`ray job submit -- holdfast run …`, see docs/ray.md."
        )
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except ConnectionError as error:
        if address != "auto":
            raise HoldfastError(f"there is no Ray cluster at {address}: {error}") from None
        ray.init(
            address="local", num_cpus=usable_cores(), include_dashboard=False, log_to_driver=False,
            configure_logging=False, object_store_memory=OBJECT_STORE,
        )  # fmt: skip
    try:
        yield ray
    finally:
        ray.shutdown()


@dataclass
class _Attempt:
    """One attempt at a piece."""

    number: int
    job: int
    """The job's index."""
    piece: Piece
    lost: int = 0
    """How often its machine was lost."""
    killed: int = 0
    """How often its process was killed."""
    units: int = 0
    """Units of work that it told."""
    machine: str = "a machine"
    touched: set[Path] = field(default_factory=set)
    """Files that its lines are in."""


class _Run:
    """The pieces of a run: those that wait, and those that tasks are at."""

    def __init__(
        self, ray: Any, jobs: Sequence[Job], run_folder: RunFolder, watcher: Watcher, keep: bool, limits: Limits,
        fresh: bool,
    ) -> None:  # fmt: skip
        self.ray, self.jobs, self.run_folder, self.watcher = ray, jobs, run_folder, watcher
        self.keep, self.limits, self.fresh = keep, limits, fresh
        self.mark = f".seen-{token_hex(8)}"
        self.versions = task.versions()
        self.store = mirror.of(run_folder.folder)
        self.waiting: deque[_Attempt] = deque()
        self.running: dict[Any, _Attempt] = {}
        """Ray's reference of each task → the attempt that it is."""
        self.open: Counter[int] = Counter()
        """Pieces of each job that have not ended."""
        self.failures: dict[int, Failure] = {}
        """The first failure of each job."""
        self.numbers = 0
        self.waited = False
        self.here = ray.get_runtime_context().get_node_id()

    def outcomes(self) -> Iterator[int | Failure]:
        """Do all jobs, and yield how each ends."""
        for index, job in enumerate(self.jobs):
            self._wait_with(index, pieces_of(job))
        spending = str(self.run_folder.folder / "spending.jsonl")
        desk = self.ray.remote(Desk).options(num_cpus=0, **self._pinned())
        self.desk = desk.remote(spending, self.limits.max_usd, self.limits.deadline)
        for left in self.run_folder.folder.glob(".seen-*"):  # of a run that was killed
            left.unlink()
        (self.run_folder.folder / self.mark).touch()
        try:
            while self.waiting or self.running:
                stopping.check()
                self._begin_tasks()
                done = self._done()
                self._hear()
                for reference in done:
                    yield from self._ended(reference)
        except BaseException:
            self._stop()
            raise
        finally:
            self.ray.kill(self.desk)
            (self.run_folder.folder / self.mark).unlink(missing_ok=True)

    def _done(self) -> list[Any]:
        """The tasks that have ended, after a short wait."""
        if not self.running:
            time.sleep(LOOK_EVERY)
            return []
        done, _ = self.ray.wait(list(self.running), num_returns=1, timeout=LOOK_EVERY)
        return list(done)

    def _pinned(self) -> dict[str, Any]:
        """Options of what must be on this machine."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(self.here, soft=False)}

    def _wait_with(self, index: int, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            self.numbers += 1
            self.open[index] += 1
            self.waiting.append(_Attempt(self.numbers, index, piece))

    def _begin_tasks(self) -> None:
        """Hand tasks to Ray: more than the cluster can do at once, so that it is busy and may grow.

        Nothing is handed over before there is a machine that does tasks: it shows whether tasks can have GPUs.
        """
        if not self.waiting:
            return
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        if not machines and not self.waited:
            self.watcher.note("The cluster has no machine yet that does tasks. It is waited for.")
        self.waited = not machines
        gpus = sum(machine.get("GPU", 0) for machine in machines)
        slots = gpus or sum(machine["CPU"] for machine in machines)
        while self.waiting and machines and len(self.running) < AT_ONCE * slots:
            attempt = self.waiting.popleft()
            order = pickle.dumps(self._order(attempt.piece))
            options = self._options(attempt, needs_of(attempt.piece, gpus > 0), machines)
            reference = self.ray.remote(task.work).options(**options).remote(order, self.desk, attempt.number)
            self.running[reference] = attempt

    def _options(self, attempt: _Attempt, needs: Needs, machines: Sequence[dict[str, float]]) -> dict[str, Any]:
        """What Ray is told that a task takes; the estimate of memory is kept to what the largest machine has."""
        named = {"max_retries": 0, "name": f"holdfast {attempt.piece.part} {attempt.piece.job.conditions[0].name}"}
        if attempt.piece.stays:  # on this machine, which may be one that does no other tasks
            return {"num_cpus": 0, **named, **self._pinned()}
        able = [machine for machine in machines if machine.get("GPU", 0) >= needs.gpus]
        largest = max((machine.get("memory", 0.0) for machine in able), default=0.0)
        memory = min(needs.memory * 2**attempt.killed, int(largest))
        return {"num_cpus": 1, "num_gpus": needs.gpus, "memory": memory, **named}

    def _order(self, piece: Piece) -> task.Order:
        kept, checks = dict[Place, bytes](), self.run_folder.folder / "judges.jsonl"
        for condition in piece.job.conditions:
            for path in self.run_folder.condition(condition.key).folder.glob("*.json*"):
                if path.suffix != ".damaged":
                    kept[condition.key, path.name] = path.read_bytes()
        known = checks.read_bytes() if checks.is_file() else b""
        store = self.store.url if self.store else None
        return task.Order(
            piece, self.run_folder.folder, self.mark, store, self.keep, self.fresh, self.versions, kept, known
        )

    def _hear(self) -> None:
        """Take what tasks told, and write their lines down. What an attempt tells after it is given up counts not."""
        attempts = {attempt.number: attempt for attempt in self.running.values()}
        for number, told in self.ray.get(self.desk.take.remote()):
            if number in attempts:
                self._note(attempts[number], told)

    def _note(self, attempt: _Attempt, told: Told) -> None:
        attempt.machine = told.machine or attempt.machine
        attempt.units += told.units
        self.watcher.advance(told.units)
        if told.activity:
            self.watcher.show(attempt.number, told.activity)
        for note in told.notes:
            self.watcher.note(note)
        for (key, name), lines in told.lines.items():
            path = self.run_folder.condition(key).folder / checked_name(name)
            append_whole(path, lines, for_good=False)
            attempt.touched.add(path)
        for (key, name), content in told.files.items():
            write_atomically(self.run_folder.condition(key).folder / checked_name(name), content)

    def _ended(self, reference: Any) -> Iterator[int | Failure]:
        """How a job ends, if the task that has ended was its last."""
        attempt = self.running[reference]
        failure = self._failure(reference, attempt)
        del self.running[reference]
        self.watcher.show(attempt.number, None)
        for path in attempt.touched:
            durable.sync(path)
        if isinstance(failure, _Attempt):
            self.waiting.appendleft(failure)
            return
        if failure:
            self.failures.setdefault(attempt.job, Failure(attempt.job, *failure))
        self.open[attempt.job] -= 1
        if self.open[attempt.job] or (attempt.job not in self.failures and self._goes_on(attempt)):
            return
        yield self.failures.get(attempt.job, attempt.job)

    def _goes_on(self, attempt: _Attempt) -> bool:
        """Whether a job has further pieces, which wait from now on."""
        pieces = following(attempt.piece, self.run_folder)
        self._wait_with(attempt.job, pieces)
        if not pieces and attempt.piece.part == "judge":
            job = self.jobs[attempt.job]
            let_go(job, self.run_folder, _Notes(self.watcher), self.keep)
            if job.training and self.store and not self.keep:
                self.store.remove(f"checkpoints/{job.training.run}")
        return bool(pieces)

    def _failure(self, reference: Any, attempt: _Attempt) -> tuple[str, str] | _Attempt | None:
        """Why a task failed, or the next attempt at its piece; None if it did all."""
        errors = self.ray.exceptions
        try:
            failure: tuple[str, str] | None = self.ray.get(reference)
        except errors.RayTaskError as error:
            return f"a task could not begin: {error}", ""
        except errors.OutOfMemoryError:
            why, again = f"its process was killed, as {attempt.machine} ran out of memory", "killed"
        except errors.WorkerCrashedError as error:
            gone = "node" in str(error).lower() and "died" in str(error).lower()
            why = f"{attempt.machine} was lost" if gone else f"its process on {attempt.machine} was killed"
            again = "lost" if gone else "killed"
        except errors.RayError as error:  # of a machine that is gone, or cannot be reached
            why, again = f"{attempt.machine} was lost ({' '.join(str(error).split())[:200]})", "lost"
        else:
            if failure is None or not failure[0].startswith(OUT_OF_MEMORY):
                return failure
            why, again = f"it ran out of memory on {attempt.machine} ({failure[0][:200]})", "killed"
        finally:
            self._hear()
        return self._again(attempt, why, again)

    def _again(self, attempt: _Attempt, why: str, again: str) -> tuple[str, str] | _Attempt:
        """The next attempt at a piece; its failure if there were enough."""
        lost, killed = attempt.lost + (again == "lost"), attempt.killed + (again == "killed")
        name = attempt.piece.job.conditions[0].name
        if lost > MOST_LOST or killed > MOST_KILLED:
            mend = "Use machines with more memory, a smaller batch_size, gradient_checkpointing, or method: lora."
            return f"{why}; it was begun {lost + killed} times. {mend if again == 'killed' else ''}".rstrip(), ""
        self.watcher.note(f"{name}: {why}. What it told is kept, and it is begun again.")
        self.watcher.advance(-attempt.units)
        self.numbers += 1
        return _Attempt(self.numbers, attempt.job, attempt.piece, lost, killed)

    def _stop(self) -> None:
        """Have the tasks store what is under way and end, and wait for that; nothing more is begun."""
        self.waiting.clear()
        self.desk.close.remote()
        for reference in [each for each, attempt in self.running.items() if attempt.machine == "a machine"]:
            self.ray.cancel(reference)
            del self.running[reference]
        while self.running:
            done = self._done()
            with suppress(self.ray.exceptions.RayError):
                self._hear()
            for reference in done:
                del self.running[reference]


@dataclass(frozen=True)
class _Notes:
    """Progress of which only the notes count."""

    watcher: Watcher

    def advance(self, units: int) -> None:
        """Count nothing."""

    def show(self, activity: object) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        self.watcher.note(text)
