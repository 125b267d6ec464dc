"""How worker processes begin: on Linux as forks of one process that has imported the large libraries, elsewhere anew.

To import torch and transformers takes seconds, and several processes that do it at once slow each other down. The
warm process is that of Python's `forkserver`: it has a single thread, so its forks are safe. It is started while the
run still plans, hears no signal, and ends with the process, or the thread, that started it.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

from holdfast.core import end_with_parent, stopping

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""What torch and the tokenizers of a worker read when they are imported: two workers with two threads each stall each
other, and one thread makes results repeatable."""

QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

TO_ASK = ("torch", "transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama")
"""Modules that a worker needs that asks a model; another shape than Llama's imports little more."""

TO_TUNE = ("transformers.trainer",)
"""Modules that a worker needs besides that tunes one."""

LOOK_EVERY = 0.1
"""Seconds between two looks at whether the run is to stop, while a worker begins."""


def can_fork() -> bool:
    """Whether workers are forks of a warm process. On macOS, system libraries do not survive a fork."""
    return sys.platform == "linux"


def context() -> Any:
    """The `multiprocessing` context of worker processes."""
    return multiprocessing.get_context("forkserver" if can_fork() else "spawn")


def warm(modules: Sequence[str] = TO_ASK) -> None:
    """Start the warm process, which imports modules while this process goes on; nothing where there is one already.

    Workers have one thread each, and so has this process if it imports torch after this call.
    """
    os.environ.update({**ONE_THREAD, **QUIET})
    if not can_fork():
        return
    from multiprocessing import forkserver

    multiprocessing.set_forkserver_preload([end_with_parent.__name__, *modules])
    os.environ[end_with_parent.PARENT] = str(os.getpid())
    try:
        with stopping.blocked():  # the warm process inherits that, and so do its forks until they are workers
            forkserver.ensure_running()
    finally:
        del os.environ[end_with_parent.PARENT]


def begin(process: Any) -> None:
    """Start a worker. The warm process may still import, which can take seconds: meanwhile the run can be stopped.

    Raises:
        KeyboardInterrupt: the run is to stop. The worker ends by itself if it begins nevertheless.
        OSError: no process can be started.
    """
    if not can_fork():
        with stopping.blocked():
            process.start()
        return
    errors: list[BaseException] = []
    starting = threading.Thread(target=_start, args=(process, errors), daemon=True)
    starting.start()
    while starting.is_alive():
        starting.join(LOOK_EVERY)
        stopping.check()
    if errors:
        raise errors[0]


def _start(process: Any, errors: list[BaseException]) -> None:
    try:
        process.start()
    except BaseException as error:  # told in the thread that waits
        errors.append(error)


def settle(environment: dict[str, str]) -> None:
    """Give a worker the environment that its run has now, which may be newer than the warm process.

    What the imports left is never garbage, so the collector need not look through it again and again.
    """
    os.environ.clear()
    os.environ.update(environment)
    gc.freeze()
