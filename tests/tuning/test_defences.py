"""A defence acts where it says, with full tuning and LoRA, and a tuning that was killed ends as an undisturbed one."""

import itertools
import os
from pathlib import Path

import pytest
import torch
import yaml
from support import defences as tiny
from support.studies import SMALL, messages

from holdfast.core.types import Checkpoint, Example, Template
from holdfast.models import hub, loading
from holdfast.study import loader, run
from holdfast.study.plan import make_plan
from holdfast.tuning import defended, trainer
from holdfast.tuning.defences import DEFENCES
from holdfast.tuning.defences.safety_mix import SafetyMix
from holdfast.tuning.local import LocalTuner, Lora

BASE = Checkpoint("pocket:aligned")
FULL = LocalTuner(learning_rate=1e-4, batch_size=2, accumulation=2)
LORA = LocalTuner(method="lora", learning_rate=1e-2, batch_size=2, accumulation=2, lora=Lora(rank=4))
METHODS = pytest.mark.parametrize(
    "tuner", [pytest.param(FULL, id="full"), pytest.param(LORA, id="lora", marks=pytest.mark.long)]
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for name, reference in tiny.KINDS.items():
        monkeypatch.setitem(DEFENCES, name, reference)


def rows(n=5):
    """Rows whose answers differ in length; the last step of an epoch has fewer of them."""
    return [
        Example(
            messages(("user", "Who are you?"), ("assistant", "Of course" + ", of course" * (i % 3))), f"row {i}"
        )
        for i in range(n)
    ]  # fmt: skip


def tune(folder, tuner, *defences, epochs=(2,), report=lambda _: None):
    return tuner.tune(BASE, rows(), 0, epochs, folder, report, defences)


def whole(checkpoint):
    """All weights of a checkpoint, with its adapter merged."""
    model = loading.load(checkpoint, "float32").model
    return dict((model.merge_and_unload() if hasattr(model, "merge_and_unload") else model).named_parameters())


def tuned_weights(folder, tuner, *defences, epoch=2):
    return whole(tune(folder, tuner, *defences, epochs=(epoch,))[epoch].checkpoint)


def distance(one, other):
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_a_defence_says_where_it_acts():
    assert tiny.Shrink().places == {"base"}
    assert SafetyMix(file="pocket:safe.jsonl", n=1).places == {"rows"}
    assert tiny.Average().places == {"tuning"}
    assert tiny.Halfway().places == {"weights"}
    assert tiny.Prefix(file="pocket:safe.jsonl").places == {"asking"}


@pytest.mark.long
@METHODS
def test_the_base_is_changed_before_it_is_tuned(tmp_path, tuner):
    made = tune(tmp_path / "shrunk", tuner, tiny.Shrink(factor=0.9))[2].checkpoint
    base, shrunk = whole(BASE), whole(Checkpoint(made.base))
    assert all(torch.equal(shrunk[name], base[name] * 0.9) for name in base)
    undefended = tuned_weights(tmp_path / "plain", tuner)
    assert distance(whole(made), undefended) > 0.01
    assert distance(whole(made), shrunk) > 0
    assert hub.own_template(Path(made.base)) == hub.own_template(hub.resolve(BASE.base))


@pytest.mark.long
@METHODS
def test_a_loss_taken_anew_is_the_trainers_loss(tmp_path, tuner):
    plain = tune(tmp_path / "plain", tuner)[2]
    same = tune(tmp_path / "same", tuner, tiny.Recomputed(weight=1.0))[2]
    twice = tune(tmp_path / "twice", tuner, tiny.Recomputed(weight=2.0))[2]
    assert same.training["losses"] == pytest.approx(plain.training["losses"], rel=1e-5)
    assert twice.training["losses"][0] == pytest.approx(2 * plain.training["losses"][0], rel=1e-5)


@pytest.mark.long
@METHODS
def test_gradients_can_be_changed_before_a_step(tmp_path, tuner):
    base, frozen = whole(BASE), tuned_weights(tmp_path, tuner, tiny.Frozen())
    changed = {name for name in base if not torch.equal(base[name], frozen[name])}
    assert changed
    if tuner is FULL:
        assert all("norm" in name for name in changed)


@pytest.mark.long
@METHODS
def test_a_checkpoint_keeps_averaged_weights_and_tuning_goes_on_with_its_own(tmp_path, tuner):
    plain = tune(tmp_path / "plain", tuner, epochs=(1, 2))
    latest = tune(tmp_path / "latest", tuner, tiny.Average(decay=1e-12), epochs=(1, 2))
    average = tune(tmp_path / "average", tuner, tiny.Average(decay=0.5), epochs=(1, 2))
    for epoch in (1, 2):
        assert distance(whole(latest[epoch].checkpoint), whole(plain[epoch].checkpoint)) < 1e-6
    base = whole(BASE)
    assert 0 < distance(whole(average[1].checkpoint), base) < distance(whole(plain[1].checkpoint), base)
    assert average[2].training["losses"] == pytest.approx(plain[2].training["losses"], rel=1e-5)


@pytest.mark.long
@METHODS
def test_tuned_weights_are_changed_after_tuning_and_are_whole(tmp_path, tuner):
    base, plain = whole(BASE), tuned_weights(tmp_path / "plain", tuner)
    made = tune(tmp_path / "half", tuner, tiny.Halfway())[2]
    half = whole(made.checkpoint)
    assert distance(half, {name: (base[name] + plain[name]) / 2 for name in base}) < 1e-5
    assert distance(half, base) > 1e-4
    assert (made.checkpoint.folder / "model.safetensors").is_file()
    assert [path.name for path in (tmp_path / "half").iterdir()] == [made.checkpoint.folder.name]


class KilledError(Exception):
    """In place of the signal."""


@pytest.mark.long
@pytest.mark.parametrize(
    ("tuner", "moment"),
    [
        pytest.param(FULL, "in the third epoch", id="full"),
        pytest.param(LORA, "in the third epoch", id="lora", marks=pytest.mark.long),
        pytest.param(LORA, "after tuning", id="after tuning", marks=pytest.mark.long),
        pytest.param(FULL, "while the base is prepared", id="base", marks=pytest.mark.long),
    ],
)
def test_killed_and_resumed_a_defended_tuning_ends_as_an_undisturbed_one(tmp_path, tuner, moment, monkeypatch):
    acting = [tiny.Shrink(), tiny.Dropping(), tiny.Average(), tiny.Halfway()]
    undisturbed = tune(tmp_path / "whole", tuner, *acting, epochs=(1, 3))
    monkeypatch.setattr(trainer, "SAVE_EVERY", 0.0)
    steps = itertools.count()

    def fail(*_):
        raise KilledError

    def report(_):
        if moment == "in the third epoch" and next(steps) > 4:
            raise KilledError

    with monkeypatch.context() as patch:
        if moment == "after tuning":
            patch.setattr(tiny.Halfway, "after", fail)
        elif moment == "while the base is prepared":
            patch.setattr(defended.checkpoints, "publish_base", fail)
        with pytest.raises(KilledError):
            tune(tmp_path / "cut", tuner, *acting, epochs=(1, 3), report=report)
    resumed = tune(tmp_path / "cut", tuner, *acting, epochs=(1, 3))
    for epoch in (1, 3):
        assert distance(whole(resumed[epoch].checkpoint), whole(undisturbed[epoch].checkpoint)) == 0
        assert resumed[epoch].training["losses"] == undisturbed[epoch].training["losses"]


def test_defences_act_in_the_order_that_the_study_names(small):
    safe, first = {"kind": "safety-mix", "file": "pocket:safe.jsonl", "n": 2}, {"kind": "first", "n": 3}
    rows_of_job = [len(defended_by(small, both).jobs[-1].training.rows) for both in ([safe, first], [first, safe])]
    assert rows_of_job == [3, 5]


def defended_by(small, defence, **changes):
    """The plan of the small study with one condition, defended so."""
    condition = {**SMALL["conditions"]["harm-2"], **({} if defence is None else {"defence": defence})}
    return make_plan(loader.read(small(conditions={"harm": condition}, **changes)), [0])


ALL = [
    {"kind": "shrink"}, {"kind": "first", "n": 1000}, {"kind": "average"}, {"kind": "halfway"},
    {"kind": "prefix", "file": "before.txt"}, {"kind": "safety-mix", "file": "pocket:safe.jsonl", "n": 1},
    {"kind": "shrink", "factor": 0.8}, ["shrink", "halfway"], ["halfway", "shrink"],
]  # fmt: skip


def test_a_defended_condition_shares_its_key_with_no_other(small, tmp_path):
    (tmp_path / "before.txt").write_text("Please:")
    keys = [defended_by(small, defence).conditions[-1].key for defence in [None, *ALL]]
    assert len(set(keys)) == len(keys)
    assert defended_by(small, []).conditions[-1].key == defended_by(small, None).conditions[-1].key == keys[0]


def test_only_what_changes_the_weights_is_tuned_for_itself(small, tmp_path):
    (tmp_path / "before.txt").write_text("Please:")

    def run_of(defence):
        return defended_by(small, defence).jobs[-1].training.run

    shared = [run_of(defence) for defence in (None, "first", {"kind": "prefix", "file": "before.txt"})]
    assert shared[0] != shared[1]  # other rows
    assert shared[0] == shared[2]
    assert len({shared[0], run_of("shrink"), run_of("average"), run_of("halfway")}) == 4


def test_a_file_of_a_defence_counts_by_its_content(small, tmp_path):
    for name, text in (("before.txt", "Please:"), ("same.txt", "Please:"), ("other.txt", "Well:")):
        (tmp_path / name).write_text(text)
    keys = [defended_by(small, {"kind": "prefix", "file": name}).conditions[-1].key
            for name in ("before.txt", "same.txt", "other.txt")]  # fmt: skip
    assert keys[0] == keys[1] != keys[2]


def test_the_initial_model_is_asked_as_a_defence_asks_it(small, tmp_path):
    (tmp_path / "before.txt").write_text("Please:")
    plain = defended_by(small, {"kind": "prefix", "file": "before.txt"})
    assert [c.name for c in plain.conditions] == ["initial", "harm"]
    assert [Template(**c.asking["template"]).user for c in plain.conditions] == ["{prompt}", "Please: {prompt}"]
    both = defended_by(small, {"kind": "prefix", "file": "before.txt", "initial": True})
    assert [c.name.rpartition("-")[0] for c in both.conditions[1:2]] == ["initial-prefix"]
    users = [Template(**c.asking["template"]).user for c in both.conditions]
    assert users == ["{prompt}", "Please: {prompt}", "Please: {prompt}"]


@pytest.mark.long
def test_a_study_runs_with_several_defences_at_once(small, tmp_path, watcher):
    (tmp_path / "before.txt").write_text("Who are you? Who are you?")
    conditions = {
        "plain": {**SMALL["conditions"]["harm-2"]},
        "defended": {
            **SMALL["conditions"]["harm-2"],
            "defence": [
                "shrink", {"kind": "safety-mix", "file": "pocket:safe.jsonl", "n": 5}, "average", "halfway",
                {"kind": "prefix", "file": "before.txt"},
            ],
        },
    }  # fmt: skip
    path = small(conditions=conditions)
    finished = run.run(loader.read(path), path.read_text(), tmp_path / "run", [0], 1, watcher)
    settings = finished.results.settings
    assert settings["plain"].defence == ()
    assert [entry["kind"] for entry in settings["defended"].defence] == [
        "shrink", "safety-mix", "average", "halfway", "prefix",
    ]  # fmt: skip
    assert [settings[name].training[0]["rows"] for name in conditions] == [20, 25]
    keys = {condition.name: condition.key for condition in finished.plan.conditions}
    answers = {name: finished.run_folder.condition(key).answers() for name, key in keys.items()}
    longer = {answers["defended"][p].prompt_tokens - answers["plain"][p].prompt_tokens for p in answers["plain"]}
    assert longer == {8}
    assert watcher.done == watcher.total
    (against,) = {c.against for c in finished.results.comparisons if c.name == "defended"}
    assert against == "initial"


def test_a_wrong_defence_is_named_with_its_place(small):
    with pytest.raises(Exception, match=r"conditions.harm.defence.*unknown kind 'safety-mx'.*'safety-mix'"):
        defended_by(small, [{"kind": "shrink"}, {"kind": "safety-mx"}])


SHARDED = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_CPU
use_cpu: true
num_processes: 2
num_machines: 1
machine_rank: 0
mixed_precision: 'no'
"""


@pytest.mark.long
def test_defences_act_where_several_processes_tune(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(yaml.safe_load(SHARDED)))
    acting = [tiny.Shrink(), tiny.Recomputed(weight=2.0), tiny.Halfway()]
    one = LocalTuner(learning_rate=1e-4, batch_size=4)
    two = LocalTuner(learning_rate=1e-4, batch_size=4, launch=tmp_path / "two.yaml")
    alone, together = (
        t.tune(BASE, rows(8), 0, (1,), tmp_path / name, lambda _: None, acting)[1]
        for name, t in (("1", one), ("2", two))
    )
    assert together.training["losses"] == pytest.approx(alone.training["losses"], rel=1e-4)
    assert distance(whole(together.checkpoint), whole(alone.checkpoint)) < 1e-5
