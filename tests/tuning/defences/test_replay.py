"""Dark experience replay matches the logits that the aligned model had on safe conversations."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from holdfast.models.batches import Rendered, training_batch
from holdfast.tuning.defences.base import Batch
from holdfast.tuning.defences.replay import Replay, _Replay
from holdfast.tuning.defences.safety_rows import RowsAtHand


class Table(torch.nn.Module):
    """A model whose logits depend on the last token alone: a row of a table for each."""

    device = "cpu"

    def __init__(self, vocabulary=5):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(vocabulary, vocabulary))

    def forward(self, input_ids, attention_mask, use_cache=True):
        return SimpleNamespace(logits=self.table[input_ids])

    def get_output_embeddings(self):
        return None


def rows_at_hand(*rows):
    rows = [Rendered(np.array(ids, dtype=np.int32), np.array(supervised)) for ids, supervised in rows]
    at_hand = RowsAtHand.__new__(RowsAtHand)
    at_hand.rows, at_hand.chat = rows, SimpleNamespace(training_batch=lambda some: training_batch(some, 0))
    return at_hand


def replayed(model, hooks, loss=0.0, mean_weight=1.0):
    """The loss that is minimised in place of a loss, on a batch of one row."""
    inputs = training_batch(rows_at_hand(([1, 2], [False, True])).rows, 0)
    outputs = model(inputs["input_ids"], inputs["attention_mask"])
    return hooks.loss(model, Batch(inputs, 1.0, mean_weight), outputs, torch.tensor(loss))


def test_it_is_the_mean_squared_difference_of_logits_at_the_answers_tokens():
    model = Table()
    hooks = _Replay(Replay(file="pocket:safe.jsonl", alpha=0.5), rows_at_hand(([1, 2, 3], [False, True, True])))
    hooks.begin(model)
    assert replayed(model, hooks, loss=7.0) == 7.0
    model.table.data[1, 0] += 3  # where token 2 is predicted
    model.table.data[3] += 100  # behind the last token: nothing is predicted there
    assert replayed(model, hooks, loss=7.0).item() == pytest.approx(7 + 0.5 * 3**2 / (2 * 5))
    assert replayed(model, hooks, mean_weight=0.25).item() == pytest.approx(0.25 * 0.5 * 3**2 / (2 * 5), rel=1e-5)


def test_with_beta_the_rows_own_loss_is_added():
    model = Table()
    hooks = _Replay(Replay(file="pocket:safe.jsonl", beta=2.0), rows_at_hand(([1, 2, 3], [False, True, True])))
    hooks.begin(model)
    logprobs = model.table.log_softmax(-1)
    own = -(logprobs[1, 2] + logprobs[2, 3]) / 2
    assert replayed(model, hooks).item() == pytest.approx(2 * own.item(), rel=1e-5)


def test_each_row_is_compared_with_its_own_logits():
    model = Table()
    rows = [([a, b, b, a], [False, True, True, True][: 2 + a] + [True] * (2 - a)) for a, b in ((1, 2), (2, 3), (1, 4))]
    hooks = _Replay(Replay(file="pocket:safe.jsonl", per_batch=3), rows_at_hand(*rows))
    hooks.begin(model)
    for _ in range(5):  # in whichever order they are drawn
        assert replayed(model, hooks) == 0


def test_its_gradient_reaches_the_model():
    model = Table()
    hooks = _Replay(Replay(file="pocket:safe.jsonl"), rows_at_hand(([1, 2], [False, True])))
    hooks.begin(model)
    model.table.data[1, 0] += 1
    replayed(model, hooks).backward()
    assert model.table.grad[1, 0] > 0
    assert not model.table.grad[2:].any()
