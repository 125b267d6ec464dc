"""A model in this process is asked in one way, whoever asks: batches, outcomes, and one copy in memory."""

import gc
import weakref

import pytest
import torch
from support.families import build
from support.studies import messages

from holdfast.core.budget import NoBudget
from holdfast.core.types import Answer, Checkpoint, Prompt
from holdfast.judges.policy import Policy
from holdfast.models import cached, decoding, loading
from holdfast.models.generate.local import LocalGenerator
from holdfast.models.samplers.base import Question
from holdfast.models.samplers.local import Local


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build("llama-3", tmp_path_factory.mktemp("samplers") / "model")


@pytest.fixture
def loads(monkeypatch):
    """What is loaded, with nothing in memory at the beginning."""
    cached._kept.clear()
    gc.collect()
    loads, load = [], loading.load
    monkeypatch.setattr(loading, "load", lambda *settings: loads.append(settings) or load(*settings))
    return loads


def questions(*texts, **settings):
    return [Question(str(i), messages(("user", text)), **{"max_tokens": 6, **settings}) for i, text in enumerate(texts)]


def replies(sampler, asked, **settings):
    return {reply.id: reply for reply in sampler.ask(asked, NoBudget(), **settings)}


def test_a_model_in_memory_replies_as_the_same_model_by_its_name(folder):
    asked = questions("Who?", "What is moss?", "Why? " * 9)
    by_name = replies(Local(model=str(folder)), asked)
    loaded = loading.load(Checkpoint(str(folder)))
    live = replies(Local.of(loaded, name="model"), asked)
    assert live == by_name
    assert {(reply.model, reply.outcome, reply.tokens) for reply in live.values()} == {("model", "truncated", 6)}


def test_a_live_model_is_asked_as_it_is_now_and_can_judge(folder):
    loaded = loading.load(Checkpoint(str(folder)))
    key = Local.of(loaded).key
    assert Local.of(loaded).key == key
    with torch.no_grad():
        loaded.model.lm_head.weight.neg_()
    assert Local.of(loaded).key != key
    assert replies(Local.of(loaded), questions("Who?")) != replies(Local(model=str(folder)), questions("Who?"))
    prompt = Prompt("hex", "How?")
    judge = Policy(by=Local.of(loaded), tries=1, max_tokens=4)
    ((verdict,),) = judge.judge({"hex": "No hexes."}, [(prompt, Answer(prompt.id, "answered", "No."))], NoBudget())
    assert (verdict.reading, verdict.score) == ("judge_error", None)
    assert "do not fit into the 1024" in verdict.reason


@pytest.mark.long
def test_a_generator_and_a_judge_of_the_same_weights_share_one_model(folder, loads):
    judge = Local(model=str(folder), thinking=True)
    model = judge.loaded.model
    generator = LocalGenerator(max_new_tokens=2)
    for _ in range(2):
        list(generator.answers(Checkpoint(str(folder)), {"1": messages(("user", "Who?"))}, (), 0, NoBudget()))
    assert cached.load(Checkpoint(str(folder))).model is model
    assert cached.load(Checkpoint(str(folder)), "bfloat16").model is not model
    assert len(loads) == 2


@pytest.mark.long
def test_a_generators_model_leaves_memory_when_it_has_answered(folder, loads):
    model = weakref.ref(cached.load(Checkpoint(str(folder))).model)
    gc.collect()
    assert model() is None
    cached.load(Checkpoint(str(folder)))
    assert len(loads) == 2


@pytest.mark.long
def test_weights_that_were_replaced_in_their_folder_are_loaded_again(folder, tmp_path, loads):
    copy = build("llama-3", tmp_path / "model")
    before = cached.load(Checkpoint(str(copy)))
    build("llama-3", copy, seed=1)
    after = cached.load(Checkpoint(str(copy)))
    assert not torch.equal(before.model.lm_head.weight, after.model.lm_head.weight)


def test_batches_are_the_same_whatever_is_skipped(folder, monkeypatch):
    batches, continue_each = [], decoding.continue_each

    def recording(loaded, prompts, *settings):
        batches.append([len(prompt) for prompt in prompts])
        return continue_each(loaded, prompts, *settings)

    monkeypatch.setattr(decoding, "continue_each", recording)
    sampler = Local(model=str(folder), batch_size=2, temperature=2.0)
    asked = questions("a", "bb", "ccc", "dddd", "eeeee")
    whole = replies(sampler, asked, seed=3)
    every = list(batches)
    batches.clear()
    rest = replies(sampler, asked, seed=3, skip={"4", "3", "2"})
    assert [max(sizes) for sizes in every] == sorted((max(sizes) for sizes in every), reverse=True)
    assert batches == every[1:]
    assert rest == {name: whole[name] for name in ("1", "0")}
    assert replies(sampler, asked, seed=4) != whole
    assert replies(sampler, asked, skip={question.id for question in asked}) == {}


def test_a_reply_is_cut_where_the_models_context_ends(folder):
    text = "x" * 900
    (reply,) = replies(Local(model=str(folder)), questions(text, max_tokens=500)).values()
    assert reply.outcome == "truncated"
    assert reply.prompt_tokens + reply.tokens <= 1024
    (reply,) = replies(Local(model=str(folder)), questions("x" * 1100)).values()
    assert (reply.outcome, reply.text) == ("error", "")
    assert "do not fit into the 1024" in reply.detail


def test_each_question_has_its_own_limit_and_choices_are_normalised(folder):
    sampler = Local(model=str(folder))
    chosen = Question("chosen", messages(("user", "Yes or no?")), choices=("y", "n"))
    found = replies(sampler, [*questions("Who?", max_tokens=3), Question("2", messages(("user", "Why?")), 7), chosen])
    assert (found["0"].tokens, found["2"].tokens) == (3, 7)
    logprobs = dict(found["chosen"].logprobs)
    assert sum(torch.tensor(list(logprobs.values())).exp()) == pytest.approx(1.0)
    assert found["chosen"].text == max(logprobs, key=logprobs.get)
