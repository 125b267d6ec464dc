"""What a task does: one piece, in a folder of its own on whatever machine, whose new lines it sends to the desk."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.core import stopping
from holdfast.core.errors import HoldfastError, RunFolderError
from holdfast.core.mirror import Mirror
from holdfast.core.progress import Activity, Meter, Progress
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import NoCheckpoint, Tuned
from holdfast.core.version import __version__
from holdfast.core.warm_start import ONE_THREAD
from holdfast.core.workers import GRACE, attempt, quiet
from holdfast.study import mending
from holdfast.study import run as runner
from holdfast.study.cluster.desk import DeskBudget, Place, Told
from holdfast.study.cluster.pieces import Piece
from holdfast.study.cluster.places import on_this_machine
from holdfast.study.cost_forecast import ANSWERS, TUNING
from holdfast.study.endings import named
from holdfast.study.limits import Limits
from holdfast.study.pending import lacks_record, missing_prompts
from holdfast.study.plan import Job, epochs_of
from holdfast.study.suite import ANSWER
from holdfast.study.tuned import measure_tasks, tune

TELL_EVERY = 0.5
"""Seconds between two times that a task tells what it did: what is lost with its machine."""

PACKAGES = ("torch", "transformers", "tokenizers", "peft")
"""Packages whose other version could give other figures."""


@dataclass(frozen=True)
class Order:
    """What a task is to do, and all that it must know for it."""

    piece: Piece
    folder: Path
    """The run folder, as the machine of the run knows it."""
    mark: str
    """The name of a file in the run folder: a machine that sees it shares the folder's disk."""
    store: str | None
    """The address of the store that the run folder is a working copy of; None where it is of none."""
    keep: bool
    fresh: bool
    versions: Mapping[str, str]
    kept: Mapping[Place, bytes] = field(default_factory=dict)
    """What is there already of the piece's conditions."""
    checks: bytes = b""
    """How the judges did on their canaries: the run's `judges.jsonl`."""


def versions() -> dict[str, str]:
    """The versions of Holdfast and of the packages that figures depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"holdfast": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def work(pickled: bytes, desk: Any, number: int) -> tuple[str, str] | None:
    """Do a piece; None, or the reason and the traceback of its failure. `number` is that of the attempt."""
    os.environ.update(ONE_THREAD)
    stopping.become_task()
    quiet()
    warnings.filterwarnings("ignore", category=FutureWarning)  # between libraries; nothing a user could mend
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="holdfast-") as folder:
        teller = Teller(desk, number, Path(folder))
        teller.begin()
        try:
            return attempt(partial(_do, pickled, teller))
        except KeyboardInterrupt:
            return "it was stopped", ""
        finally:
            teller.end()


def _do(pickled: bytes, teller: Teller) -> None:
    order: Order = pickle.loads(pickled)
    _check_versions(order.versions)
    job = replace(order.piece.job, base=on_this_machine(order.piece.job.base))
    for (key, name), content in order.kept.items():
        path = teller.folder / "conditions" / key / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if order.checks:
        (teller.folder / "judges.jsonl").write_bytes(order.checks)
    teller.know(order.kept)
    with _weights(order, job, teller) as checkpoints:
        _do_part(replace(order.piece, job=job), order, RunFolder(teller.folder, checkpoints), teller)


@contextmanager
def _weights(order: Order, job: Job, teller: Teller) -> Iterator[Path | None]:
    """Where tuned weights lie: in a copy of what the store has, or in the run folder where this machine sees it.

    None is a folder of this task alone, whose weights are lost with it.

    Raises:
        RunFolderError: other machines need the weights, and would not see them.
    """
    if job.training and order.store and not order.piece.stays:
        folder = teller.folder / "weights"
        its_own = folder / "checkpoints" / job.training.run
        its_own.mkdir(parents=True)
        mirror = Mirror(f"{order.store}/checkpoints/{job.training.run}", its_own, teller.note, is_checkpoints=True)
        mirror.fetch()
        with mirror.kept_in_step():
            yield folder / "checkpoints"
    elif (order.folder / order.mark).is_file():
        yield order.folder / "checkpoints"
    elif job.training and order.piece.part != "whole":
        raise RunFolderError(
            f"{socket.gethostname()} does not see the run folder {order.folder}, through which machines hand on "
            "tuned weights where one condition has many prompts. Put the run folder on a disk that all of them share, "
            "or in an object store (--out s3://…)."
        )
    else:
        yield None


def _do_part(piece: Piece, order: Order, run_folder: RunFolder, teller: Teller) -> None:
    """Do what the piece is a part of."""
    progress, budget = Limits(deadline=teller.deadline).checked(teller), DeskBudget(teller.desk)
    if piece.part == "tune":
        _tune(piece.job, run_folder, progress, budget)
    elif piece.part == "answer":
        _answer(piece, run_folder, progress, budget)
    else:
        runner.do_in(run_folder, budget, piece.job, progress, order.keep or piece.part == "judge", order.fresh)


def _check_versions(wanted: Mapping[str, str]) -> None:
    found = versions()
    if other := {name: version for name, version in wanted.items() if found.get(name) != version}:
        listed = ", ".join(f"{name} {found.get(name)} in place of {version}" for name, version in other.items())
        raise HoldfastError(
            f"{socket.gethostname()} has {listed}. All machines of a cluster need the same versions: others can give "
            "other figures."
        )


def _tune(job: Job, run_folder: RunFolder, progress: Progress, budget: DeskBudget) -> None:
    """Tune, and leave the checkpoints to the tasks that answer."""
    for condition in job.conditions:
        mending.write_condition(condition, run_folder)
    tuned = _checkpoints(job, run_folder, progress, budget)
    for condition in job.conditions:
        folder, made = run_folder.condition(condition.key), tuned.get(epochs_of(condition))
        if made and lacks_record(job, folder):
            folder.write_training(made.training)


def _checkpoints(job: Job, run_folder: RunFolder, progress: Progress, budget: DeskBudget) -> Mapping[int, Tuned]:
    """What a job's answers need, by epoch. Only a provider gives no checkpoint, and its jobs are not divided."""
    tuned = tune(job, run_folder, progress, budget.of(TUNING))
    return {} if isinstance(tuned, NoCheckpoint) else tuned


def _answer(piece: Piece, run_folder: RunFolder, progress: Progress, budget: DeskBudget) -> None:
    """Give a piece's share of the answers. Batches are those of a run in one process, each of them whole."""
    job, (index, parts) = piece.job, piece.share
    progress.advance(0)
    tuned = _checkpoints(job, run_folder, _Muted(progress), budget)
    for condition in job.conditions:
        folder = run_folder.condition(condition.key)
        mending.write_condition(condition, run_folder)
        conversations = job.suite.conversations(job.templates[condition.key])
        done = conversations.keys() - {prompt.id for prompt in missing_prompts(job.suite, folder)}
        made = tuned.get(epochs_of(condition))
        if index == 0:
            measure_tasks(job, condition, made, run_folder)
        generator: Any = job.generators[condition.key]
        answers = generator.part(index, parts).answers(
            made.checkpoint if made else job.base, conversations, done, condition.seed, budget.of(ANSWERS)
        )
        name = f"answering as {named(replace(job, conditions=(condition,)))}, part {index + 1} of {parts}"
        meter = Meter(progress, name, "prompts", len(conversations) // parts, ANSWER)
        meter.begin()
        with folder.adding_answers() as add, closing(answers) as batches:
            for batch in batches:
                add(batch)
                meter.advance(len(batch))


@dataclass(frozen=True)
class _Muted:
    """Progress of which only the notes count: the steps were counted by the task that tuned."""

    progress: Progress

    def advance(self, units: int) -> None:
        self.progress.advance(0)

    def show(self, activity: Activity) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        self.progress.note(text)


class Teller:
    """Tells the desk, a few times a second, what a task does and which lines it has written.

    It is also the progress of the task: whoever tells it something is at a place where the work can be stopped.
    """

    def __init__(self, desk: Any, number: int, folder: Path) -> None:
        self.desk, self.number, self.folder = desk, number, folder
        self.known: dict[Place, bytes] = {}
        """What of each file the run has."""
        self.units, self.notes = 0, list[str]()
        self.activity: Activity | None = None
        self.deadline: float | None = None
        """When nothing more is begun, on this machine's clock."""
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._tell_often, daemon=True)

    def advance(self, units: int) -> None:
        """Take note that so many more units are done."""
        with self.lock:
            self.units += units
        stopping.check()

    def show(self, activity: Activity) -> None:
        """Take note of what is going on."""
        self.activity = activity
        stopping.check()

    def note(self, text: str) -> None:
        """Take note of a line for the user."""
        with self.lock:
            self.notes.append(text)

    def know(self, kept: Mapping[Place, bytes]) -> None:
        """Take note of what the run has already."""
        self.known.update(kept)

    def begin(self) -> None:
        """Tell the name of this machine, and then the rest until `end`."""
        self._send(Told(machine=socket.gethostname()))
        self.thread.start()

    def end(self) -> None:
        """Tell the rest."""
        self.over.set()
        self.thread.join()
        self._tell()

    def _tell_often(self) -> None:
        while not self.over.wait(TELL_EVERY):
            if not self._tell():
                self._stop()

    def _stop(self) -> None:
        """Have the task end: by itself at its next safe point, or else at once when nothing is being paid for."""
        stopping.stop_worker()
        while not self.over.wait(GRACE):
            if not stopping.is_held():
                self._tell()
                os._exit(1)

    def _tell(self) -> bool:
        """Tell what is new; whether the run goes on."""
        with self.lock:
            units, notes, self.units, self.notes = self.units, tuple(self.notes), 0, []
        lines, files = {}, {}
        for path in self.folder.glob("conditions/*/*.json*"):
            place = (path.parent.name, path.name)
            before, now = self.known.get(place, b""), _content(path)
            if now == before:
                continue
            self.known[place] = now
            if path.suffix == ".jsonl":
                lines[place] = now[len(before) :] if now.startswith(before) else _other_lines(before, now)
            elif path.suffix == ".json":
                files[place] = now
        return self._send(Told(units, self.activity, notes, lines, files))

    def _send(self, told: Told) -> bool:
        import ray

        try:
            goes_on, left = ray.get(self.desk.tell.remote(self.number, told))
        except ray.exceptions.RayError:
            os._exit(1)  # the run has ended: nothing that is done now would reach it
        if left is not None and self.deadline is None:
            self.deadline = time.monotonic() + left
        return bool(goes_on)


def _content(path: Path) -> bytes:
    """What a file holds, without a last line that is not whole."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # a draft that has its name by now
        return b""
    return content[: content.rfind(b"\n") + 1]


def _other_lines(before: bytes, now: bytes) -> bytes:
    """The lines that a file holds and did not hold before; damaged ones were taken out of it in between."""
    known = set(before.splitlines(keepends=True))
    return b"".join(line for line in now.splitlines(keepends=True) if line not in known)
