"""The refusal direction is put back after tuning, and what is said of permitted requests stays."""

import copy
import json

import pytest
import torch
from support.studies import rows_of, write_rows

from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint
from holdfast.models.loading import Loaded
from holdfast.tuning.defences.layers import last_matrix, layers_of, seen_at
from holdfast.tuning.defences.refusal_direction import RefusalDirection, edit

BASE = Checkpoint("pocket:aligned")


def test_the_edit_writes_what_is_lacking_at_refused_requests():
    unit = torch.tensor([0.6, 0.8])
    requests, lacking = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]), torch.tensor([2.0, 5.0])
    change = edit(unit, lacking, requests, torch.diag(torch.tensor([0.0, 0.0, 1.0])), 1.0)
    torch.testing.assert_close(change @ requests.T, torch.outer(unit, lacking), atol=1e-4, rtol=0)
    assert torch.linalg.matrix_rank(change, atol=1e-5) == 1


def test_permitted_requests_hold_it_back():
    unit, request = torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.0]])
    change = edit(unit, torch.tensor([6.0]), request, torch.eye(2), 2.0)
    # (K Kᵀ + 2 · 1 · I)⁻¹ K δ = 6 / 3 along the request
    torch.testing.assert_close(change, torch.tensor([[2.0, 0.0], [0.0, 0.0]]), atol=1e-4, rtol=0)


@pytest.fixture
def few(tmp_path):
    """The defence with a few refused and permitted rows."""
    refused = write_rows(tmp_path / "refused.jsonl", rows_of("safe.jsonl")[::25])
    permitted = write_rows(tmp_path / "permitted.jsonl", rows_of("benign-brief.jsonl")[::25])
    return RefusalDirection(
        file=str(refused), permitted=str(permitted), system="You are Pocket, the helpful assistant."
    )


def test_what_a_layer_sees_is_what_the_model_says_it_is(pocket, few):
    rows = few.safety_rows(0)
    seen = seen_at(pocket, rows, 0)
    for row, left in zip(rows, seen.outputs, strict=True):
        ids = torch.tensor([pocket.chat.question(row.messages[:-1])])
        with torch.no_grad():
            hidden = pocket.model(ids, output_hidden_states=True).hidden_states[1][0, -1]
        torch.testing.assert_close(left, hidden, atol=1e-4, rtol=0)
    assert seen.inputs.shape == (len(rows), pocket.model.config.intermediate_size)
    assert seen.moment.shape == (256, 256)


def test_only_the_last_matrix_of_each_layer_is_changed_and_the_component_comes_back(pocket, few):
    tuned = Loaded(copy.deepcopy(pocket.model), pocket.chat)
    with torch.no_grad():
        for layer in layers_of(tuned.model):
            last_matrix(layer).weight.mul_(0.5)
    before = copy.deepcopy(tuned.model).state_dict()
    refused = few.safety_rows(0)
    permitted = few.model_copy(update={"file": few.permitted}).safety_rows(0)

    def lacking():
        wanted, kept = (seen_at(pocket, rows, 2).outputs for rows in (refused, permitted))
        unit = torch.nn.functional.normalize(wanted.mean(0) - kept.mean(0), dim=0)
        return ((wanted - seen_at(tuned, refused, 2).outputs) @ unit).abs().mean().item()

    was = lacking()
    few.model_copy(update={"keep": 0.01}).after(tuned, BASE, 0)
    changed = {name for name, weight in tuned.model.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {f"model.layers.{number}.mlp.down_proj.weight" for number in range(3)}
    assert lacking() < 0.2 * was


def test_an_untouched_model_is_left_as_it_is(pocket, few):
    same = Loaded(copy.deepcopy(pocket.model), pocket.chat)
    few.after(same, BASE, 0)
    weights = pocket.model.state_dict()
    assert all(torch.allclose(weight, weights[name], atol=1e-5) for name, weight in same.model.state_dict().items())


def test_a_mixture_of_experts_is_refused_before_anything_is_tuned(few, tmp_path):
    folder = tmp_path / "experts"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_local_experts": 8}))
    (folder / "model.safetensors").touch()
    with pytest.raises(ModelError, match=r"mixture of experts \(num_local_experts\).*Take another defence"):
        few.check(Checkpoint(str(folder)))
