"""The short forms of a study: `grid` of a condition, and `defences` × `attacks`. Each becomes plain conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from holdfast.core.arena_record import UNDEFENDED
from holdfast.core.errors import StudyError

MOST_CONDITIONS = 1000
"""The most conditions of a study. The paper's full grid has 40."""

GRID_NAMES = {"learning_rate": "lr", "batch_size": "batch"}
"""Short names of settings, used in the names of a grid's conditions."""

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """Where in the file the settings of a condition stand that a short form stands for."""

    settings: Location
    own: Mapping[str, Location] = field(default_factory=dict)
    """Setting → where it stands, if not among the others."""

    def of(self, inner: Location) -> Location:
        """Where a setting of the condition stands."""
        if inner and inner[0] in self.own:
            return (*self.own[str(inner[0])], *inner[1:])
        return (*self.settings, *inner)


def expand(raw: dict[str, Any], name: str) -> dict[str, Origin]:
    """Replace the short forms among a study's settings by the conditions that they stand for.

    Returns:
        The name of each such condition → where its settings stand.

    Raises:
        StudyError: more conditions than a study can have, or attacks without defences.
    """
    conditions = raw.get("conditions")
    conditions = {} if conditions is None and "attacks" in raw else conditions
    if not isinstance(conditions, dict):
        return {}
    n = sum(map(_n_combinations, conditions.values())) + _n_cells(raw)
    if n > MOST_CONDITIONS:
        raise StudyError(
            f"{name}: with every combination of its grids, and every attack on every defence, it has {n:,} conditions, "
            f"where at most {MOST_CONDITIONS:,} can be. Give the grids fewer values, or make several studies of it."
        )
    origins: dict[str, Origin] = {}
    every = _of_grids(conditions, origins) | _of_arena(raw, name, origins)
    raw["conditions"] = every
    return origins


def _n_combinations(condition: Any) -> int:
    """How many conditions one entry of the study stands for."""
    grid = condition.get("grid") if isinstance(condition, dict) else None
    if not isinstance(grid, dict):
        return 1
    return math.prod(len(column) for column in grid.values() if isinstance(column, list))


def _n_cells(raw: Mapping[str, Any]) -> int:
    """How many conditions attacks on defences stand for."""
    attacks, defences = raw.get("attacks"), raw.get("defences")
    both = isinstance(attacks, dict) and isinstance(defences, dict)
    return len(attacks) * (1 + len(defences)) if both else 0  # type: ignore[arg-type]


def _of_grids(conditions: Mapping[str, Any], origins: dict[str, Origin]) -> dict[str, Any]:
    """The conditions; those that have a `grid` of tuning settings as one for each combination."""
    every: dict[str, Any] = {}
    for each, condition in conditions.items():
        grid = condition.get("grid") if isinstance(condition, dict) else None
        if not isinstance(grid, dict) or not all(isinstance(column, list) for column in grid.values()):
            every[each] = condition
            continue
        common = {key: value for key, value in condition.items() if key != "grid"}
        for combination in product(*grid.values()):
            chosen = dict(zip(grid, combination, strict=True))
            full = "-".join([str(each), *(f"{GRID_NAMES.get(key, key)}-{value}" for key, value in chosen.items())])
            every[full] = {**common, "tune": {**(common.get("tune") or {}), **chosen}}
            origins[full] = Origin(("conditions", str(each)))
    return every


def _of_arena(raw: dict[str, Any], name: str, origins: dict[str, Origin]) -> dict[str, Any]:
    """A condition `attack+defence` for each attack on each defence, and on the undefended model.

    An attack is a condition without `defence`, and `by` says who can make it. The undefended model is always there: the
    others are measured against it.
    """
    if "attacks" not in raw and "defences" not in raw:
        return {}
    attacks, defences = raw.pop("attacks", None), raw.pop("defences", None)
    if not all(isinstance(section, dict) and section for section in (attacks, defences)):
        raise StudyError(
            f"{name}: `defences` and `attacks` belong together: each names at least one, as `name: settings`. A study "
            "without them lists its `conditions`."
        )
    if malformed := [each for each, settings in attacks.items() if not isinstance(settings, dict)]:
        raise StudyError(f"{name}: the attack {malformed[0]!r} must have settings, such as `data`.")
    every: dict[str, Any] = {}
    for defence, acting in {UNDEFENDED: [], **defences}.items():
        for attack, settings in attacks.items():
            cell = {"attack": attack, "defence": defence, "by": settings.get("by", "adaptive")}
            common = {key: value for key, value in settings.items() if key != "by"}
            full = f"{attack}+{defence}"
            every[full] = {**common, "defence": acting, "cell": cell}
            own: dict[str, Location] = {"cell": ("attacks", str(attack))}
            if defence in defences:
                own["defence"] = ("defences", str(defence))
            origins[full] = Origin(("attacks", str(attack)), own)
    return every
