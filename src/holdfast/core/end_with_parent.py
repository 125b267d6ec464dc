"""Imported by the warm process from which workers are forked: it ends at once when the process that started it does.

It would notice that by itself, but only after its imports, and a run that is stopped leaves no process behind.
"""

import ctypes
import os
import signal

PARENT = "HOLDFAST_WARM_PARENT"
"""The environment variable that says which process started this one."""

PR_SET_PDEATHSIG = 1
"""Linux: the signal that this process gets when its parent ends (`man 2 prctl`). Forks do not inherit it."""

if PARENT in os.environ:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ[PARENT]):  # it has ended already
        os._exit(1)
