"""LoX takes the low-rank part of the alignment further, before tuning."""

import pytest
import torch
from support.matrices import model_of, read_as

from holdfast.tuning.defences import unaligned
from holdfast.tuning.defences.lox import Lox, low_rank


def test_only_the_first_singular_directions_are_taken():
    # The singular values of a diagonal matrix are its entries.
    change = torch.diag(torch.tensor([1.0, 5.0, 3.0]))
    torch.testing.assert_close(low_rank(change, 1), torch.diag(torch.tensor([0.0, 5.0, 0.0])))
    torch.testing.assert_close(low_rank(change, 2), torch.diag(torch.tensor([0.0, 5.0, 3.0])))
    torch.testing.assert_close(low_rank(change, 9), change)


def test_it_is_the_nearest_matrix_of_that_rank():
    torch.manual_seed(0)
    change = torch.randn(5, 4)
    u, s, v = torch.linalg.svd(change, full_matrices=False)
    torch.testing.assert_close(low_rank(change, 2), u[:, :2] @ torch.diag(s[:2]) @ v[:2])


def test_the_base_is_moved_on_and_the_layer_of_the_logits_is_not(monkeypatch):
    before = [[0.0, 0.0], [0.0, 0.0]]
    aligned = [[4.0, 0.0], [0.0, 1.0]]
    read_as(monkeypatch, unaligned, unaligned=model_of(layer=before, head=before))
    loaded = model_of(layer=aligned, head=aligned)
    Lox(unaligned="pocket:helpful", rank=1, alpha=0.5).model_copy(update={"unaligned": "unaligned"}).prepare_base(
        loaded, 0
    )
    assert loaded.model.layer.weight.flatten().tolist() == pytest.approx([6.0, 0.0, 0.0, 1.0])
    assert loaded.model.head.weight.tolist() == aligned
