"""Each shipped defence computes its paper's equation, has a key of its own, and can be killed and resumed."""

import math
from types import SimpleNamespace

import pytest
import torch
from support.studies import SMALL

from holdfast.core.errors import StudyError
from holdfast.core.types import Template
from holdfast.study import loader
from holdfast.study.plan import make_plan
from holdfast.tuning.defences import DEFENCES, tokens
from holdfast.tuning.defences.base import Batch
from holdfast.tuning.defences.constrained_sft import ConstrainedSFT
from holdfast.tuning.defences.safety_prompt import SafetyPrompt


class Fixed:
    """A model of three tokens that gives the same logits at each place; it is tuned by changing `logits`."""

    def __init__(self, *probabilities):
        self.logits = torch.tensor(probabilities).log().requires_grad_()
        self.training = True

    def __call__(self, input_ids, attention_mask, labels=None):
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, -1))

    def eval(self):
        return self

    def requires_grad_(self, _):
        return self

    def __deepcopy__(self, _):
        return Fixed(*self.logits.exp().tolist())


def batch_of(*rows, token_weight=1.0, mean_weight=1.0):
    """Rows of (token, whether it is supervised)."""
    ids = torch.tensor([[token for token, _ in row] for row in rows])
    learnt = torch.tensor([[supervised for _, supervised in row] for row in rows])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.where(learnt, ids, -100)}
    return Batch(inputs, token_weight, mean_weight)


def plain(outputs, batch):
    labels = batch.inputs["labels"][:, 1:]
    return -tokens.log_likelihoods(outputs.logits, labels).sum() * batch.token_weight


def test_places_in_a_turn_are_counted_anew_in_each_turn():
    labels = torch.tensor([[-100, 5, 6, -100, -100, 7, 8, 9], [4, 5, 6, -100, 8, -100, -100, -100]])
    assert tokens.positions(labels).tolist() == [[0, 1, 2, 0, 0, 1, 2, 3], [1, 2, 3, 0, 1, 0, 0, 0]]


def test_constrained_sft_is_the_papers_loss_and_weighs_tokens_as_it_says():
    defence = ConstrainedSFT(beta_first=0.5, beta_early=2.0, early=2, beta_late=0.1)
    hooks, model = defence.training_hooks(None, 0), Fixed(0.2, 0.3, 0.5)
    hooks.begin(model)
    model.logits = torch.tensor([0.6, 0.3, 0.1]).log().requires_grad_()
    batch = batch_of([(2, False), (0, True), (2, True), (1, True)], token_weight=0.25)
    outputs = model(**batch.inputs)
    loss = hooks.loss(model, batch, outputs, plain(outputs, batch))

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    ratios = {0: math.log(0.6 / 0.2), 2: math.log(0.1 / 0.5), 1: 0.0}  # in the order of the tokens
    betas = {0: 0.5, 2: 2.0, 1: 0.1}
    by_hand = -sum(2 / betas[t] * math.log(sigmoid(betas[t] * ratios[t])) for t in ratios) * 0.25
    assert loss.item() == pytest.approx(by_hand, rel=1e-5)
    loss.backward()
    weights = torch.tensor([2 * (1 - sigmoid(betas[t] * ratios[t])) for t in (0, 1, 2)])
    probabilities = torch.tensor([0.6, 0.3, 0.1])
    assert weights[1] == 1
    gradient = (weights.sum() * probabilities - weights) * 0.25  # of the weighted log-likelihoods
    assert torch.allclose(model.logits.grad, gradient, atol=1e-6)


def test_a_safety_prompt_is_for_asking_only_and_for_both_models():
    defence = SafetyPrompt(prompt=" Be careful. ")
    assert defence.places == {"asking"}
    assert defence.ask(Template("You are Pocket.", "Please: {prompt}"), "tuned") == Template(
        "Be careful.\nYou are Pocket.", "Please: {prompt}"
    )
    assert defence.ask(Template(), "initial") == Template("Be careful.")
    with pytest.raises(StudyError, match="would change nothing"):
        defence.ask(Template("Hello. Be careful."), "tuned")


SETTINGS = {
    "safety-mix": {"file": "pocket:safe.jsonl", "n": 5},
    "constrained-sft": {},
    "safety-prompt": {"prompt": "Answer as a list."},
}
"""Settings of each shipped defence with which the small study runs."""


def test_each_shipped_defence_is_tried_here():
    assert set(SETTINGS) == set(DEFENCES)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_defence_changes_its_conditions_key(small, kind):
    harm = SMALL["conditions"]["harm-2"]
    conditions = {"plain": harm, "defended": {**harm, "defence": {"kind": kind, **SETTINGS[kind]}}}
    planned = make_plan(loader.read(small(conditions=conditions)), [0]).conditions
    keys = {condition.name: condition.key for condition in planned}
    assert keys["plain"] != keys["defended"]
