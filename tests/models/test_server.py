import json
from collections import Counter

import pytest
from pydantic import ValidationError
from support.endpoint_double import Double, FakeTime, fails, filters, says
from support.studies import messages

from holdfast.core.budget import FileBudget, NoBudget
from holdfast.core.errors import BudgetError, ModelError
from holdfast.core.types import Checkpoint
from holdfast.models.endpoint import Timing, retry
from holdfast.models.generate.server import ServerGenerator

BASE = Checkpoint("base")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(retry, "REAL", Timing(fake.clock, fake.sleep))


@pytest.fixture
def tuned(tmp_path):
    """A checkpoint that is an adapter."""
    folder = tmp_path / "epoch-3"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return Checkpoint("base", folder=folder)


def questions(n):
    return {f"q{i}": messages(("system", "Be kind."), ("user", f"question {i}")) for i in range(n)}


def answers(server, asked, checkpoint=BASE, done=(), seed=0, budget=None, **settings):
    generator = ServerGenerator(base_url=server.url, **settings)
    found = [a for some in generator.answers(checkpoint, asked, done, seed, budget or NoBudget()) for a in some]
    assert len(found) == len({answer.prompt_id for answer in found})
    return {answer.prompt_id: answer for answer in found}


def by_model(shift=0.5, noise=0.0, logprobs=True):
    """The tuned model's figures are the base's, shifted; each time that a model is asked again, they differ."""
    times = Counter()

    def behave(asked):
        times[asked.model, asked.question] += 1
        value = -1.0 + times[asked.model, asked.question] % 2 * noise - (asked.model != "base") * shift
        return says(f"to {asked.question}", model=asked.model, logprobs=[value] if logprobs else None)

    return behave


def full(server):
    """The requests that were no probes."""
    return [asked for asked in server.asked if asked.body["max_tokens"] == 512]


def test_every_question_has_one_answer_with_one_outcome():
    acts = {
        "question 0": says("Yes.", usage=(9, 2)),
        "question 1": says("Yes, bec", "length"),
        "question 2": says(None, refusal="I would rather not."),
        "question 3": filters(),
        "question 4": says("some", "content_filter"),
        "question 5": says(""),
        "question 6": fails(400, "too long"),
        "question 7": says("<think>Hm, let me", "length"),
        "question 8": says("<think>Hm.</think>Yes."),
    }
    with Double(lambda asked: acts[asked.question]) as server:
        found = answers(server, questions(9))
    assert [found[f"q{i}"].outcome for i in range(9)] == [
        "answered", "truncated", "answered", "blocked", "blocked", "blocked", "backend_error", "truncated", "answered",
    ]  # fmt: skip
    assert [found[f"q{i}"].text for i in range(9)] == [
        "Yes.", "Yes, bec", "I would rather not.", "", "", "", "", "", "Yes.",
    ]  # fmt: skip
    assert (found["q0"].prompt_tokens, found["q0"].tokens) == (9, 2)
    assert (found["q7"].thinking, found["q8"].thinking) == ("Hm, let me", "Hm.")
    assert all(found[f"q{i}"].detail for i in range(1, 8))


def test_the_question_is_sent_as_the_study_puts_it():
    with Double(lambda asked: says("Yes.")) as server:
        answers(server, questions(1), temperature=0.7, top_p=0.9, seed=1)
        answers(server, questions(1), temperature=0.7, top_p=0.9, seed=2)
        answers(server, questions(1), top_p=0.9)
    first, second, greedy = (asked.body for asked in server.asked)
    assert first["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "question 0"},
    ]
    assert first["seed"] != second["seed"]
    assert greedy.keys() == {"model", "messages", "max_tokens", "temperature"}


def test_the_name_that_the_server_gives_the_base_can_be_set():
    with Double(lambda asked: says("Yes."), models=["llama2:7b"]) as server:
        assert len(answers(server, questions(2), Checkpoint("/models/llama"), model="llama2:7b")) == 2
        with pytest.raises(ModelError, match="has no model '/models/llama'; it has llama2:7b"):
            answers(server, questions(2), Checkpoint("/models/llama"))


def test_a_run_that_stopped_goes_on_and_pays_for_no_answer_twice():
    asked = questions(60)
    with Double(lambda asked: says("Yes.")) as server:
        generator = ServerGenerator(base_url=server.url, concurrency=4)
        stream = generator.answers(BASE, asked, (), 0, NoBudget())
        done = {answer.prompt_id for _ in range(20) for answer in next(stream)}
        stream.close()
        paid = len(server.paid)
        rest = answers(server, asked, done=done, concurrency=4)
    assert rest.keys() == asked.keys() - done
    assert paid <= 20 + 4  # what was under way when it stopped
    times = Counter(a.question for a in server.paid)
    assert all(times[f"question {name[1:]}"] == 1 for name in done)
    assert len(server.paid) <= 60 + 4


def test_nothing_is_asked_where_everything_is_done(tuned):
    with Double(by_model(), adapters=True) as server:
        assert answers(server, questions(3), tuned, done=questions(3)) == {}
    assert not server.asked and not server.posts


def test_the_cap_stops_a_run_that_goes_on_once_it_is_raised(tmp_path):
    path, got = tmp_path / "spending.jsonl", {}
    settings = {"price": {"output": 1e6}, "max_new_tokens": 10, "concurrency": 2}
    with Double(lambda asked: says("Yes.", usage=(5, 2))) as server:
        generator = ServerGenerator(base_url=server.url, **settings)
        stream = generator.answers(BASE, questions(30), (), 0, FileBudget(path, 40))
        with pytest.raises(BudgetError, match="the same command again"):
            got.update((answer.prompt_id, answer) for some in stream for answer in some)
        got |= answers(server, questions(30), done=got, budget=FileBudget(path, 80), **settings)
    assert got.keys() == questions(30).keys()
    assert len(server.paid) == 30
    assert FileBudget(path).spent == 60


def test_an_adapter_is_loaded_asked_and_unloaded(tuned):
    with Double(by_model(), adapters=True) as server:
        found = answers(server, questions(12), tuned)
        assert server.adapters == {}
    name = server.posts[0][1]["lora_name"]
    assert name.startswith("holdfast-")
    assert server.posts == [
        ("/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(tuned.folder)}),
        ("/v1/unload_lora_adapter", {"lora_name": name}),
    ]
    assert {asked.model for asked in full(server)} == {name}
    assert len(full(server)) == len(found) == 12


@pytest.mark.long
def test_an_adapter_that_is_loaded_already_is_used(tuned):
    with Double(by_model(), adapters=True) as server:
        stream = ServerGenerator(base_url=server.url).answers(tuned, questions(3), (), 0, NoBudget())
        next(stream)
        assert len(answers(server, questions(3), tuned)) == 3
        stream.close()


def test_an_adapter_is_unloaded_after_an_error_too(tuned):
    with Double(by_model(shift=0.0), adapters=True) as server:
        with pytest.raises(ModelError):
            answers(server, questions(3), tuned)
        assert [path for path, _ in server.posts] == ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"]


@pytest.mark.long
@pytest.mark.parametrize(
    "behave", [by_model(shift=0.0), by_model(shift=0.01, noise=0.02), by_model(shift=0.0, logprobs=False)],
    ids=["equal", "within the noise", "equal words"],
)  # fmt: skip
def test_an_adapter_that_is_not_applied_is_found_out_before_anything_is_asked(tuned, behave):
    said = r"gives exactly what its base 'base' gives.*adapter is not applied"
    with Double(behave, adapters=True) as server, pytest.raises(ModelError, match=said):
        answers(server, questions(40), tuned)
    assert not full(server)


@pytest.mark.long
def test_an_adapter_that_changes_more_than_the_noise_is_applied(tuned):
    with Double(by_model(shift=0.5, noise=0.02), adapters=True) as server:
        assert len(answers(server, questions(40), tuned)) == 40


@pytest.mark.long
def test_words_tell_where_a_server_gives_no_log_probabilities(tuned):
    def behave(asked):
        if "logprobs" in asked.body:
            return fails(400, "logprobs are not supported")
        other = asked.model != "base" and asked.question == "question 39"
        return says("another" if other else "the same", model=asked.model)

    with Double(behave, adapters=True) as server:
        assert len(answers(server, questions(40), tuned)) == 40


@pytest.mark.long
def test_a_served_model_is_told_from_its_base():
    checkpoint = Checkpoint("base", served="base-tuned")
    for shift, applied in ((0.5, True), (0.0, False)):
        with Double(by_model(shift), models=["base", "base-tuned"]) as server:
            if applied:
                assert len(answers(server, questions(5), checkpoint)) == 5
                assert {asked.model for asked in full(server)} == {"base-tuned"}
            else:
                with pytest.raises(ModelError, match="'base-tuned' gives exactly what its base 'base' gives"):
                    answers(server, questions(5), checkpoint)


def test_another_model_that_answers_in_its_place_is_found_out():
    with (
        Double(lambda asked: says("Yes.", model="some-default")) as server,
        pytest.raises(ModelError, match="'base' was asked, but 'some-default' answered"),
    ):
        answers(server, questions(3))


def test_a_server_that_cannot_load_adapters_says_how_to_start_one(tuned):
    with (
        Double(by_model()) as server,
        pytest.raises(ModelError, match=r"VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.*--enable-lora.*kind: local"),
    ):
        answers(server, questions(3), tuned)


def test_an_adapter_that_the_server_cannot_see_is_said_so(tuned):
    elsewhere = Checkpoint("base", folder=tuned.folder.rename(tuned.folder.parent / "unseen"))
    with (
        Double(by_model(), adapters=True) as server,
        pytest.raises(ModelError, match=r"No adapter found for .*unseen \(HTTP 404\).*under the same path"),
    ):
        answers(server, questions(3), elsewhere)


def test_full_weights_are_to_be_served_by_name(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with Double(by_model()) as server, pytest.raises(ModelError, match="checkpoint: served:NAME"):
        answers(server, questions(3), Checkpoint("base", folder=tmp_path))


def test_only_what_determines_an_answer_is_in_the_results():
    generator = ServerGenerator(base_url="http://x/v1", concurrency=2, api_key_env="KEY", price={"input": 1})
    assert generator.model_dump(mode="json").keys() == {
        "kind", "base_url", "model", "max_new_tokens", "temperature", "top_p", "extra",
    }  # fmt: skip
    assert "KEY" not in json.dumps(generator.model_dump(mode="json"))
    assert generator.key == ServerGenerator(base_url="http://x/v1").key


def test_a_misspelt_setting_is_named():
    with pytest.raises(ValidationError, match=r"unknown key 'concurency'.*Did you mean 'concurrency'"):
        ServerGenerator(base_url="http://x/v1", concurency=3)
