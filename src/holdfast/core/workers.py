"""Map over independent pieces of work: worker processes of one torch thread each."""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.core.errors import HoldfastError
from holdfast.core.files import why_file_failed
from holdfast.core.protocols import Report

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Two workers with two threads each stall each other; one thread also makes results repeatable."""

QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


@dataclass(frozen=True)
class Failure:
    """A piece of work that failed while others went on."""

    place: int
    """Which one, counted from 0."""
    reason: str
    """What went wrong, as a person reads it."""
    trace: str
    """The traceback, or "" for an error that the user can mend."""


def quiet() -> None:
    """Keep the libraries' own progress bars and warnings off the terminal; call it before they are imported."""
    os.environ.update(QUIET)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """One worker a core; one in all where there is a GPU, which they would share."""
    has_gpu = any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/kfd"))
    return 1 if has_gpu else usable_cores()


def work_through(
    work: Callable[[Any, Report], None], pieces: Sequence[Any], workers: int, report: Report
) -> Iterator[int | Failure]:
    """Run `work(piece, report)` for each piece, and yield its place when it is done, or its failure.

    One worker is this process. For several, `work` must be importable by name, and each piece picklable;
    `report` is called in this process.
    """
    quiet()
    if workers == 1:
        yield from _one_by_one(work, pieces, report)
        return
    os.environ.update(ONE_THREAD)
    context = multiprocessing.get_context("spawn")
    channel = context.Queue()
    with ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(channel,)) as pool:
        futures: dict[Future[None], int] = {pool.submit(_call, work, piece): i for i, piece in enumerate(pieces)}
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=0.1, return_when="FIRST_COMPLETED")
            _drain(channel, report)
            for future in done:
                yield _outcome(future.result, futures[future])


def _one_by_one(work: Callable[[Any, Report], None], pieces: Sequence[Any], report: Report) -> Iterator[int | Failure]:
    """All work in this process, with one thread, as each of several workers would do it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for place, piece in enumerate(pieces):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # between libraries; nothing a user could mend
                outcome = _outcome(partial(work, piece, report), place)
            yield outcome
    finally:
        torch.set_num_threads(threads)


def _outcome(finish: Callable[[], None], place: int) -> int | Failure:
    try:
        finish()
    except BrokenProcessPool:
        reason = "the worker process was ended from outside; often the machine ran out of memory (try --workers 1)"
        return Failure(place, reason, "")
    except HoldfastError as error:
        return Failure(place, str(error), "")
    except Exception as error:  # one condition's failure must not lose the others' work
        if reason := why_file_failed(error):
            return Failure(place, reason, "")
        return Failure(place, f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))
    return place


def _drain(channel: Any, report: Report) -> None:
    total = 0
    while True:
        try:
            total += channel.get_nowait()
        except queue.Empty:
            break
    if total:
        report(total)


_worker: dict[str, Any] = {}
"""What a worker process was started with."""


def _start_worker(channel: Any) -> None:
    _worker["channel"] = channel
    channel.cancel_join_thread()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore", category=FutureWarning)  # between libraries; nothing a user could mend
    import torch

    torch.set_num_threads(1)


def _die_with_parent() -> None:
    """End at once when the run is killed, so that nothing is written behind its back."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _call(work: Callable[[Any, Report], None], piece: Any) -> None:
    work(piece, _worker["channel"].put)
