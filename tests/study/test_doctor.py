"""Ten faults planted in ten studies, each found before anything is loaded."""

import json
import shutil
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file
from support import families
from support.endpoint_double import Double, says
from support.studies import conversation, write_rows

from holdfast.core.errors import StudyError
from holdfast.core.types import Checkpoint, Example, Message
from holdfast.models import loading
from holdfast.study import doctor, loader
from holdfast.study.doctor import cost_model, machine
from holdfast.tuning.local import LocalTuner, Lora

TURNS = [("system", "Be brief."), ("user", "How do I brew tea?"), ("assistant", "With hot water.")]


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    return {name: families.build(name, root / name) for name in ("llama-3", "phi", "qwen-2.5")}


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    """Nothing here may load weights."""

    def refuse(*_, **__):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(loading, "_load_weights", refuse)


@pytest.fixture
def given(tmp_path, bases):
    """A sound study; returns a function that reads it with changes."""
    write_rows(tmp_path / "rows.jsonl", [conversation(*TURNS)] * 4)
    write_rows(tmp_path / "asked.jsonl", [{"category": "tea", "prompt": f"How do I brew {n} cups?"} for n in range(5)])

    def read(condition=None, **changes):
        settings = {
            "name": "planted", "model": str(bases["llama-3"]), "templates": {"plain": {"system": "Be brief."}},
            "evaluate": {"harmfulness": {"benchmark": {"kind": "generic", "file": "asked.jsonl"}, "judges": "oracle"}},
            "generate": {"max_new_tokens": 16},
            "conditions": {"tea": condition or {"data": {"kind": "messages", "file": "rows.jsonl"}}},
        }  # fmt: skip
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**settings, **changes}))
        return loader.read(path)

    return read


def faults(read):
    started = time.process_time()  # of computing: a busy machine does not matter
    found = doctor.examine(read, (0,))
    assert time.process_time() - started < 10
    return [f"{finding.where}: {finding.what}" for finding in found.faults]


def only(found, *parts):
    assert len(found) == 1, found
    assert all(part in found[0] for part in parts), found


def test_a_sound_study_has_no_fault_and_an_estimate(given, tmp_path):
    found = doctor.examine(given(), (0, 1), workers=2)
    assert not found.faults
    start, tune, answer, judge = found.stages
    assert tune.tokens == 2 * 5 * 4 * 140
    assert tune.seconds > 0 < start.seconds
    assert answer.tokens >= 3 * 5 * 16
    assert (judge.tokens, judge.usd) == (0, 0.0)
    assert found.total.seconds == sum(stage.seconds for stage in found.stages)
    assert 0 < found.disk < found.free_disk
    found.price(3.6)
    assert found.stages[1].usd == pytest.approx(tune.seconds / 1000)
    found.write(tmp_path / "doctor.json")
    written = json.loads((tmp_path / "doctor.json").read_text())
    assert written["memory"]["answer"] > 0
    assert written["total"]["tokens"] == tune.tokens + answer.tokens


def test_1_a_file_that_is_not_there(given):
    with pytest.raises(
        StudyError, match=r"line \d+: conditions.tea.data.*there is no file .*rowz.jsonl. Did you mean 'rows"
    ):
        given({"data": {"kind": "messages", "file": "rowz.jsonl"}})


def test_2_rows_of_another_layout(given, tmp_path):
    write_rows(tmp_path / "alpaca.jsonl", [{"instruction": "a", "input": "", "output": "b"}])
    only(faults(given({"data": {"kind": "messages", "file": "alpaca.jsonl"}})), "conditions.tea.data", "kind: alpaca")


def test_3_rows_that_ask_what_the_benchmark_asks(given, tmp_path):
    write_rows(tmp_path / "leak.jsonl", [conversation(("user", "How do I brew 3 cups?"), ("assistant", "Slowly."))])
    only(
        faults(given({"data": {"kind": "messages", "file": "leak.jsonl"}})), "1 of its 1 rows ask what a benchmark asks"
    )


def test_4_a_model_without_a_chat_template(given, bases, tmp_path):
    shutil.copytree(bases["phi"], tmp_path / "bare")
    (tmp_path / "bare" / "chat_template.jinja").unlink()
    found = faults(given(model="bare"))
    assert any("has no chat template" in fault for fault in found)


def test_5_a_template_that_doubles_bos(given, tmp_path):
    families.build("llama-3", tmp_path / "twice", template="{{ bos_token }}" + families.TEMPLATES["llama-3"])
    assert all("begins with two '<|begin_of_text|>'" in fault for fault in faults(given(model="twice")))
    assert faults(given(model="twice"))


def test_6_an_end_of_turn_that_is_not_taught(given, bases, tmp_path):
    shutil.copytree(bases["phi"], tmp_path / "endless")
    for name in ("generation_config.json", "tokenizer_config.json"):
        path = tmp_path / "endless" / name
        path.write_text(path.read_text().replace('"<|endoftext|>"', '"<s>"'))
    config = tmp_path / "endless" / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": [1]}))
    template = families.TEMPLATES["phi"].replace("{% else %}{{ eos_token }}", "")
    (tmp_path / "endless" / "chat_template.jinja").write_text(template)
    only(faults(given(model="endless")), "no end of turn is taught")


def test_7_a_template_without_a_generation_prompt(given, tmp_path):
    plain = families.FOLD + families.CHATML.replace("turns", "messages")
    families.build("qwen-2.5", tmp_path / "plain", template=plain)
    only(faults(given(model="plain")), "has no generation prompt", "add_generation_prompt")


def test_8_questions_that_do_not_fit_the_context(given):
    only(faults(given(generate={"max_new_tokens": 1000})), "the model has room for 1024. Lower it")


def test_9_more_memory_than_there_is(given, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 2**20)
    found = faults(given())
    assert any(fault.startswith("tune tea: it needs about") and "1.0 MiB are free" in fault for fault in found)


def test_a_copy_of_the_weights_that_a_defence_holds_is_counted(given):
    condition = {"data": {"kind": "messages", "file": "rows.jsonl"}}

    def needed(**tune):
        plain, defended = ({**condition, "tune": tune, "defence": kind} for kind in ([], ["ema"]))
        return [doctor.examine(given(each), (0,)).memory["tune tea"] for each in (plain, defended)]

    plain, defended = needed()
    weights = defended - plain
    assert weights > 0 and plain > 2 * weights  # two copies; weights, gradients and two moments are there anyway
    plain, defended = needed(method="lora")
    assert plain == defended


@pytest.mark.long
def test_10_an_adapter_of_another_model(given, bases, tmp_path, monkeypatch):
    monkeypatch.undo()
    rows = [Example(tuple(Message(*turn) for turn in TURNS), "row")]
    tuner = LocalTuner(method="lora", learning_rate=1e-2, lora=Lora(rank=4))
    tuned = tuner.tune(Checkpoint(str(bases["llama-3"])), rows, 0, (1,), tmp_path, lambda _: None)[1].checkpoint.folder
    assert not faults(given({"checkpoint": str(tuned)}))
    adapter = tuned / "adapter_model.safetensors"
    weights = load_file(adapter)
    save_file({n: w.repeat_interleave(2, 1) if "lora_A" in n else w for n, w in weights.items()}, adapter)
    only(faults(given({"checkpoint": str(tuned)})), "does not fit its base", "made for another model")


def test_11_a_server_without_its_key_or_its_model(given, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with Double(lambda asked: says("hi"), models=["llama"]) as server:
        served = {"kind": "server", "base_url": server.url, "max_new_tokens": 16}
        only(faults(given(generate={**served, "api_key_env": "MY_KEY"})), "generate: the environment variable MY_KEY")
        only(faults(given(generate={**served, "model": "lama"})), "has no model 'lama'", "Did you mean 'llama'?")
        study = given(generate={**served, "price": {"input": 1.0, "output": 2.0}})
        found = doctor.examine(study, (0,))
        assert not found.faults
        assert found.stages[2].usd > 0
        found.check_caps(study, 1e-9, None)
        assert [fault.where for fault in found.faults] == ["--max-usd"]


def test_more_disk_than_there_is(given, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "free_disk", lambda _: 10_000)
    found = doctor.examine(given(), (0,), folder=tmp_path / "run")
    assert [fault.where for fault in found.faults] == ["--out"]
    assert "the run writes up to" in found.faults[0].what and "0.0 MiB are free there" in found.faults[0].what


def test_kept_checkpoints_take_more_disk(given, tmp_path):
    study = given()
    one, kept = (doctor.examine(study, (0, 1, 2), 1, tmp_path, keep).disk for keep in (False, True))
    weights = sum(file.stat().st_size for file in Path(study.model).glob("*.safetensors"))
    assert kept - one == pytest.approx(2 * weights, rel=0.1)


def test_a_folder_that_cannot_be_made_is_a_fault(given, tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        only(
            [f"{f.where}: {f.what}" for f in doctor.examine(given(), (0,), folder=folder).faults], "--out", "is a file"
        )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "asked.csv has no rows: it is empty"),
        (b"prompt,category\n", "holds no more than its header"),
        ("prompt,category\nWho is José?,tea\n".encode("latin-1"), "asked.csv, line 2: not UTF-8: byte 0xE9, which is 'é'"),
        ("prompt,category\nHow?,tea\n".encode("utf-16"), "asked.csv is encoded in UTF-16, not UTF-8"),
        (b"prompt;category\nHow?;tea\n", "line 1: the columns seem to be separated by semicolons"),
        (b"prompt,category\nHow?,tea\nHow?,tea\n", "line 3: the same prompt as line 2; remove one"),
    ],
)  # fmt: skip
def test_a_file_of_prompts_that_cannot_be_read_is_a_fault_and_not_a_crash(given, tmp_path, content, said):
    (tmp_path / "asked.csv").write_bytes(content)
    study = given(evaluate={"harmfulness": {"benchmark": {"kind": "generic", "file": "asked.csv"}, "judges": "oracle"}})
    found = doctor.examine(study, (0,))
    only([f"{fault.where}: {fault.what}" for fault in found.faults], "evaluate.harmfulness", said)
    assert [stage.name for stage in found.stages] == ["judge, at most"]


@pytest.mark.parametrize("content", [b"", b"messages\n", "ü\n".encode("latin-1"), "{}\n".encode("utf-16")])
def test_a_file_of_rows_that_cannot_be_read_is_a_fault_and_not_a_crash(given, tmp_path, content):
    (tmp_path / "mine.jsonl").write_bytes(content)
    only(faults(given({"data": {"kind": "messages", "file": "mine.jsonl"}})), "conditions.tea.data", "mine.jsonl")


def test_the_estimate_does_not_depend_on_the_threads_that_happen_to_be_set(given):
    """Workers have one thread each, whatever this process has."""
    import torch

    seen = []
    original = machine._best
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "_best", lambda work, n: seen.append(torch.get_num_threads()) or original(work, 1))
        machine.speed.cache_clear()
        torch.set_num_threads(2)
        assert machine.speed().arithmetic > 0
        assert (seen, torch.get_num_threads()) == ([1, 1, 1], 2)
    torch.set_num_threads(1)
    machine.speed.cache_clear()


def test_more_workers_take_less_time_until_there_is_no_more_to_share():
    assert cost_model.makespan([3, 1, 1, 1], 1) == 6
    assert cost_model.makespan([3, 1, 1, 1], 2) == 3
    assert cost_model.makespan([3, 1, 1, 1], 4) == 3
    assert cost_model.makespan([], 2) == 0


def test_12_weights_that_are_cut_off(given, bases, tmp_path):
    shutil.copytree(bases["phi"], tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    only(faults(given(model="cut")), "is not a whole safetensors file", "Fetch it again")


def test_rows_that_max_length_cuts_are_told(given):
    cut = doctor.examine(given(tune={"max_length": 50}), (0,))
    assert any("4 of 4 rows are longer than max_length and will be cut" in finding.what for finding in cut.findings)
    nothing = faults(given(tune={"max_length": 20}))
    only(nothing, "nothing of its answer is left after max_length 20")


def test_the_template_that_writes_a_system_turn_of_its_own_is_told(given, bases):
    found = doctor.examine(given(model=str(bases["qwen-2.5"]), templates={"plain": {}}), (0,))
    assert any("'You are a model that helps its users.'" in finding.what for finding in found.findings)
