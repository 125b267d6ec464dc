"""What this machine has: speed, memory and disk. Speed is measured as a worker process works, with one thread."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from holdfast.models import loading


@dataclass(frozen=True)
class Speed:
    """How fast one worker is."""

    arithmetic: float
    """Operations a second in a large multiplication of matrices."""
    latency: float
    """Seconds of one small operation, which is mostly the time to start it."""
    bandwidth: float
    """Bytes a second that are read from memory."""


@cache
def speed() -> Speed:
    """The speed of this machine's best device, measured for a tenth of a second.

    On a CPU, processor time is measured: it does not depend on what else the machine is doing.
    """
    import torch

    device = loading.best_device()
    kind, size = (torch.float32, 512) if device == "cpu" else (torch.bfloat16, 4096)
    n_steps, n_values = 500, 2**23
    with one_thread():
        matrix = torch.ones(size, size, device=device, dtype=kind)
        few, many = torch.ones(8, device=device), torch.ones(n_values, device=device)

        def small_operations() -> None:
            total = few
            for _ in range(n_steps):
                total = total + few
            total.sum().item()

        return Speed(
            arithmetic=2 * size**3 / _best(lambda: (matrix @ matrix).sum().item(), 20),
            latency=_best(small_operations, 5) / n_steps,
            bandwidth=4 * n_values / _best(lambda: many.sum().item(), 5),
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for the arithmetic, as worker processes have (`core/workers.py`)."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _best(work: Callable[[], object], n_times: int) -> float:
    """Seconds of the fastest of several rounds, after one that is not counted."""
    clock = time.process_time if loading.best_device() == "cpu" else time.perf_counter
    work()
    best = math.inf
    for _ in range(n_times):
        started = clock()
        work()
        best = min(best, clock() - started)
    return max(best, 1e-9)


def free_memory() -> int:
    """Bytes that are free: of the GPU where there is one, else of the machine."""
    import torch

    if torch.cuda.is_available():
        return sum(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def free_disk(folder: Path) -> int:
    """Bytes that are free where a folder is or will be."""
    existing = next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())
    return shutil.disk_usage(existing).free
