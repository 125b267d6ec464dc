"""What `make bench` runs can be imported: a benchmark that is run once a month must not be broken for a month."""

import importlib
from pathlib import Path

import pytest

SPEED = Path(__file__).parents[1] / "speed"


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(path.stem for path in SPEED.glob("*.py")))
def test_a_benchmark_can_be_imported(name, monkeypatch):
    monkeypatch.syspath_prepend(str(SPEED))
    assert callable(getattr(importlib.import_module(name), "main" if name != "ways" else "ours"))
