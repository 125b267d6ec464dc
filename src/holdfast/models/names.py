"""What a model is called in a study's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from holdfast.core.config import explained
from holdfast.core.file_faults import SHOWN_LENGTH
from holdfast.core.files import FOLDERS, MADE, is_folder, locate, shown_name, similar_name
from holdfast.core.worlds import not_built
from holdfast.models.hub import ADAPTER, SERVED


def _find_model(model: str, info: ValidationInfo) -> str:
    """A folder's absolute path, or a Hub id or served name as it is."""
    if model.startswith(SERVED) or model in MADE:
        return model
    if problem := not_built(model):
        raise explained(problem)
    context = info.context or {}
    folder = locate(model, context.get("folder"), context.get("world"))
    if is_folder(folder):
        if not any((folder / name).is_file() for name in ("config.json", ADAPTER)):
            raise explained(f"{folder} has no config.json and no {ADAPTER}, so it is no Hugging Face model or adapter")
        return shown_name(folder) if model.startswith(tuple(FOLDERS)) else str(folder.resolve())
    if model.startswith((*FOLDERS, ".", "/", "~")) or model.count("/") > 1:
        raise explained(f"there is no folder {str(folder)[:SHOWN_LENGTH]}.{similar_name(folder)}")
    return model


ModelName = Annotated[str, AfterValidator(_find_model)]
"""A folder, relative to the study's, an id on the Hugging Face Hub, or `served:NAME`."""
