"""The attacks of `attacks.py`, smaller: what clients are told, that others are served, and how much memory is taken."""

import asyncio

import pytest
from service.attacks import ATTACKS, measure, target

MOST = 300
"""MiB that an attack may take beside what the service has anyway."""


@pytest.mark.long
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_ends_others_are_served_and_the_memory_is_bounded(tmp_path, name, found):
    with target(tmp_path, size=0.1) as of:
        measured = asyncio.run(measure(of, name))
    assert "still open" not in measured.told and "no answer" not in measured.told, measured
    assert measured.others > 0 and measured.refused == 0, measured
    assert measured.peak - measured.before < MOST, measured
    assert "Traceback" not in (tmp_path / "log").read_text()
    found(name, of.clients(1), measured.slowest, int((measured.peak - measured.before) * 2**20))
