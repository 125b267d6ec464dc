"""Packages that are installed on request."""

from __future__ import annotations

import importlib.util

from holdfast.core.errors import HoldfastError


def need_inspect() -> None:
    """Say what to install where Inspect is not there.

    Raises:
        HoldfastError: it is not.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise HoldfastError("Inspect is not installed. Install it with: pip install 'holdfast[inspect]'")
