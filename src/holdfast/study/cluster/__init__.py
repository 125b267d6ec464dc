"""The jobs of a run as tasks of a Ray cluster (`--ray`); see docs/ray.md."""
