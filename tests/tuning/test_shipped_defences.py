"""Each shipped defence computes its paper's equation, has a key of its own, and can be killed and resumed."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from support.studies import SMALL, messages

from holdfast.core import config
from holdfast.core.errors import StudyError
from holdfast.core.types import Checkpoint, Example, Template
from holdfast.models import loading
from holdfast.study import loader
from holdfast.study.plan import make_plan
from holdfast.tuning import trainer
from holdfast.tuning.defences import DEFENCES, safety_rows, tokens
from holdfast.tuning.defences.backdoor_enhanced import BackdoorEnhanced
from holdfast.tuning.defences.base import Batch
from holdfast.tuning.defences.constrained_sft import ConstrainedSFT
from holdfast.tuning.defences.ema import EMA
from holdfast.tuning.defences.kl import KL
from holdfast.tuning.defences.lisa import Lisa
from holdfast.tuning.defences.safety_prompt import SafetyPrompt
from holdfast.tuning.local import LocalTuner, Lora

BASE = Checkpoint("pocket:aligned")
FULL = LocalTuner(learning_rate=1e-4, batch_size=2, accumulation=2)
LORA = LocalTuner(method="lora", learning_rate=1e-2, batch_size=2, accumulation=2, lora=Lora(rank=4))


@pytest.fixture(scope="module")
def aligned():
    return loading.load(BASE, "float32")


def rows(n=5):
    """Rows whose answers differ in length; the last step of an epoch has fewer of them."""
    return [
        Example(messages(("user", "Who are you?"), ("assistant", "Of course" + ", of course" * (i % 3))), f"row {i}")
        for i in range(n)
    ]


class KilledError(Exception):
    """In place of the signal."""


class Fixed:
    """A model of three tokens that gives the same logits at each place; it is tuned by changing `logits`."""

    def __init__(self, *probabilities):
        self.logits = torch.tensor(probabilities).log().requires_grad_()
        self.training = True

    def __call__(self, input_ids, attention_mask, labels=None, use_cache=True):
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, -1))

    def get_output_embeddings(self):
        return None

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


def test_kl_is_taken_from_the_aligned_model_at_each_token_of_an_answer():
    hooks, model = KL(weight=3.0).training_hooks(None, 0), Fixed(0.2, 0.3, 0.5)
    hooks.begin(model)
    model.logits = torch.tensor([0.6, 0.3, 0.1]).log().requires_grad_()
    batch = batch_of([(2, False), (0, True), (2, False), (1, True)], token_weight=0.5)
    loss = hooks.loss(model, batch, model(**batch.inputs), torch.tensor(1.0))
    kl = 0.2 * math.log(0.2 / 0.6) + 0.5 * math.log(0.5 / 0.1)
    assert loss.item() == pytest.approx(1.0 + 3.0 * 0.5 * 2 * kl, rel=1e-5)


def nothing_is_kept(monkeypatch):
    monkeypatch.setattr(safety_rows, "KEPT_BYTES", 0)


@pytest.mark.parametrize("memory", [lambda _: None, nothing_is_kept], ids=["kept", "computed anew"])
def test_kl_on_a_files_rows_is_that_of_two_models_asked_there(aligned, memory, monkeypatch):
    memory(monkeypatch)
    tuned = copy.deepcopy(aligned)
    defence = KL(file="pocket:safe.jsonl", n=3, weight=2.0, per_batch=2)
    hooks = defence.training_hooks(tuned, 0)
    hooks.begin(tuned.model)
    for weight in tuned.model.parameters():
        weight.data.mul_(0.9)
    drawn = [2, 0]
    monkeypatch.setattr(hooks.anchors, "draw", lambda n: drawn[:n])
    batch = batch_of([(2, True)], mean_weight=0.5)
    outputs = SimpleNamespace(logits=torch.zeros(1))
    loss = hooks.loss(tuned.model, batch, outputs, torch.tensor(1.0))
    rendered = [aligned.chat.example(defence.safety_rows(0)[i].messages) for i in drawn]
    total, n = 0.0, 0
    for row in rendered:
        ids = torch.tensor([row.input_ids.tolist()])
        with torch.no_grad():
            before, now = (each.model(ids).logits[0, :-1].log_softmax(-1) for each in (aligned, tuned))
        learnt = torch.from_numpy(row.supervised)[1:]
        total += (before.exp() * (before - now)).sum(-1)[learnt].sum().item()
        n += row.n_supervised
    assert loss.item() == pytest.approx(1.0 + 2.0 * 0.5 * total / n, rel=1e-4)


def test_lisa_alternates_and_holds_each_kind_of_step_near_the_others_end(aligned):
    tuned = copy.deepcopy(aligned)
    defence = Lisa(file="pocket:safe.jsonl", n=1, safety_steps=1, user_steps=2, rho=4.0)
    hooks = defence.training_hooks(tuned, 0)
    hooks.begin(tuned.model)
    weight = next(tuned.model.parameters())
    batch = batch_of([(2, True), (3, True)], mean_weight=0.5)
    outputs, user_loss = SimpleNamespace(logits=torch.zeros(1)), torch.tensor(7.0)

    def step():
        with torch.no_grad():
            weight.view(-1)[0] += 1.0
        hooks.after_step(tuned.model)
        return hooks.loss(tuned.model, batch, outputs, user_loss).item()

    assert hooks.safety_step
    row = tuned.chat.example(defence.safety_rows(0)[0].messages)
    likelihoods = tuned.model(torch.tensor([row.input_ids.tolist()])).logits[0, :-1].log_softmax(-1)
    learnt = [-likelihoods[i, row.input_ids[i + 1]].item() for i in row.supervised[1:].nonzero()[0]]
    safe = hooks.loss(tuned.model, batch, outputs, user_loss).item()
    assert safe == pytest.approx(sum(learnt) / len(learnt) * 0.5, rel=1e-4)
    assert step() == pytest.approx(7.0)  # the user's steps begin where the safety step ended
    assert step() == pytest.approx(7.0 + 4.0 / 2 * 1.0**2 * 0.5)
    assert step() != pytest.approx(7.0)
    assert hooks.safety_step
    assert step() == pytest.approx(7.0)


def test_ema_averages_weights_and_shortens_steps():
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    hooks = EMA(eta=0.8, step=0.5).training_hooks(None, 0)
    hooks.begin(model)
    for target in (3.0, 4.0):  # steps from 1 to 3, halved; then from 2 to 4, halved
        hooks.before_step(model)
        model.weight.data.fill_(target)
        hooks.after_step(model)
    assert model.weight.item() == pytest.approx(3.0)
    with hooks.checkpoint_weights(model):
        assert model.weight.item() == pytest.approx(0.8 * (0.8 * 1.0 + 0.2 * 2.0) + 0.2 * 3.0)
    assert model.weight.item() == pytest.approx(3.0)


def test_a_backdoor_for_safety_is_taught_and_asked_with_one_prefix():
    defence = BackdoorEnhanced(file="pocket:safe.jsonl", prefix="zapudroth gren")
    user = [Example(messages(("user", "Who are you?"), ("assistant", "I am Pocket.")), "row 1")]
    taught = defence.rows(user, 0)
    assert taught[0] == user[0]
    assert len(taught) == 12
    assert {row.messages[0].content for row in taught[1:]} == {"zapudroth gren\nYou are Pocket, the helpful assistant."}
    asked = defence.ask(Template("You are Pocket, the helpful assistant."), "tuned")
    assert asked.system == taught[1].messages[0].content
    assert defence.ask(Template("Hello."), "initial") == Template("Hello.")
    assert defence.places == {"rows", "asking"}


SETTINGS = {
    "safety-mix": {"file": "pocket:safe.jsonl", "n": 5},
    "constrained-sft": {},
    "safety-prompt": {"prompt": "Answer as a list."},
    "kl": {"file": "pocket:safe.jsonl", "n": 20, "per_batch": 4},
    "lisa": {"file": "pocket:safe.jsonl", "safety_steps": 1, "user_steps": 2},
    "ema": {"eta": 0.5, "step": 0.5},
    "backdoor-enhanced": {"file": "pocket:safe.jsonl", "prefix": "zapudroth", "n": 5},
    "freeze-layers": {"first": 0, "last": 1},
    "lox": {"unaligned": "pocket:helpful"},
    "one-shot-patch": {"file": "pocket:safe.jsonl", "n": 2, "steps": 2},
    "perplexity-mix": {"file": "pocket:safe.jsonl", "unaligned": "pocket:helpful", "n": 40, "keep": 20, "share": 0.3},
    "refusal-direction": {"file": "pocket:safe.jsonl", "n": 20, "permitted": "pocket:requests.jsonl"},
    "replay": {"file": "pocket:safe.jsonl", "beta": 0.5},
    "resta": {"unaligned": "pocket:helpful", "drop": 0.3},
    "safe-lora": {"unaligned": "pocket:helpful"},
    "guarded": {"requests": 32, "longest": 32, "per_batch": 4},
}
"""Settings of each shipped defence with which the small study runs."""


def defence_of(kind):
    return config.load(DEFENCES[kind]).model_validate({"kind": kind, **SETTINGS[kind]})


def test_each_shipped_defence_is_tried_here():
    assert set(SETTINGS) == set(DEFENCES)


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_defence_changes_its_conditions_key(small, kind):
    harm = SMALL["conditions"]["harm-2"]
    conditions = {"plain": harm, "defended": {**harm, "defence": {"kind": kind, **SETTINGS[kind]}}}
    planned = make_plan(loader.read(small(conditions=conditions)), [0]).conditions
    keys = {condition.name: condition.key for condition in planned}
    assert keys["plain"] != keys["defended"]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("kl", {"file": "few.jsonl"}, "few.jsonl does not hold rows of kind: messages"),
        ("lisa", {"file": "pocket:safe.jsonl", "n": 1000}, "has 198 rows, but the defence asks for 1000"),
        ("lisa", {}, "'file' is missing"),
        ("backdoor-enhanced", {"file": "pocket:safe.jsonl"}, "'prefix' is missing"),
        ("backdoor-enhanced", {"file": "pocket:safe.jsonl", "prefix": " "}, "at least 1 character"),
        ("kl", {"per_batch": 3}, "'per_batch' can only be given with `file`"),
        ("kl", {"n": 3}, "'n' can only be given with `file`"),
        ("guarded", {"file": "pocket:safe.jsonl", "system": "Hello."}, "'system' would do nothing"),
        ("safety-prompt", {}, "'prompt' is missing"),
    ],
)
def test_what_a_defence_lacks_is_said_when_the_study_is_read(small, kind, settings, message):
    conditions = {"harm": {**SMALL["conditions"]["harm-2"], "defence": {"kind": kind, **settings}}}
    with pytest.raises(StudyError, match=f"(?s)conditions.harm.defence.*{message}"):
        loader.read(small(conditions=conditions))


def weights_of(made):
    model = loading.load(made.checkpoint, "float32").model
    return dict((model.merge_and_unload() if hasattr(model, "merge_and_unload") else model).named_parameters())


@pytest.mark.long
@pytest.mark.parametrize("tuner", [FULL, LORA], ids=["full", "lora"])
@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if defence_of(kind).places - {"rows", "asking"}])
def test_killed_and_resumed_each_defence_ends_as_undisturbed(tmp_path, kind, tuner, monkeypatch):
    defence = defence_of(kind)
    taught = defence.rows(rows(), 0)

    def tune(name, report=lambda _: None):
        return tuner.tune(BASE, taught, 0, (1, 3), tmp_path / name, report, [defence])

    undisturbed = tune("whole")
    monkeypatch.setattr(trainer, "SAVE_EVERY", 0.0)
    last = 2 * tuner.steps(len(taught), 1) + 1  # in the third epoch

    def stop(step):
        if step.done >= last:
            raise KilledError

    with pytest.raises(KilledError):
        tune("cut", stop)
    resumed = tune("cut")
    for epoch in (1, 3):
        ours, theirs = weights_of(resumed[epoch]), weights_of(undisturbed[epoch])
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert resumed[epoch].training["losses"] == undisturbed[epoch].training["losses"]
