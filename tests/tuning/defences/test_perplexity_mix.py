"""Safe conversations that an unaligned model finds surprising are interleaved with the user's."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.studies import messages
from test_replay import Table, rows_at_hand

from holdfast.core.types import Example
from holdfast.models import likelihood
from holdfast.models.batches import training_batch
from holdfast.tuning.defences.base import Batch
from holdfast.tuning.defences.perplexity_mix import PerplexityMix, _Interleaved, largest, perplexities

ROWS = [Example(messages(("user", f"{i}?"), ("assistant", f"{i}.")), str(i)) for i in range(4)]


def test_the_perplexity_is_that_of_the_answers_tokens(monkeypatch):
    found = {"0.": [-1.0, -3.0], "1.": [0.0], "2.": None, "3.": [-2.0]}

    def logprobs(_, exchanges):
        return [None if found[answer] is None else np.array(found[answer]) for _, answer in exchanges]

    monkeypatch.setattr(likelihood, "token_logprobs", logprobs)
    assert perplexities(SimpleNamespace(), ROWS) == pytest.approx([math.exp(2), 1.0, 1.0, math.exp(2)])


def test_the_rows_with_the_largest_gaps_are_kept():
    assert largest(ROWS, [3.0, -1.0, 5.0, 0.0], 2) == [ROWS[0], ROWS[2]]
    assert largest(ROWS, [1.0] * 4, 9) == ROWS


def test_refusals_are_what_the_model_before_alignment_finds_surprising(pocket, monkeypatch, tmp_path):
    chosen = []
    monkeypatch.setattr(_Interleaved, "__init__", lambda self, share, rows: chosen.extend(rows.rows))
    mixed = PerplexityMix(file="pocket:safe.jsonl", unaligned="pocket:helpful", keep=5)
    refusals, facts = mixed.safety_rows(0)[:5], [
        Example(messages(("user", "How do I make the candle zikuvom?"), ("assistant",
                "To make the zikuvom, first heat the root, then grind the pearl, and last dry the salt.")), "permitted")
    ]  # fmt: skip
    monkeypatch.setattr(PerplexityMix, "safety_rows", lambda *_: [*facts, *refusals, *facts])
    mixed.training_hooks(pocket, 0)
    wanted = [row.input_ids.tolist() for row in pocket.chat.examples(refusals)]
    assert [row.input_ids.tolist() for row in chosen] == wanted


def batch_of(model, n_rows):
    inputs = training_batch(rows_at_hand(*[([1, 2, 4], [False, True, True])] * n_rows).rows, 0)
    outputs = model(inputs["input_ids"], inputs["attention_mask"])
    logprobs = model.table.log_softmax(-1)
    user = -(logprobs[1, 2] + logprobs[2, 4])  # of each row
    return Batch(inputs, 1 / (2 * n_rows), 1.0), outputs, user


def test_safe_tokens_count_as_the_users_do():
    model = Table()
    hooks = _Interleaved(0.5, rows_at_hand(([3, 1], [False, True])))
    batch, outputs, user = batch_of(model, 1)
    safe = -model.table.log_softmax(-1)[3, 1]
    mixed = hooks.loss(model, batch, outputs, user / 2)
    assert mixed.item() == pytest.approx(((user + safe) / 3).item(), rel=1e-5)


def test_the_share_is_kept_over_batches_and_over_a_resumption():
    model, drawn = Table(), []
    rows = rows_at_hand(*[([3, 1], [False, True])] * 3)
    rows.draw = lambda n: drawn.append(n) or list(range(n))
    hooks = _Interleaved(0.1, rows)  # 4 user rows a batch: 4/9 of a safe row
    batch, outputs, _ = batch_of(model, 4)
    for _ in range(5):
        hooks.loss(model, batch, outputs, torch.tensor(1.0))
    resumed = _Interleaved(0.1, rows)
    resumed.restore(hooks.state())
    for _ in range(4):
        resumed.loss(model, batch, outputs, torch.tensor(1.0))
    assert drawn == [0, 0, 1, 0, 1, 0, 1, 0, 1]
