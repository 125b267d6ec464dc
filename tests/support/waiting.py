"""Waiting for what another thread or process does: for the event itself, with a deadline that a busy machine keeps."""

import time

PATIENCE = 120
"""Seconds. A test that fails for want of time tells nothing, so this is many times what an idle machine takes."""


def wait_until(reached, seconds=PATIENCE):
    """Wait until something is so; gives what it is."""
    deadline = time.monotonic() + seconds
    while not (value := reached()):
        assert time.monotonic() < deadline, f"it took longer than {seconds} s"
        time.sleep(0.02)
    return value
