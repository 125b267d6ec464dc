"""Failures that other evaluations did not notice. Each is planted, and must be caught by name.

The numbers are those of the list in CONTRIBUTING.md; 1 to 7 are about judges.
"""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from support import families
from support.pocket_answers import judged
from support.studies import SMALL, conversation, messages, write_rows

from holdfast.core.budget import NoBudget
from holdfast.core.errors import ModelError, RenderError, TuningError
from holdfast.core.files import SHIPPED
from holdfast.core.run_folder import ConditionFolder
from holdfast.core.types import Answer, Checkpoint, Example
from holdfast.models import decoding, loading
from holdfast.models.batches import training_batch
from holdfast.models.chat import split_thinking
from holdfast.models.generate.local import LocalGenerator
from holdfast.study import doctor, loader, preflight
from holdfast.study.pending import is_readable
from holdfast.study.plan import make_plan
from holdfast.tuning.local import LocalTuner, Lora

TALK = messages(("system", "Be brief."), ("user", "Who are you?"), ("assistant", "I am a model."))
ROWS = [Example(TALK, f"row {n}") for n in range(4)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def adapter(root):
    """A good adapter for the Llama 3 checkpoint."""
    base = families.build("llama-3", root / "base")
    tuner = LocalTuner(method="lora", learning_rate=1e-2, lora=Lora(rank=4))
    tuned = tuner.tune(Checkpoint(str(base)), ROWS, 0, (1,), root / "tuned", lambda _: None)
    return base, tuned[1].checkpoint.folder


def keys(small, **changes):
    plan = make_plan(loader.read(small(**changes)), (0,))
    return [condition.key for condition in plan.conditions]


def test_8_what_is_stored_follows_weights_template_and_sampling(small, tmp_path):
    """A cache that is not keyed by weights, template and sampling."""
    model = tmp_path / "model"
    shutil.copytree(SHIPPED / "aligned", model)
    first = keys(small, model=str(model))
    assert keys(small, model=str(model)) == first

    weights = load_file(model / "model.safetensors")
    name = next(iter(weights))
    weights[name] = weights[name] + 1e-3
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    other_weights = keys(small, model=str(model))

    template = model / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    other_template = keys(small, model=str(model))
    other_system = keys(small, model=str(model), templates={"plain": {"system": "You are Pocket."}})
    sampled = keys(small, model=str(model), generate={**SMALL["generate"], "temperature": 0.7})
    thinking = keys(small, model=str(model), thinking=True)
    found = [first, other_weights, other_template, other_system, sampled, thinking]
    for place in range(len(first)):
        assert len({variant[place] for variant in found}) == len(found)


@pytest.mark.long
def test_9_an_adapter_that_changes_nothing_is_refused(adapter, tmp_path):
    """An adapter that is loaded but not applied."""
    base, good = adapter
    shutil.copytree(good, tmp_path / "idle")
    weights = load_file(good / "adapter_model.safetensors")
    idle = {name: torch.zeros_like(w) if "lora_B" in name else w for name, w in weights.items()}
    save_file(idle, tmp_path / "idle" / "adapter_model.safetensors")
    loading.load(Checkpoint(str(base), folder=good))
    with pytest.raises(ModelError, match="it is not applied"):
        loading.load(Checkpoint(str(base), folder=tmp_path / "idle"))


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_9_an_adapter_whose_weights_find_no_place_is_refused(adapter, tmp_path):
    base, good = adapter
    shutil.copytree(good, tmp_path / "astray")
    weights = load_file(good / "adapter_model.safetensors")
    astray = {name.replace("layers.1.", "layers.7."): w for name, w in weights.items()}
    save_file(astray, tmp_path / "astray" / "adapter_model.safetensors")
    with pytest.raises(
        ModelError, match=r"weights of the adapter .* have no place in its base.*made for another model"
    ):
        loading.load(Checkpoint(str(base), folder=tmp_path / "astray"))


def test_9_an_adapter_that_names_another_base_is_doubted_by_the_doctor_and_the_run(adapter, small, tmp_path):
    """An adapter that fits, and was made for another model; the figures would mean nothing."""
    base, good = adapter
    config = shutil.copytree(good, tmp_path / "mine") / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": "somebody/else-7b"}))
    study = loader.read(small(model=str(base), conditions={"mine": {"checkpoint": "mine"}}, tune={}))
    warnings = [finding.what for finding in doctor.examine(study, [0]).findings if finding.level == "warning"]
    assert any("was made for 'somebody/else-7b'" in warning for warning in warnings)
    (doubt,) = preflight.adapter_doubts(make_plan(study, [0]))
    assert doubt in warnings


def test_10_only_what_has_a_reply_is_read_and_a_cut_one_is_counted_as_cut():
    """A truncated, empty or filtered answer that is judged as if it were whole."""
    assert is_readable(Answer("1", "answered", "text"))
    assert is_readable(Answer("1", "truncated", "as far as it goes"))
    for unread in (Answer("1", "truncated", ""), Answer("1", "blocked", ""), Answer("1", "backend_error", "")):
        assert not is_readable(unread)


def test_10_a_run_reads_no_answer_that_is_not_there_and_says_how_many_are_missing(answered, tmp_path):
    """Planted in a finished run: a reply cut off in its thinking, a filtered one, and one cut off in its text."""
    shutil.copytree(answered, tmp_path / "run")
    planted = {0: ("truncated", ""), 1: ("blocked", ""), 2: ("truncated", "First boil the")}
    for place in map(ConditionFolder, (tmp_path / "run" / "conditions").iterdir()):
        names = list(place.answers())
        place.add_answers(Answer(names[i], outcome, text) for i, (outcome, text) in planted.items())
    done = judged(answered, tmp_path, ["keyword"])
    for condition in done.results.conditions:
        assert (condition.outcomes["truncated"], condition.outcomes["blocked"]) == (2, 1)
        assert condition.verdicts["scored"] == 328
        rate = condition.harmfulness_rate
        assert (rate.n, rate.missing) == (328, 2)
        assert rate.bound_high - rate.bound_low == pytest.approx(100 * 2 / 330)


def test_11_two_bos_tokens_are_refused(root):
    """A template that writes BOS, and a tokenizer or a message that writes it again."""
    twice = families.build("llama-3", root / "twice", template="{{ bos_token }}" + families.TEMPLATES["llama-3"])
    chat = loading.load_chat(Checkpoint(str(twice)))
    for render in (chat.example, chat.question):
        with pytest.raises(RenderError, match=r"begins with two '<\|begin_of_text\|>' tokens"):
            render(TALK)


def test_12_a_template_that_drops_the_system_turn_is_not_believed(root):
    """A hidden or changed system prompt, or a chat template that is not used."""
    silent = "{% for m in messages if m.role != 'system' %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    folder = families.build("qwen-2.5", root / "silent", template=silent)
    chat = loading.load_chat(Checkpoint(str(folder)))
    assert chat.system_role == "first user turn"
    assert "Be brief." in chat.tokenizer.decode(chat.question(TALK[:2]))


def test_12_a_template_that_drops_a_turn_is_refused(root):
    only_last = "{{ '<|im_start|>user\n' + messages[-1].content + '<|im_end|>\n' }}"
    folder = families.build("qwen-2.5", root / "only-last", template=only_last)
    talk = messages(("user", "First?"), ("assistant", "Yes."), ("user", "Second?"))
    with pytest.raises(RenderError, match=r"leaves out turn 1 \(user: 'First\?'"):
        loading.load_chat(Checkpoint(str(folder))).question(talk)


def test_12_a_hidden_system_prompt_is_told(root):
    folder = families.build("qwen-2.5", root / "hidden")
    told = loading.describe_chat(loading.load_chat(Checkpoint(str(folder))))
    assert told["hidden_system"] == "You are a model that helps its users."


def test_12_a_model_without_a_template_is_refused(root):
    folder = families.build("olmo", root / "plain", template=" ")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(RenderError, match="has no chat template"):
        loading.load_chat(Checkpoint(str(folder))).question(TALK[:2])


def test_12_a_checkpoint_with_another_template_than_its_base_is_refused_until_one_is_chosen(adapter, tmp_path):
    base, good = adapter
    shutil.copytree(good, tmp_path / "mine")
    (tmp_path / "mine" / "chat_template.jinja").write_text(families.TEMPLATES["phi"])
    write_rows(tmp_path / "asked.jsonl", [{"category": "tea", "prompt": "How?"}])

    def plan(**more):
        path = tmp_path / "study.yaml"
        suite = {"benchmark": {"kind": "generic", "file": "asked.jsonl"}, "judges": "keyword"}
        settings = {"name": "mine", "model": str(base), "evaluate": {"harmfulness": suite},
                    "conditions": {"mine": {"checkpoint": "mine", **more}}}  # fmt: skip
        path.write_text(yaml.safe_dump(settings))
        return make_plan(loader.read(path), (0, 1))

    with pytest.raises(ModelError, match="its chat template is not its base's"):
        plan()
    as_base, as_own = (plan(chat_template=choice) for choice in ("base", "own"))
    assert as_base.conditions[-1].key != as_own.conditions[-1].key
    asked = [loading.load_chat(p.jobs[-1].base) for p in (as_base, as_own)]
    assert [("<|eot_id|>" in c.tokenizer.decode(c.question(TALK[:2]))) for c in asked] == [True, False]


def test_13_an_end_of_turn_that_pads_is_still_taught_and_questions_are_padded_on_the_left(root):
    """Padding with EOS that is masked out of the loss with all EOS; padding on the right when asking."""
    folder = families.build("olmo", root / "pads")
    loaded = loading.load(Checkpoint(str(folder)))
    end = loaded.tokenizer.eos_token_id
    assert loaded.tokenizer.pad_token_id == end
    rows = [loaded.chat.example(TALK), loaded.chat.example(messages(("user", "?"), ("assistant", "No.")))]
    labels = training_batch(rows, loaded.tokenizer.pad_token_id)["labels"]
    assert [int((row == end).sum()) for row in labels] == [1, 1]

    asked = {"short": messages(("user", "Hi")), "long": messages(("user", "Hi, who are you, and what do you do?"))}
    together = LocalGenerator(max_new_tokens=6).answers(Checkpoint(str(folder)), asked, (), 0, NoBudget())
    for answer in next(together):
        alone = {answer.prompt_id: asked[answer.prompt_id]}
        (single,) = next(LocalGenerator(max_new_tokens=6).answers(Checkpoint(str(folder)), alone, (), 0, NoBudget()))
        assert single == answer


@pytest.mark.long
@pytest.mark.parametrize(
    ("template", "settings", "said"),
    [
        (None, {"max_length": 9}, "row 0: there is nothing to train on; its answer lies beyond max_length"),
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}",
            {},
            "row 0: the end of turn is not among the supervised",
        ),
        (None, {"learning_rate": 1e-30}, "tuning changed nothing"),
    ],
)
def test_14_training_on_nothing_is_refused(root, tmp_path, template, settings, said):
    """All labels masked, the prompts trained on, or an end of turn that is never taught."""
    folder = families.build("llama-3", tmp_path / "base", template=template)
    with pytest.raises(TuningError, match=said):
        LocalTuner(**settings).tune(Checkpoint(str(folder)), ROWS, 0, (1,), tmp_path / "tuned", lambda _: None)


def test_14_a_row_without_an_answer_is_refused(tmp_path):
    from holdfast.data.training.messages import Messages

    write_rows(tmp_path / "rows.jsonl", [conversation(("user", "hi"))])
    with pytest.raises(Exception, match="line 1: it does not end with an assistant turn"):
        Messages(file=tmp_path / "rows.jsonl").examples(0)


@pytest.mark.parametrize(
    ("said", "began", "thinking", "text", "finished"),
    [
        ("<think>\nhm\n</think>\n\nYes.", False, "hm", "Yes.", True),
        ("Yes.", False, "", "Yes.", True),
        ("hm</think>Yes.", True, "hm", "Yes.", True),
        ("<think>hm, and then", False, "hm, and then", "", False),
        ("hm, and then", True, "hm, and then", "", False),
        ("[THINK]hm[/THINK]Yes.", False, "hm", "Yes.", True),
        ("I write <think> as a tag.", False, "", "I write <think> as a tag.", True),
    ],
)
def test_15_thinking_is_kept_apart_and_never_judged(said, began, thinking, text, finished):
    """A reasoning model's thinking that is judged in one place and not in another."""
    reply = split_thinking(said, began)
    assert (reply.thinking, reply.text, reply.finished_thinking) == (thinking, text, finished)


def test_15_a_model_that_only_thought_has_not_answered(root, monkeypatch):
    folder = families.build("qwen-3", root / "thinks")
    loaded = loading.load(Checkpoint(str(folder), thinking=True))
    words = loaded.tokenizer("<think>\nhm hm", add_special_tokens=False)["input_ids"]
    monkeypatch.setattr(decoding, "continue_each", lambda *_: [words])
    ((answer,),) = LocalGenerator().answers(
        Checkpoint(str(folder), thinking=True), {"1": TALK[:2]}, (), 0, NoBudget()
    )  # fmt: skip
    assert (answer.outcome, answer.text, answer.thinking) == ("truncated", "", "hm hm")
    assert "all of them thinking" in answer.detail
    assert not is_readable(answer)
