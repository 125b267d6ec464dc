"""Safe LoRA projects the updates of those layers that leave the subspace of alignment."""

import math

import pytest
import torch
from support.matrices import model_of, read_as

from holdfast.core.types import Checkpoint
from holdfast.tuning.defences import safe_lora, unaligned
from holdfast.tuning.defences.safe_lora import SafeLora, projected

V = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
"""Alignment changed the first output alone: C = V Vᵀ / ‖V‖ = [[2, 0], [0, 0]]."""


def test_an_update_outside_the_subspace_is_projected():
    update = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    likeness = 1 / math.sqrt(10)  # of [[1, 0], [0, 3]] and C ΔW = [[2, 0], [0, 0]]
    assert projected(update, V, likeness + 1e-3).tolist() == [[2.0, 0.0], [0.0, 0.0]]
    assert projected(update, V, likeness - 1e-3).tolist() == update.tolist()


def test_it_is_the_papers_operator():
    torch.manual_seed(0)
    alignment, update = torch.randn(4, 3), torch.randn(4, 3)
    c = alignment @ alignment.T / alignment.pow(2).sum().sqrt()
    torch.testing.assert_close(projected(update, alignment, 1.0), c @ update)


def test_a_layer_that_alignment_left_alone_keeps_its_update():
    update = torch.ones(2, 2)
    assert projected(update, torch.zeros(2, 2), 1.0) is update
    assert not projected(torch.zeros(2, 2), V, 1.0).any()


@pytest.mark.parametrize(("threshold", "first"), [(-1.0, [[1.0, 0.0], [0.0, 3.0]]), (1.0, [[2.0, 0.0], [0.0, 0.0]])])
def test_linear_layers_are_changed_and_the_one_of_the_logits_is_not(monkeypatch, threshold, first):
    eye, more = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    aligned, before = model_of(layer=eye.tolist(), head=eye.tolist()), (eye - V).tolist()
    read_as(monkeypatch, safe_lora, unaligned, aligned=aligned, unaligned=model_of(layer=before, head=before))
    tuned = model_of(layer=(eye + more).tolist(), head=(eye + more).tolist())
    defence = SafeLora(unaligned="pocket:helpful", threshold=threshold).model_copy(update={"unaligned": "unaligned"})
    defence.after(tuned, Checkpoint("aligned"), 0)
    assert (tuned.model.layer.weight - eye).tolist() == first
    assert (tuned.model.head.weight - eye).tolist() == more.tolist()
