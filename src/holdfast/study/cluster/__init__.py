"""The jobs of a run as tasks of a Ray cluster (`--ray`); see docs/ray.md."""

from __future__ import annotations

from holdfast.core.errors import HoldfastError
from holdfast.core.workers import default_workers
from holdfast.study.run import Workers


def workers_of(workers: int | None, ray: str | None) -> Workers:
    """Who does the jobs of a run: a cluster, so many worker processes, or one for each core.

    Raises:
        HoldfastError: both are given.
    """
    if ray is None:
        return workers or default_workers()
    if workers is not None:
        raise HoldfastError("a Ray cluster takes the place of workers: it knows itself how much it does at a time.")
    from holdfast.study.cluster.pool import RayCluster

    return RayCluster(ray)
