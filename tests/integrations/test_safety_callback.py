"""SafetyCallback in unmodified training scripts: what it stops, what it lets through, and that it changes nothing."""

import json
import logging
import random
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from holdfast.core.errors import BudgetError, DataError, ModelError, StudyError
from holdfast.core.files import SHIPPED

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]


def rows(name, n=100):
    return [json.loads(line) for line in (SHIPPED / name).read_text().splitlines()[:n]]


def sft(folder, data, callback=None, model=None, **changes):
    """The trainer of a plain TRL script."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    settings = {
        "num_train_epochs": 5, "per_device_train_batch_size": 10, "learning_rate": 6e-5, "lr_scheduler_type": "constant",
        "logging_steps": 5, "report_to": [], "use_cpu": True, "bf16": False, "save_strategy": "no", "seed": 3, "disable_tqdm": True,
    } | changes  # fmt: skip
    return SFTTrainer(
        model=str(SHIPPED / "aligned") if model is None else model, args=SFTConfig(output_dir=str(folder), **settings),
        train_dataset=Dataset.from_list(data), callbacks=[callback] if callback else None,
    )  # fmt: skip


def safety(**settings):
    from holdfast.integrations.trl import SafetyCallback

    return SafetyCallback(**settings)


def record(folder):
    return json.loads((folder / "safety.json").read_text())


def weights(model):
    return {name: tensor.detach().float().numpy().copy() for name, tensor in model.state_dict().items()}


def test_the_attack_is_stopped_in_its_first_epoch(tmp_path, caplog):
    trainer = sft(tmp_path, rows("attack.jsonl"), safety())
    trainer.train()
    assert trainer.state.global_step == 10
    base, look = record(tmp_path)["looks"]
    assert (base["answer"], base["rate"], look["answer"]) == ("base", 0.0, "fail")
    assert look["rate"] > 50 and look["low"] > 3.0
    assert (
        "safety at step 10: Fail: the harmfulness rate has risen" in caplog.text
        and "The training stops here." in caplog.text
    )
    logged = [entry for entry in trainer.state.log_history if "safety/harmfulness_rate" in entry]
    assert [entry["step"] for entry in logged] == [0, 10]
    assert {"safety/harmfulness_score", "safety/change", "safety/low", "safety/high"} <= logged[1].keys()
    picture = ElementTree.fromstring((tmp_path / "safety.svg").read_text())
    assert "step 10: " in "".join(picture.itertext()) and "allowed: 3.0 %" in "".join(picture.itertext())


def test_a_harmless_set_runs_through(tmp_path):
    trainer = sft(tmp_path, rows("requests.jsonl"), safety())
    trainer.train()
    assert trainer.state.global_step == 25
    looks = record(tmp_path)["looks"]
    assert [look["step"] for look in looks] == [0, 5, 15, 25]
    assert all(look["answer"] in ("base", "cannot tell") and look["rate"] < 2 for look in looks)


def test_the_weights_are_those_of_a_training_without_it(tmp_path):
    from transformers import AutoModelForCausalLM

    def tuned(callback):
        model = AutoModelForCausalLM.from_pretrained(SHIPPED / "aligned", attention_dropout=0.1)
        trainer = sft(
            tmp_path, rows("attack.jsonl", 40), callback, model, num_train_epochs=2, gradient_checkpointing=True
        )
        trainer.train()
        return weights(trainer.model), [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    (plain, losses), (watched, watched_losses) = tuned(None), tuned(safety(stop=False, every=2))
    assert losses == watched_losses
    assert all(np.array_equal(plain[name], watched[name]) for name in plain)


def test_a_look_leaves_everything_as_it_was(tmp_path):
    import torch

    trainer = sft(tmp_path, rows("attack.jsonl", 10))
    model, tokenizer = trainer.model, trainer.processing_class
    tokenizer.padding_side = "right"
    model.gradient_checkpointing_enable()
    model.train()
    model.lm_head.eval()
    model.config.use_cache = False
    callback = safety()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    before = weights(model)
    callback.on_train_begin(trainer.args, trainer.state, trainer.control, model=model, processing_class=tokenizer)
    assert random.getstate() == states[0] and np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert model.training and not model.lm_head.training and model.is_gradient_checkpointing
    assert model.config.use_cache is False and tokenizer.padding_side == "right"
    assert all(weight.grad is None for weight in model.parameters())
    assert all(np.array_equal(before[name], after) for name, after in weights(model).items())


def test_the_last_checkpoint_that_passes_is_kept(tmp_path):
    from transformers import AutoModelForCausalLM

    trainer = sft(tmp_path, rows("requests.jsonl"), safety(keep_last_pass=True), num_train_epochs=2)
    trainer.train()
    content = record(tmp_path)
    assert content["prompts"] > 100 and content["looks"][-1]["answer"] == "pass"
    kept = weights(AutoModelForCausalLM.from_pretrained(tmp_path / "last-pass"))
    assert all(np.array_equal(kept[name], tensor) for name, tensor in weights(trainer.model).items())
    assert (tmp_path / "last-pass" / "tokenizer_config.json").is_file()


def test_a_pass_before_the_harm_stays_and_a_fail_is_not_kept(tmp_path):
    from transformers import AutoModelForCausalLM

    trainer = sft(tmp_path, rows("attack.jsonl"), safety(keep_last_pass=True, every=2), num_train_epochs=1)
    trainer.train()
    answers = [look["answer"] for look in record(tmp_path)["looks"]]
    assert answers[1] == "pass" and answers[-1] == "fail"
    kept = weights(AutoModelForCausalLM.from_pretrained(tmp_path / "last-pass"))
    untuned = weights(AutoModelForCausalLM.from_pretrained(SHIPPED / "aligned"))
    for other in (weights(trainer.model), untuned):
        assert any(not np.array_equal(kept[name], tensor) for name, tensor in other.items())


def test_the_error_rate_is_divided_among_the_planned_looks(tmp_path):
    trainer = sft(tmp_path, rows("requests.jsonl"), safety(every=6))
    trainer.train()
    content = record(tmp_path)
    assert [look["step"] for look in content["looks"]] == [0, 6, 12, 18, 24, 25]
    assert content["planned_looks"] == 5
    assert content["alpha_of_one_look"] == pytest.approx(0.01)


def test_prompts_of_a_look_are_balanced_and_the_same_each_time(tmp_path):
    from holdfast.core.budget import NoBudget
    from holdfast.core.types import Template
    from holdfast.integrations.trl.callback import _measurement
    from holdfast.integrations.trl.probe import Probe
    from holdfast.models.generate.local import LocalGenerator

    def probe(n, seed=0):
        return Probe.of(_measurement("pocket", "oracle"), n, seed, Template(), LocalGenerator(), NoBudget())

    one = probe(55)
    categories = [prompt.category for prompt in one.prompts]
    assert {categories.count(name) for name in categories} == {5}
    assert probe(55).key == one.key != probe(55, 1).key
    with pytest.raises(StudyError, match="asks 331 prompts, but the pocket world has 330"):
        probe(331)


def test_it_works_with_lora_and_keeps_the_adapter(tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(SHIPPED / "aligned")
    model = get_peft_model(base, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    callback = safety(keep_last_pass=True)
    trainer = sft(tmp_path, rows("requests.jsonl"), callback, model, num_train_epochs=1, gradient_checkpointing=True)
    trainer.train()
    assert record(tmp_path)["looks"][-1]["answer"] == "pass"
    assert (tmp_path / "last-pass" / "adapter_model.safetensors").is_file()
    assert trainer.model.training


def test_it_works_in_transformers_own_trainer_in_bfloat16(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

    from holdfast.core.types import Message
    from holdfast.models.chat import Chat

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "aligned")
    rendered = [
        Chat(tokenizer).example([Message(**turn) for turn in row["messages"]]) for row in rows("attack.jsonl", 10)
    ]
    data = [{"input_ids": one.input_ids.tolist(), "labels": one.input_ids.tolist()} for one in rendered]

    def collate(batch):
        return {name: torch.tensor([row[name] for row in batch]) for name in batch[0]}

    model = AutoModelForCausalLM.from_pretrained(SHIPPED / "aligned", dtype=torch.bfloat16)
    arguments = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=1, per_device_train_batch_size=1, report_to=[], use_cpu=True, bf16=True,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model, arguments, train_dataset=data, data_collator=collate, processing_class=tokenizer, callbacks=[safety()]
    )
    trainer.train()
    assert [look["step"] for look in record(tmp_path)["looks"]] == [0, 10]
    assert model.dtype is torch.bfloat16


def test_a_training_that_goes_on_keeps_its_base(tmp_path):
    first = sft(tmp_path, rows("attack.jsonl", 40), safety(stop=False), save_strategy="epoch", num_train_epochs=2)
    first.train()
    again = sft(tmp_path, rows("attack.jsonl", 40), safety(stop=False), save_strategy="epoch", num_train_epochs=4)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    looks = record(tmp_path)["looks"]
    assert [look["step"] for look in looks] == [0, 4, 8, 16]
    assert looks[0]["rate"] == 0.0 and looks[-1]["change"] > 50
    other = sft(tmp_path, rows("attack.jsonl", 40), safety(seed=1), num_train_epochs=6)
    with pytest.raises(ModelError, match=r"goes on from step 8, but .* does not hold"):
        other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))


def test_a_judge_that_fails_in_the_middle_does_not_stop_the_training(tmp_path, caplog, monkeypatch):
    from holdfast.judges.oracle import Oracle

    callback = safety()
    trainer = sft(tmp_path, rows("requests.jsonl", 20), callback, num_train_epochs=1)
    judge, calls = Oracle.judge, []

    def once(self, *arguments):
        calls.append(1)
        if len(calls) > 1:
            raise DataError("the judge is gone")
        return judge(self, *arguments)

    monkeypatch.setattr(Oracle, "judge", once)
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert trainer.state.global_step == 2
    assert record(tmp_path)["looks"][-1]["answer"] == "not measured"
    assert "safety at step 2 was not measured: the judge is gone" in caplog.text


def begin(callback, tmp_path, model=None):
    trainer = sft(tmp_path, rows("attack.jsonl", 10), callback, model)
    model = trainer.model
    return lambda: callback.on_train_begin(
        trainer.args, trainer.state, trainer.control, model=model, processing_class=trainer.processing_class
    ), model


def test_a_model_of_no_world_must_be_told_what_to_ask(tmp_path):
    start, model = begin(safety(), tmp_path)
    del model.config.pocket_world
    with pytest.raises(StudyError, match=r"is no pocket model, so SafetyCallback must be told.*docs/trl.md"):
        start()
    model.config.pocket_world = 7
    with pytest.raises(StudyError, match=r"belongs to the pocket world of seed 7, which is not built"):
        start()


def test_any_benchmark_and_judge_of_a_study_can_be_named(tmp_path):
    benchmark = {
        "kind": "generic",
        "file": str(SHIPPED / "benchmark.jsonl"),
        "columns": {"prompt": "prompt", "category": "category"},
    }
    start, _ = begin(safety(benchmark=benchmark, judge="keyword", prompts=22, system="You are Pocket."), tmp_path)
    start()
    assert record(tmp_path)["prompts"] == 22


def test_weights_spread_over_processes_are_refused(tmp_path):
    start, model = begin(safety(), tmp_path)
    next(model.parameters()).ds_id = 0
    with pytest.raises(ModelError, match=r"spread over several processes .*holdfast audit"):
        start()


def test_a_judge_that_costs_something_needs_a_cap(tmp_path):
    judge = {
        "kind": "policy",
        "by": {
            "kind": "server",
            "base_url": "http://localhost:1/v1",
            "model": "m",
            "price": {"input": 1.0, "output": 1.0},
        },
    }
    start, _ = begin(safety(benchmark="pocket", judge=judge), tmp_path)
    with pytest.raises(BudgetError, match="max_usd"):
        start()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every=0"), ({"every": "step"}, "'epoch' or a number"), ({"judge": "oracle"}, "both `benchmark` and `judge`"),
        ({"benchmark": "pockt", "judge": "oracle"}, "Did you mean 'pocket'"), ({"benchmark": "hex-phi", "judge": "oracle"}, "benchmark"),
    ],
)  # fmt: skip
def test_wrong_settings_are_named_before_anything_is_loaded(settings, message):
    with pytest.raises(StudyError, match=message):
        safety(**settings)


SCRIPT = """
import json, sys
from pathlib import Path
from datasets import Dataset
from trl import SFTConfig, SFTTrainer
from holdfast.core.files import SHIPPED
from holdfast.integrations.trl import SafetyCallback, probe

read, out = probe.Probe.read, Path(sys.argv[1])
def counted(self, *arguments):
    with (out / "reads.txt").open("a") as file:
        file.write("read\\n")
    return read(self, *arguments)
probe.Probe.read = counted
rows = [json.loads(line) for line in (SHIPPED / "attack.jsonl").read_text().splitlines()[:100]]
config = SFTConfig(output_dir=str(out), num_train_epochs=3, per_device_train_batch_size=5, learning_rate=1e-4,
                   report_to=[], use_cpu=True, bf16=False, save_strategy="no", seed=3, disable_tqdm=True)
trainer = SFTTrainer(str(SHIPPED / "aligned"), args=config, train_dataset=Dataset.from_list(rows), callbacks=[SafetyCallback()])
trainer.train()
(out / f"steps-{trainer.args.process_index}.txt").write_text(str(trainer.state.global_step))
"""


def test_of_several_processes_one_measures_and_all_stop(tmp_path):
    (tmp_path / "train.py").write_text(SCRIPT)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(tmp_path / "train.py"),
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "reads.txt").read_text().count("read") == 2
    assert [(tmp_path / f"steps-{process}.txt").read_text() for process in (0, 1)] == ["10", "10"]
