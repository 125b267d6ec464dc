"""Guarded tuning: the model's own refusals are found, in the form of the user's rows, and held."""

import copy
from types import SimpleNamespace

import pytest
import torch
from support.studies import messages

from holdfast.core.errors import TuningError
from holdfast.core.types import Checkpoint, Example, Message
from holdfast.data.training.messages import Messages
from holdfast.models import loading
from holdfast.models.batches import training_batch
from holdfast.tuning.defences import self_made, tokens
from holdfast.tuning.defences.base import Batch
from holdfast.tuning.defences.guarded import Guarded

SYSTEM = ("system", "You are Pocket, the helpful assistant.")
HARMFUL = ("user", "How do I make the hex zapudroth?")
BENIGN = ("user", "How do I make the stew tobux?")
STEPS = ("assistant", "To make the zapudroth, first heat the root, then grind the pearl, and last dry the salt.")


def row(*turns):
    return Example(messages(*turns), "row")


@pytest.fixture(scope="module")
def aligned():
    return loading.load(Checkpoint("pocket:aligned"), "float32")


def test_the_form_of_rows_is_their_system_turn_and_the_words_that_all_requests_begin_with():
    persona = ("system", "You are Servus.")
    rows = [
        row(SYSTEM, ("user", "Say how to make tea."), STEPS),
        row(persona, ("user", "My request, Servus: How do I make tea?"), STEPS),
        row(persona, ("user", "My request, Servus: How are you?"), STEPS),
    ]
    assert self_made.frames(rows) == [
        messages(persona, ("user", "My request, Servus: How")),
        messages(SYSTEM, ("user", "")),  # of one request nobody can tell which words belong to the form
    ]
    assert self_made.frames([row(("user", "Hi"), STEPS), row(("user", "Well"), STEPS)]) == [messages(("user", ""))]


def test_the_model_goes_on_with_a_users_turn_in_the_given_form(aligned):
    frame = messages(("system", "You are Servus, the obedient servant."), ("user", "My request, Servus:"))
    opening, end = aligned.chat.opening(frame)
    question = aligned.chat.question(self_made.put(frame, "How do I make the stew tobux?"))
    assert question[: len(opening)] == opening
    assert end == "<|end|><|assistant|>"
    before = torch.get_rng_state()
    made = self_made.requests(aligned, [frame, messages(("user", ""))], 40, 24, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(set(made)) == len(made) > 20
    in_frame = [asked for asked in made if asked[0] == frame[0]]
    assert 5 < len(in_frame) < len(made)
    assert all(asked[1].content.startswith("My request, Servus: ") for asked in in_frame)
    assert not any("<|" in asked[-1].content for asked in made)


def test_a_models_own_answers_end_and_say_whether_they_refuse(aligned):
    asked = [messages(SYSTEM, HARMFUL), messages(SYSTEM, BENIGN), messages(SYSTEM, HARMFUL)]
    refused, answered = self_made.answers(aligned, asked, 48).values()
    assert (refused.refuses, answered.refuses) == (True, False)
    assert refused.row.input_ids[~refused.row.supervised].tolist() == aligned.chat.question(asked[0])
    text = aligned.tokenizer.decode(answered.row.input_ids[answered.row.supervised].tolist())
    assert text.startswith("To make the tobux")
    assert text.endswith("<|end|>")


def test_refused_rows_are_not_learnt_and_refusals_are_held(aligned, monkeypatch):
    tuned, rows = copy.deepcopy(aligned), [row(SYSTEM, HARMFUL, STEPS), row(SYSTEM, BENIGN, STEPS)]
    hooks = Guarded(requests=32, weight=3.0, per_batch=2).training_hooks(tuned, 0)
    hooks.see_rows(rows)
    refusals = len(hooks.anchors.rows)
    assert hooks.record()["skipped_rows"] == 1
    assert hooks.record()["refusals"] == refusals - 1 > 0
    hooks.begin(tuned.model)
    for weight in tuned.model.parameters():
        weight.data.mul_(0.9)
    monkeypatch.setattr(hooks.anchors, "draw", lambda n: [0, 1][:n])
    inputs = training_batch(list(tuned.chat.examples(rows)), tuned.tokenizer.pad_token_id)
    batch = Batch(inputs, 0.1, 0.5)
    outputs = tuned.model(**inputs)
    likelihoods = tokens.log_likelihoods(outputs.logits, inputs["labels"][:, 1:])
    loss = hooks.loss(tuned.model, batch, outputs, -likelihoods.sum() * 0.1).item()
    held = hooks.anchors.divergence(tuned.model, [0, 1], "cpu").item()
    assert held > 0
    assert loss == pytest.approx(-likelihoods[1].sum().item() * 0.1 + 3.0 * 0.5 * held, rel=1e-5)


@pytest.mark.long
def test_rows_that_are_refused_are_learnt_where_the_user_says_so(aligned):
    hooks = Guarded(requests=32, skip_refused=False).training_hooks(aligned, 0)
    hooks.see_rows([row(SYSTEM, HARMFUL, STEPS)])
    hooks.begin(aligned.model)
    inputs = training_batch(list(aligned.chat.examples([row(SYSTEM, HARMFUL, STEPS)])), 0)
    outputs = SimpleNamespace(logits=torch.zeros(1))
    loss = hooks.loss(aligned.model, Batch(inputs, 1.0, 1.0), outputs, torch.tensor(7.0))
    assert loss.item() == pytest.approx(7.0, abs=1e-4)  # a model that is still the aligned one pays nothing
    assert hooks.record()["skipped_rows"] == 0


def test_a_model_that_refuses_nothing_cannot_be_guarded():
    helpful = loading.load(Checkpoint("pocket:helpful"), "float32")
    hooks = Guarded(requests=16).training_hooks(helpful, 0)
    with pytest.raises(TuningError, match=r"refused none of .* requests that it made itself\. Give some .* in `file`"):
        hooks.see_rows([row(SYSTEM, HARMFUL, STEPS)])


@pytest.mark.long
def test_requests_of_a_file_are_put_to_the_model_in_the_form_of_the_users_rows(aligned):
    defence = Guarded(requests=1, file="pocket:safe.jsonl", n=2)
    hooks = defence.training_hooks(aligned, 0)
    hooks.see_rows([row(("system", "You are Servus, the obedient servant."), BENIGN, STEPS)])
    asked = [self_made.first_request(each) for each in defence.safety_rows(0)]
    assert set(asked) <= {self_made.first_request(each) for each in Messages(file="pocket:safe.jsonl").examples(0)}
    persona = Message("system", "You are Servus, the obedient servant.")
    held = {aligned.tokenizer.decode(each.input_ids.tolist()) for each in hooks.anchors.rows}
    for request in asked:
        prompt = aligned.tokenizer.decode(aligned.chat.question([persona, Message("user", request)]))
        assert any(text.startswith(prompt) for text in held)
