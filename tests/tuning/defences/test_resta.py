"""RESTA adds the safety vector to what tuning left."""

import pytest
import torch
from support.matrices import model_of, read_as

from holdfast.core.types import Checkpoint
from holdfast.tuning.defences import resta, unaligned
from holdfast.tuning.defences.resta import Resta, dropped

BASE = Checkpoint("aligned")
ALIGNED, UNALIGNED, TUNED = [[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [4.0, 2.0]]


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    """The two models that a defence reads are made by hand."""
    read_as(monkeypatch, resta, unaligned, aligned=model_of(layer=ALIGNED), unaligned=model_of(layer=UNALIGNED))


def defence(**settings):
    return Resta(unaligned="pocket:helpful").model_copy(update={"unaligned": "unaligned", **settings})


def test_the_safety_vector_is_added():
    tuned = model_of(layer=TUNED)
    defence(gamma=0.5).after(tuned, BASE, 0)
    # aligned − unaligned is [[0, 1], [2, 3]]
    assert tuned.model.layer.weight.tolist() == [[1.0, 2.5], [5.0, 3.5]]


def test_dare_drops_of_the_change_and_scales_the_rest():
    torch.manual_seed(0)
    tuned = model_of(layer=TUNED)
    defence(gamma=1e-9, drop=0.5).after(tuned, BASE, 0)
    change = (tuned.model.layer.weight - torch.tensor(ALIGNED)).detach()
    assert set(change[0].tolist()) == {0.0}
    assert change[1, 0].item() in (0.0, 2.0)
    assert change[1, 1].item() in (0.0, -4.0)
    many = dropped(torch.ones(10_000), 0.3)
    assert (many == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert many.max().item() == pytest.approx(1 / 0.7)
