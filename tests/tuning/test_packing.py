"""Packed rows: nothing is lost, no row sees another, and losses and gradients are those of padded rows."""

import numpy as np
import pytest
import torch
from test_supervised_loss import gradients, made

from holdfast.models.batches import Rendered, training_batch
from holdfast.tuning import packing, supervised_loss


def rows(lengths=(9, 4, 3, 7, 2, 5)):
    draw = np.random.default_rng(0)
    found = []
    for n in lengths:
        supervised = np.arange(n) >= n // 2
        found.append(Rendered(draw.integers(3, 40, n), supervised))
    return found


def test_every_row_is_in_one_line_and_lines_are_full():
    placed = packing.lines([9, 4, 3, 7, 2, 5], 9)
    assert sorted(row for line in placed for row in line) == [0, 1, 2, 3, 4, 5]
    assert placed == [[0], [3, 4], [5, 1], [2]]


def test_positions_begin_anew_with_each_row_and_its_first_token_is_not_foretold():
    batch = packing.packed_batch(rows((3, 2, 4)), 0)
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3], [0, 1, 2, 0], [0, 1, 0, 1]]
    assert (batch["labels"][batch["position_ids"] == 0] == -100).all()


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Gemma2", "Mistral"])
def test_losses_and_gradients_are_those_of_padded_rows(family):
    model = made(family).train()
    padded = supervised_loss.loss(model, training_batch(rows(), 0), None)
    expected = gradients(model, padded)
    packed = supervised_loss.loss(model, packing.packed_batch(rows(), 0), None)
    assert packed.item() == pytest.approx(padded.item(), abs=1e-5)
    for name, gradient in gradients(model, packed).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)
    assert packing.works(model, rows(), 0)


def test_a_model_that_lets_rows_see_each_other_is_found_out(monkeypatch):
    model = made("Llama")
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda position_ids=None, **inputs: forward(**inputs))
    assert not packing.works(model, rows(), 0)


def test_pictures_and_single_rows_are_not_packed():
    assert not packing.works(made("Llama"), rows()[:1], 0)
