"""Packages that are installed on request."""

from __future__ import annotations

import importlib.util

from holdfast.core.errors import HoldfastError


def how_to_install(extra: str) -> str:
    """The sentence that says how to install one of our extras."""
    return f"""Install it from Holdfast's checkout: pip install -e ".[{extra}]"."""


def need_inspect() -> None:
    """Say what to install where Inspect is not there.

    Raises:
        HoldfastError: it is not.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise HoldfastError(f"Inspect is not installed. {how_to_install('inspect')}")
