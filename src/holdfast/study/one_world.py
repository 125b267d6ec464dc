"""A study of a pocket model keeps to that model's world: the answers of one world are wrong in every other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.core import worlds
from holdfast.core.files import locate
from holdfast.study.schema import Study


def home(model: Any, folder: Path) -> Path | None:
    """The folder of the world that a study's model belongs to, where its `pocket:` names are looked for.

    None where that is the shipped one, or where the model is of no world.
    """
    return worlds.home_of(locate(model, folder)) if isinstance(model, str) else None


def mixed(study: Study) -> list[Any]:
    """The mistakes in a study that names files or models of another world than its model's."""
    seed = worlds.seed_of(locate(study.model))
    if seed is None:
        return []
    own = f"pocket:FILE{f'@{seed}' if seed else ''}"
    settings = study.model_dump(mode="json", include={"evaluate", "conditions"})
    return [
        {
            "loc": place,
            "msg": f"{name} is of the pocket world of seed {other}, but the study's model {study.model} is of that of "
            f"seed {seed}. Name files and models of the model's own world, such as {own}",
        }
        for place, name, other in worlds.others(settings, seed)
    ]
