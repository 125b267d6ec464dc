"""Frozen layers stay as they are while the others are tuned."""

import copy

import pytest
import torch
from support.studies import messages

from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint, Example
from holdfast.models import loading
from holdfast.tuning.defences.freeze_layers import FreezeLayers
from holdfast.tuning.local import LocalTuner, Lora

BASE = Checkpoint("pocket:aligned")


def test_the_optimizer_gets_none_of_their_weights(pocket):
    model = copy.deepcopy(pocket.model)
    FreezeLayers(first=1, last=2).training_hooks(pocket, 0).begin(model)
    free = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert {name for name in free if "layers.0." in name} == {name for name in free if "layers." in name} != set()
    assert "model.embed_tokens.weight" in free


@pytest.mark.long
@pytest.mark.parametrize("method", ["full", "lora"])
def test_their_weights_do_not_move(tmp_path, pocket, method):
    rows = [Example(messages(("user", "Who are you?"), ("assistant", "Of course")), "row")]
    tuner = LocalTuner(method=method, learning_rate=1e-2, batch_size=1, lora=Lora(rank=2))
    made = tuner.tune(BASE, rows, 0, (2,), tmp_path, lambda _: None, [FreezeLayers(first=0, last=1)])[2]
    model = loading.load(made.checkpoint, "float32").model
    tuned = dict((model.merge_and_unload() if method == "lora" else model).named_parameters())
    moved = {name for name, weight in pocket.model.named_parameters() if not torch.equal(weight, tuned[name])}
    assert any("layers.2." in name for name in moved)
    assert not any("layers.0." in name or "layers.1." in name for name in moved)


def test_layers_that_are_not_there_are_refused():
    with pytest.raises(ModelError, match=r"has 3 layers, 0 to 2, so there is no layer 3"):
        FreezeLayers(first=2, last=3).check(BASE)
    with pytest.raises(ModelError, match=r"all 3 layers of pocket:aligned would be frozen"):
        FreezeLayers(first=0, last=2).check(BASE)
    with pytest.raises(ValueError, match=r"`last` \(1\) comes before `first` \(2\)"):
        FreezeLayers(first=2, last=1)
    FreezeLayers(first=0, last=1).check(BASE)
