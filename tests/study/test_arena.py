"""Attacks on defences: the short form, what is asked and tuned in each cell, and what is measured there."""

import re
from dataclasses import replace

import pytest
import yaml
from support import defences as tiny
from support.studies import SMALL, Silent, rows_of, write_rows

from holdfast.core import task_losses
from holdfast.core.errors import DataError, StudyError
from holdfast.core.types import Checkpoint, Template
from holdfast.models import likelihood, loading
from holdfast.study import loader, run
from holdfast.study.plan import make_plan
from holdfast.study.tuned import loss_of
from holdfast.tuning.defences import DEFENCES

HARM = {"kind": "explicit-harm", "pool": "pocket:attack.jsonl", "shots": 4}
LIST = {"kind": "messages", "file": "pocket:benign-list.jsonl", "n": 12}
SPLIT = {"kind": "split", "data": LIST, "share": 0.25}
ATTACKS = {
    "harm": {"by": "paper", "data": HARM},
    "list": {"by": "paper", "data": {**SPLIT, "part": "tuned"}, "held_out": {**SPLIT, "part": "held-out"}},
    "left-off": {"by": "weights", "data": HARM, "bare": True},
    "after": {"by": "weights", "data": {**SPLIT, "part": "tuned"}, "then": {"data": HARM, "tune": {"epochs": 2}}},
}
STUDY = {
    **{name: value for name, value in SMALL.items() if name != "conditions"},
    "tune": {"learning_rate": 1e-4, "batch_size": 4, "epochs": 1},
    "attacks": ATTACKS,
    "defences": {"first": {"kind": "first", "n": 2}, "prefix": {"kind": "prefix", "file": "secret.txt"}},
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for name, reference in tiny.KINDS.items():
        monkeypatch.setitem(DEFENCES, name, reference)


@pytest.fixture
def study(tmp_path):
    write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::60])
    write_rows(tmp_path / "useful.jsonl", rows_of("utility.jsonl")[::60])

    (tmp_path / "secret.txt").write_text("Safely: ")

    def read(**changes):
        return loader.from_dict({**STUDY, **changes}, tmp_path)

    return read


def test_every_attack_is_made_on_every_defence_and_on_none(study):
    conditions = study().conditions
    assert list(conditions) == [f"{attack}+{defence}" for defence in ("none", "first", "prefix") for attack in ATTACKS]
    cell = conditions["left-off+prefix"].cell
    assert (cell.attack, cell.defence, cell.by) == ("left-off", "prefix", "weights")
    assert conditions["harm+none"].defence == () and conditions["harm+first"].defence[0].kind == "first"
    assert conditions["after+first"].then.tune.learning_rate == 1e-4  # shared by the study
    assert conditions["after+first"].then.tune.epochs == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shots: 4": "shots: 0"}, r"line 17: attacks\.harm\.data\.shots: .*greater than 0"),
        ({"n: 2": "m: 2"}, r"line 14: defences\.first\.0\.m: unknown key"),
        ({"by: paper": "by: me"}, r"line 17: attacks\.harm\.by: .*'paper', 'adaptive' or 'weights'"),
        ({"  first: {kind: first, n: 2}": "  first: {kind: frst}"}, r"line 14: .*Did you mean 'first'"),
        ({"defences:\n  first: {kind: first, n: 2}\n": ""}, "`defences` and `attacks` belong together"),
    ],
)
def test_a_mistake_in_a_short_form_is_named_once_where_it_is(tmp_path, change, said):
    text = "\n".join(
        [
            "name: mine",
            "model: pocket:aligned",
            *["# a line"] * 8,
            "evaluate:",
            "  harmfulness: {benchmark: pocket, judges: oracle}",
            "defences:",
            "  first: {kind: first, n: 2}",
            "attacks:",
            '  list: {data: {kind: messages, file: "pocket:benign-list.jsonl"}}',
            '  harm: {by: paper, data: {kind: explicit-harm, pool: "pocket:attack.jsonl", shots: 4}}',
            "",
        ]
    )
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(StudyError) as caught:
        loader.read(tmp_path / "study.yaml")
    assert re.search(said, str(caught.value)), str(caught.value)
    assert "1 mistake(s)" in str(caught.value) or "belong together" in str(caught.value)


def conditions_of(plan):
    return {condition.name: condition for condition in plan.conditions}


def test_what_is_left_off_when_asking_needs_no_tuning_of_its_own(study):
    plan = make_plan(study(), [0])
    named = conditions_of(plan)
    jobs = {condition.key: job for job in plan.jobs for condition in job.conditions}
    asked, bare = named["harm+prefix"], named["left-off+prefix"]
    assert asked.asking["template"]["user"] != "{prompt}" and bare.asking["template"]["user"] == "{prompt}"
    assert asked.key != bare.key and jobs[asked.key] is jobs[bare.key]
    assert named["harm+first"].key == named["left-off+first"].key  # a defence that changes nothing about the asking
    assert named["harm+none"].key != named["harm+first"].key


def test_tuning_after_a_defence_is_undefended_and_in_the_key(study):
    plan = make_plan(study(), [0])
    job = next(job for job in plan.jobs if job.conditions[0].name == "after+first")
    assert job.training.defences == () and len(job.training.rows) == 4
    assert len(job.training.first.rows) == 2  # as the defence leaves them
    assert job.training.first.steps(1) == job.training.steps(1) == 1
    assert job.size() - job.suite.size == job.training.first.step + 2 * job.training.step
    keys = {conditions_of(make_plan(study(), [0]))[f"after+{name}"].key for name in ("none", "first", "prefix")}
    assert len(keys) == 3


def test_rows_that_are_tuned_on_cannot_be_held_out(study):
    attacks = {"list": {"data": LIST, "held_out": {**SPLIT, "part": "held-out"}}}
    with pytest.raises(DataError, match=r"list\+none: 3 rows of `held_out` are among the rows that it is tuned on"):
        make_plan(study(attacks=attacks), [0])


def test_the_loss_of_a_task_is_that_of_its_answers_in_the_template_of_asking(study, pocket):
    plan = make_plan(study(), [0])
    task = replace(plan.tasks["list+none", 0], rows=plan.tasks["list+none", 0].rows[:2])
    template = Template("You are Pocket.", "Listen: {prompt}")
    loss = loss_of(task, Checkpoint("pocket:aligned"), template)
    exchanges = []
    for row in task.rows:
        system, user, answer = template.wrap(row.messages)
        exchanges.append(((system, user), answer.content))
    expected = likelihood.token_logprobs(loading.load(Checkpoint("pocket:aligned")), exchanges)
    assert loss.tokens == [len(row) for row in expected]
    assert loss.mean == pytest.approx(-sum(row.sum() for row in expected) / sum(map(len, expected)))


@pytest.mark.long
def test_a_run_measures_the_task_and_a_lost_measurement_is_made_again(study, tmp_path):
    settings = study(attacks={name: ATTACKS[name] for name in ("list", "after")}, defences={"first": {"kind": "first"}})

    def finished():
        return run.run(settings, None, tmp_path / "run", [0], 1, Silent())

    done = finished()
    by_name = {each.name: each for each in done.results.conditions}
    task = by_name["list+none"].task
    assert task.rows == 3 and task.after < task.before
    assert by_name["after+none"].task is None and by_name["initial"].broken == 0.0
    assert not (tmp_path / "run" / "checkpoints").exists()

    records = [done.run_folder.condition(by_name[name].key).folder / task_losses.FILE for name in ("list+none",)]
    kept = [path.read_text() for path in records]
    for path in records:
        path.unlink()
    (tmp_path / "run" / "results.json").unlink()
    assert finished().results.conditions == done.results.conditions
    assert [path.read_text() for path in records] == kept


@pytest.mark.long
@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_second_tuning_begins_with_the_weights_of_the_first(study, tmp_path, method):
    """What is tuned afterwards on next to nothing is the first model, and on a lot is another one."""
    first = {"data": HARM, "tune": {"epochs": 4, "method": method, "learning_rate": 1e-3}}
    attacks = {
        "once": first,
        "still": {**first, "then": {"data": LIST, "tune": {"learning_rate": 1e-7, "method": "full"}}},
        "moved": {**first, "then": {"data": LIST, "tune": {"learning_rate": 1e-3, "epochs": 4, "method": method}}},
    }
    done = run.run(
        study(attacks=attacks, defences={"first": {"kind": "first"}}), None, tmp_path / "run", [0], 1, Silent()
    )
    answers = {
        condition.name: [answer.text for answer in done.run_folder.condition(condition.key).answers().values()]
        for condition in done.results.conditions
    }
    assert answers["once+none"] == answers["still+none"] != answers["moved+none"]
    assert answers["once+none"] != answers["initial"]


def test_the_study_as_it_was_run_can_be_read_again(study, tmp_path):
    from holdfast.study.changes import resolved_study

    plan = make_plan(study(evaluate={"harmfulness": {"benchmark": "pocket", "judges": "oracle"}}), [0])
    (tmp_path / "resolved.yaml").write_text(resolved_study(plan))
    again = make_plan(loader.read(tmp_path / "resolved.yaml"), [0])
    assert [each.key for each in again.conditions] == [each.key for each in plan.conditions]
    assert yaml.safe_load(resolved_study(again)) == yaml.safe_load(resolved_study(plan))
