"""Light configurations that build heavy objects, and the plain dicts that name them.

A registry is `name → "module:attribute"`. The attribute is a `Config`: a frozen configuration whose methods
do the work. Adding a benchmark, judge, data source, defence or back end is one new file and one new line.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from holdfast.core.file_faults import SHOWN_LENGTH, folder_in_place_of_file, shown
from holdfast.core.files import did_you_mean, is_file, is_folder, locate, shown_name, similar_name
from holdfast.core.protocols import Configured
from holdfast.core.types import content_hash
from holdfast.core.worlds import not_built

Registry = Mapping[str, str]


class Config(BaseModel):
    """A frozen configuration; unknown keys are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @cached_property
    def key(self) -> str:
        """The hash of its settings."""
        return content_hash(self.model_dump(mode="json"))

    def faults(self) -> list[str]:
        """What would stop the work that this configures on this machine, found without doing any of it."""
        return []

    @model_validator(mode="wrap")
    @classmethod
    def _name_what_is_allowed(cls, value: Any, handler: Callable[[Any], Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            details = [cls._explain(problem) for problem in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(error.title, details) from None

    @classmethod
    def _explain(cls, problem: Any) -> InitErrorDetails:
        """A problem with its key's name and what is allowed in its place, where the key is unknown."""
        found = shown(problem["input"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            allowed = [name for name in cls.model_fields if name != "kind"]
            given = str(problem["loc"][-1])
            message = f"unknown key {shown(given)}; use one of {', '.join(allowed)}.{did_you_mean(given, allowed)}"
        elif problem["type"] == "missing":
            message = f"{problem['loc'][-1]!r} is missing"
        elif problem["type"] != "explained":
            message = f"{message}; found {found}"
        kind = PydanticCustomError("explained", "{message}", {"message": message})
        return InitErrorDetails(type=kind, loc=problem["loc"], input=problem["input"])


def explained(message: str) -> PydanticCustomError:
    """An error whose message needs no "found …" behind it."""
    return PydanticCustomError("explained", "{message}", {"message": message})


def label(configured: Configured) -> str:
    """The name under which a judge's verdicts are kept: its kind and the hash of its settings."""
    return f"{configured.kind}-{configured.key[:8]}"


def load(reference: str) -> type[Config]:
    """The class that a registry's `module:attribute` names."""
    module, _, attribute = reference.partition(":")
    loaded: type[Config] = getattr(importlib.import_module(module), attribute)
    return loaded


def summary(reference: str) -> str:
    """The first line of the docstring of what a registry names."""
    return (load(reference).__doc__ or "").strip().splitlines()[0]


@dataclass(frozen=True, eq=False)
class OneOf:
    """Marks a field that holds an entry of a registry: `judge: Annotated[Judge, OneOf(JUDGES)]`.

    The type that is marked is the protocol that the entries follow; a type checker sees it and nothing else. The field
    takes settings with a `kind`, a bare name (which means `{kind: name}`), or an object that is built already.
    """

    registry: Registry
    """Name → `module:attribute` of a `Config`."""
    default: str | None = None
    """The kind of settings that name none."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """How pydantic reads such a field."""
        return core_schema.with_info_before_validator_function(self._build, core_schema.any_schema())

    def _build(self, value: Any, info: core_schema.ValidationInfo[Any]) -> Any:
        if isinstance(value, Config):
            return value
        settings = {"kind": value} if isinstance(value, str) else value
        if not isinstance(settings, dict):
            raise explained(f"expected a name or settings with `kind`, found {shown(value)}")
        kind, names = settings.get("kind", self.default), ", ".join(self.registry)
        if kind is None:
            raise explained(f"'kind' is missing; use one of {names}")
        if not isinstance(kind, str) or kind not in self.registry:
            raise explained(f"unknown kind {shown(kind)}; use one of {names}.{did_you_mean(str(kind), self.registry)}")
        return load(self.registry[kind]).model_validate(settings, context=info.context)


def one_of(registry: Registry, default: str | None = None) -> Any:
    """The type of a field that `OneOf` marks, for modules that do not use the mark yet."""
    return Annotated[Any, OneOf(registry, default)]


def _find(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path):
        raise explained(f"expected a file name, found {shown(value)}")
    context = info.context or {}
    path = locate(str(value), context.get("folder"), context.get("world"))
    if problem := not_built(str(value)):
        raise explained(problem)
    if is_folder(path):
        raise explained(folder_in_place_of_file(path))
    if not is_file(path):
        raise explained(f"there is no file {str(path)[:SHOWN_LENGTH]}.{similar_name(path)}")
    return path


File = Annotated[Path, BeforeValidator(_find), PlainSerializer(shown_name)]
"""A file named in a study, relative to its folder; it must exist when the study is read."""
