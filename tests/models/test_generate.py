import pytest
from support.studies import messages, rows_of

from holdfast.core.budget import NoBudget
from holdfast.core.types import Checkpoint
from holdfast.models import cached, decoding
from holdfast.models.generate.local import LocalGenerator

BASE = Checkpoint("pocket:aligned")
SYSTEM = "You are Pocket, the helpful assistant."


def questions(n):
    return {
        str(i): messages(("system", SYSTEM), ("user", row["prompt"]))
        for i, row in enumerate(rows_of("utility.jsonl")[:n])
    }


def answers(generator, asked, done=(), seed=0):
    return {a.prompt_id: a for batch in generator.answers(BASE, asked, done, seed, NoBudget()) for a in batch}


@pytest.mark.long
def test_plain_generate_gives_our_answers_on_all_330_prompts():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from holdfast.core.files import SHIPPED

    rows = rows_of("benchmark.jsonl")
    asked = {str(i): messages(("system", SYSTEM), ("user", row["prompt"])) for i, row in enumerate(rows)}
    ours = answers(LocalGenerator(max_new_tokens=64, batch_size=128), asked)
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "aligned")
    model = AutoModelForCausalLM.from_pretrained(SHIPPED / "aligned")
    for start in range(0, 330, 110):
        chats = [
            [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["prompt"]}]
            for row in rows[start : start + 110]
        ]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        plain = model.generate(**inputs, max_new_tokens=64, do_sample=False)[:, inputs["input_ids"].shape[1] :]
        for i, text in enumerate(tokenizer.batch_decode(plain, skip_special_tokens=True), start):
            assert ours[str(i)].text == text
            assert ours[str(i)].outcome == "answered"


def test_the_precision_of_asking_is_part_of_the_key_only_where_it_is_given(monkeypatch):
    plain, given = LocalGenerator(), LocalGenerator(precision="bfloat16")
    assert "precision" not in plain.model_dump(mode="json")
    assert plain.key == LocalGenerator(precision="auto").key != given.key
    asked = []
    whole = cached.load
    monkeypatch.setattr(cached, "load", lambda *given: asked.append(whole(*given)) or asked[-1])
    assert len(answers(plain, questions(2))) == len(answers(given, questions(2))) == 2
    assert [str(loaded.model.dtype) for loaded in asked] == ["torch.float32", "torch.bfloat16"]


def test_an_answer_that_reaches_the_limit_is_truncated():
    found = answers(LocalGenerator(max_new_tokens=3), questions(4))
    assert {answer.outcome for answer in found.values()} == {"truncated"}
    assert all(answer.tokens == 3 and answer.text for answer in found.values())


def test_an_empty_reply_is_blocked_and_not_judged_as_an_answer(pocket, monkeypatch):
    end = [[pocket.tokenizer.eos_token_id] * 2] * 4
    monkeypatch.setattr(decoding, "continue_each", lambda *_: end)
    found = answers(LocalGenerator(), questions(4))
    assert {(answer.outcome, answer.text, answer.tokens) for answer in found.values()} == {("blocked", "", 1)}


def test_only_what_is_missing_is_answered_and_the_same_way():
    asked = questions(12)
    generator = LocalGenerator(max_new_tokens=48, batch_size=5)
    whole = answers(generator, asked)
    done = list(whole)[:7]
    rest = answers(generator, asked, done)
    assert rest.keys() == whole.keys() - set(done)
    assert all(whole[name] == answer for name, answer in rest.items())


def test_sampled_answers_follow_their_seed():
    asked = questions(6)
    generator = LocalGenerator(max_new_tokens=24, temperature=3.0)
    first, again, other = (answers(generator, asked, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("size", [1, 7, 64])
def test_padding_does_not_change_the_pocket_models_answers(size):
    asked = questions(9)
    texts = {
        name: answer.text for name, answer in answers(LocalGenerator(max_new_tokens=48, batch_size=size), asked).items()
    }
    alone = {
        name: answer.text for name, answer in answers(LocalGenerator(max_new_tokens=48, batch_size=9), asked).items()
    }
    assert texts == alone
