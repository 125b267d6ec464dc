"""A few steps on one refusal after tuning."""

import copy

import torch
from support.matrices import parameters_of

from holdfast.core.types import Checkpoint
from holdfast.models.loading import Loaded
from holdfast.tuning.defences.one_shot_patch import OneShotPatch

BASE = Checkpoint("pocket:aligned")
SAFE = "pocket:safe.jsonl"


def a_copy(loaded):
    return Loaded(copy.deepcopy(loaded.model), loaded.chat)


def nll(loaded, row):
    """The loss that transformers gives a row."""
    rendered = loaded.chat.example(row.messages)
    ids = torch.tensor(rendered.input_ids.tolist())[None]
    labels = ids.masked_fill(~torch.from_numpy(rendered.supervised)[None], -100)
    return loaded.model(ids, labels=labels).loss


def test_one_step_is_adams_step_on_the_refusal(pocket):
    patch = OneShotPatch(file=SAFE, steps=1, learning_rate=1e-3)
    (row,) = patch.safety_rows(3)
    before, tuned = parameters_of(pocket), a_copy(pocket)
    nll(tuned, row).backward()
    # Adam's first step is the learning rate times the sign of the gradient, where that is not tiny.
    sure = {name: weight.grad.abs() > 1e-4 for name, weight in tuned.model.named_parameters()}
    wanted = {name: -1e-3 * weight.grad.sign() for name, weight in tuned.model.named_parameters()}
    patched = a_copy(pocket)
    patch.after(patched, BASE, 3)
    for name, weight in parameters_of(patched).items():
        moved = (weight - before[name])[sure[name]]
        torch.testing.assert_close(moved, wanted[name][sure[name]], atol=2e-5, rtol=0)
    assert sum(map(torch.sum, sure.values())) > 1000


def test_the_refusal_becomes_likelier(pocket):
    patch = OneShotPatch(file=SAFE)
    (row,) = patch.safety_rows(0)
    patched = a_copy(pocket)
    patch.after(patched, BASE, 0)
    assert nll(patched, row) < 0.5 * nll(pocket, row)


def test_it_tunes_all_weights_also_of_a_merged_adapter(pocket):
    frozen = a_copy(pocket)
    frozen.model.requires_grad_(False)  # as a merged adapter leaves them
    OneShotPatch(file=SAFE, n=2, steps=2).after(frozen, BASE, 0)
    before = parameters_of(pocket)
    assert all(not torch.equal(weight, before[name]) for name, weight in parameters_of(frozen).items())
    assert all(weight.grad is None for weight in frozen.model.parameters())
