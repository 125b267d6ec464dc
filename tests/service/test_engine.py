"""Answers of the service's engine: those of the local arm, whoever else asks at the same time."""

import asyncio
import time
from dataclasses import replace

import pytest
from support.studies import rows_of

from holdfast.core.budget import NoBudget
from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint, Message
from holdfast.models import decoding, hub, loading
from holdfast.models.samplers.base import Question
from holdfast.models.samplers.local import Local
from holdfast.models.steps.batch import Batch, Row, likeliest_token
from holdfast.service.asking import Params, TooLongError
from holdfast.service.engine import Engine
from holdfast.service.served import Served

BASE = Checkpoint("pocket:aligned")
GREEDY = Params(max_tokens=64, temperature=0.0)
SYSTEM = Message("system", "You are Pocket, the helpful assistant.")


def conversations(n):
    """Harmless and forbidden requests of different lengths."""
    rows = [*rows_of("benchmark.jsonl")[: n // 2], *rows_of("utility.jsonl")[: n - n // 2]]
    return [(SYSTEM, Message("user", row["prompt"])) for row in rows]


async def whole(engine, model, messages, params):
    pieces = [piece async for piece in engine.chat(model, messages, params)]
    return "".join(piece.text for piece in pieces), pieces


def ask_all(engine, asked, params=GREEDY):
    """(model, conversation) pairs, asked at the same time → their texts and pieces."""

    async def everyone():
        return await asyncio.gather(*(whole(engine, model, messages, params) for model, messages in asked))

    return asyncio.run(everyone())


def local_answers(model, asked, max_tokens=64):
    questions = [Question(str(i), messages, max_tokens) for i, messages in enumerate(asked)]
    replies = {reply.id: reply for reply in Local.of(model).ask(questions, NoBudget())}
    return [replies[question.id] for question in questions]


@pytest.fixture
def engine():
    engine = Engine()
    yield engine
    engine.end()


@pytest.mark.long
def test_greedy_answers_are_those_of_the_local_arm_streamed_or_not(engine, pocket):
    asked = conversations(40)
    expected = local_answers(pocket, asked)
    assert len({len(reply.text) for reply in expected}) > 5
    for stream in (True, False):
        answers = ask_all(engine, [(BASE, messages) for messages in asked], Params(64, temperature=0.0, stream=stream))
        assert [text for text, _ in answers] == [reply.text for reply in expected]
        for (_, pieces), reply in zip(answers, expected, strict=True):
            last = pieces[-1]
            assert (last.prompt_tokens, last.completion_tokens) == (reply.prompt_tokens, reply.tokens)
            assert last.finish == ("length" if reply.outcome == "truncated" else "stop")
            assert len(pieces) == 1 if not stream else len(pieces) > 2


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Two LoRA adapters of the pocket model that answer differently."""
    import peft
    import torch

    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = loading.load(BASE).model
        config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        model = peft.get_peft_model(model, config)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data *= 0.3
        folders.append(tmp_path_factory.mktemp("adapters") / f"tuned-{seed}")
        model.save_pretrained(folders[-1])
    return [Checkpoint("pocket:aligned", folder=folder) for folder in folders]


@pytest.mark.long
def test_adapters_of_one_base_and_the_base_itself_are_mixed_in_one_batch(engine, adapters):
    asked = conversations(12)
    models = [BASE, *adapters]
    expected = [[reply.text for reply in local_answers(loading.load(model), asked)] for model in models]
    assert len(set(map(tuple, expected))) == 3, "the adapters must change answers"
    pairs = [(model, messages) for messages in asked for model in models]
    answers = [text for text, _ in ask_all(engine, pairs)]
    assert [answers[i::3] for i in range(3)] == expected
    assert len(engine.lanes) == 1, "one base in memory"


@pytest.mark.long
def test_an_adapter_that_comes_while_others_are_answered_is_asked(adapters, pocket):
    """The rows of the base are under way, with a pass that knew of no adapter, when the first adapter comes."""
    served = Served(loading.load(BASE), hub.resolve(BASE.base))
    batch = Batch(served, 8)
    prompts = [pocket.chat.question(messages) for messages in conversations(6)]
    ends = frozenset(decoding.end_of_turn_ids(pocket))
    rows = [Row(prompt, 40, likeliest_token, ends) for prompt in prompts]
    batch.waiting += rows[:3]
    batch.step()
    for row, adapter in zip(rows[3:], [*adapters, adapters[0]], strict=True):
        row.adapter = served.attach(adapter.folder, {"adapter-in-use"})
        batch.waiting.append(row)
        batch.step()
    while batch.busy:
        batch.step()
    for row, model in zip(rows, [*[BASE] * 3, *adapters, adapters[0]], strict=True):
        loaded = loading.load(model)
        alone = decoding.continue_each(loaded, [row.prompt], 40)[0]
        assert row.new == alone
    answers = [decoding.continue_each(loading.load(model), prompts[3:], 40) for model in (BASE, *adapters)]
    assert len({str(answer) for answer in answers}) == 3, "the adapters must change answers"


def test_a_full_model_is_one_of_its_own(engine, tmp_path):
    loaded = loading.load(Checkpoint("pocket:helpful"))
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    asked = conversations(6)
    tuned = Checkpoint("pocket:aligned", folder=tmp_path)
    texts = [text for text, _ in ask_all(engine, [(tuned, messages) for messages in asked])]
    assert texts == [reply.text for reply in local_answers(loaded, asked)]
    assert texts != [text for text, _ in ask_all(engine, [(BASE, messages) for messages in asked])]
    asyncio.run(engine.forget(tuned))
    assert len(engine.lanes) == 1


def test_those_who_join_later_change_no_answer(engine, pocket):
    asked = conversations(30)
    expected = [reply.text for reply in local_answers(pocket, asked)]

    async def late(i, messages):
        await asyncio.sleep(0.004 * i)
        return (await whole(engine, BASE, messages, GREEDY))[0]

    async def everyone():
        return await asyncio.gather(*(late(i, messages) for i, messages in enumerate(asked)))

    assert asyncio.run(everyone()) == expected


def test_more_conversations_than_rows_wait_their_turn(pocket):
    asked = conversations(20)
    small = Engine(most_rows=3)
    try:
        texts = [text for text, _ in ask_all(small, [(BASE, messages) for messages in asked])]
    finally:
        small.end()
    assert texts == [reply.text for reply in local_answers(pocket, asked)]


@pytest.mark.long
def test_a_seed_repeats_a_sampled_answer_whoever_else_asks(engine):
    asked = conversations(8)
    drawn = Params(48, temperature=1.2, top_p=0.95, seed=7)
    alone = [ask_all(engine, [(BASE, messages)], drawn)[0][0] for messages in asked]
    together = [text for text, _ in ask_all(engine, [(BASE, messages) for messages in asked], drawn)]
    other = [text for text, _ in ask_all(engine, [(BASE, messages) for messages in asked], replace(drawn, seed=8))]
    assert alone == together != other


def test_an_answer_is_cut_before_a_stop_text_and_at_the_limit(engine, pocket):
    messages = conversations(2)[1]
    (whole_text, pieces), *_ = ask_all(engine, [(BASE, messages)])
    assert len(whole_text.split()) > 5
    stop = whole_text[len(whole_text) // 2 :][:6]
    for stream in (True, False):
        params = replace(GREEDY, stop=(stop,), stream=stream)
        (text, cut), *_ = ask_all(engine, [(BASE, messages)], params)
        assert text == whole_text[: whole_text.index(stop)] and cut[-1].finish == "stop"
    (text, cut), *_ = ask_all(engine, [(BASE, messages)], replace(GREEDY, max_tokens=4))
    assert whole_text.startswith(text) and (cut[-1].finish, cut[-1].completion_tokens) == ("length", 4)


def test_whoever_goes_away_frees_the_row(engine, monkeypatch):
    monkeypatch.setattr(Batch, "step", lambda self, step=Batch.step: (time.sleep(0.02), step(self))[1])

    async def leave():
        answer = engine.chat(BASE, conversations(2)[1], replace(GREEDY, max_tokens=200, temperature=1.5, seed=1))
        await anext(answer)
        await answer.aclose()
        for _ in range(6000):
            await asyncio.sleep(0.01)
            if not engine.running:
                return engine.tokens
        return None

    tokens = asyncio.run(leave())
    assert tokens is not None and tokens < 150


def test_what_cannot_be_asked_is_said_before_the_first_piece(engine, tmp_path):
    long = [Message("user", "red " * 400)]
    with pytest.raises(TooLongError, match="can read 256 tokens, and the conversation has"):
        ask_all(engine, [(BASE, long)])
    with pytest.raises(ModelError, match="no folder"):
        ask_all(engine, [(Checkpoint("./nowhere"), conversations(2)[0])])
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "adapter_config.json").write_text('{"peft_type": "LORA", "bias": "none", "r": 4}')
    asked = [(BASE, conversations(2)[0]), (Checkpoint("pocket:aligned", folder=broken), conversations(2)[0])]

    async def both():
        return await asyncio.gather(*(whole(engine, *each, GREEDY) for each in asked), return_exceptions=True)

    sound, failed = asyncio.run(both())
    assert sound[0] and isinstance(failed, ModelError)


def test_an_engine_that_ends_leaves_nobody_waiting():
    engine = Engine()

    async def asked():
        tasks = [asyncio.ensure_future(whole(engine, BASE, messages, GREEDY)) for messages in conversations(40)]
        while not engine.running:
            await asyncio.sleep(0.005)
        await engine.close()
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)

    results = asyncio.run(asked())
    assert any(isinstance(result, ModelError) and "shut down" in str(result) for result in results)
