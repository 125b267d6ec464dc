"""Policies in YAML files: read with a default, and with every mistake named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from holdfast.core.config import Config
from holdfast.core.errors import DataError
from holdfast.core.files import is_file
from holdfast.core.yaml_text import read_yaml

Policy = TypeVar("Policy", bound=Config)

MOST_NAMED = 50
"""Mistakes that one message names."""


def read_policy_file(kind: type[Policy], path: Path | None, default: Path, such_as: str) -> Policy:
    """The policy in a YAML file, or the default one. File names in it are relative to its folder.

    Args:
        kind: the class of the policy.
        path: the file; None for the default.
        default: the file of the default policy.
        such_as: what a policy begins with, for the message.

    Raises:
        DataError: there is no such file, it cannot be read, or it has mistakes; every one of them is named.
    """
    path = path or default
    if not is_file(path):
        raise DataError(f"there is no policy file {path}. Without --policy the default is used: {default}.")
    settings = read_yaml(path)
    if not isinstance(settings, dict):
        raise DataError(f"{path} is no policy: it must be a mapping such as {such_as}. See {default}.")
    return policy_of(kind, settings, str(path), path.parent)


def policy_of(
    kind: type[Policy], settings: dict[str, Any], name: str = "the policy", folder: Path | None = None
) -> Policy:
    """The policy that settings make.

    Raises:
        DataError: naming every mistake.
    """
    try:
        return kind.model_validate(settings, context={"folder": folder})
    except ValidationError as error:
        listed = "\n  ".join(_mistake(detail) for detail in error.errors(include_url=False)[:MOST_NAMED])
        raise DataError(f"{name} has {error.error_count()} mistake(s):\n  {listed}") from None


def _mistake(detail: Any) -> str:
    at = ".".join(map(str, detail["loc"]))
    return f"{at}: {detail['msg']}" if at else str(detail["msg"])
