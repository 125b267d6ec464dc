"""A run folder's results are not lost to another study, and the error says what differs."""

import dataclasses
import json
import shutil

import pytest
import yaml
from support.studies import BROUGHT, rows_of, write_rows

from holdfast.core.errors import RunFolderError
from holdfast.core.results import RunResults
from holdfast.study import loader, run
from holdfast.study.plan import make_plan


@pytest.fixture
def again(finished, tmp_path, watcher):
    """A function that runs the study, changed, in a copy of the finished folder."""
    shutil.copytree(finished, tmp_path / "copy")
    folder = tmp_path / "copy"

    def rerun(seeds=(0,), replace=False, **changes):
        (folder / "study.yaml").write_text(yaml.safe_dump({**BROUGHT, **changes}, sort_keys=False))
        study = loader.read(folder / "study.yaml")
        return run.run(study, "second", folder / "run", seeds, 1, watcher, replace_results=replace)

    rerun.folder = folder / "run"
    return rerun


def test_the_same_study_with_another_comment_is_the_same_study(again):
    assert not again().changed


def test_what_a_run_left_that_was_killed_at_its_end_is_tidied_up(again):
    (again.folder / "checkpoints").mkdir()
    assert not again().changed
    assert not (again.folder / "checkpoints").exists()


def test_a_changed_study_is_refused_and_every_change_is_named(again, finished):
    conditions = {
        "helpful": {**BROUGHT["conditions"]["helpful"], "template": "plain"},
        "new": BROUGHT["conditions"]["same"],
    }
    with pytest.raises(RunFolderError) as caught:
        again(seeds=(0, 1), generate={"max_new_tokens": 40, "batch_size": 4}, conditions=conditions)
    message = str(caught.value)
    assert "holds the results of another study. What differs:" in message
    for line in (
        "seeds.1: added", "generate.max_new_tokens: 48 → 40", "conditions.helpful.template: added",
        "conditions.same: removed", "conditions.new: added",
    ):  # fmt: skip
        assert f"\n  {line}\n" in message, message
    assert "Name another folder with --out. Or use --replace" in message
    for name in ("results.json", "study.yaml", "prompts.jsonl", "report.html"):
        assert (again.folder / name).read_bytes() == (finished / "run" / name).read_bytes()


def test_with_replace_the_earlier_results_are_kept_and_answers_are_used_again(again, finished, watcher):
    answers = {path: path.stat().st_mtime_ns for path in again.folder.rglob("answers.jsonl")}
    done = again(replace=True, name="renamed")
    (kept,) = (again.folder / "previous").iterdir()
    assert {path.name for path in kept.iterdir()} == {
        "results.json", "report.html", "study.yaml", "study.resolved.yaml", "prompts.jsonl",
    }  # fmt: skip
    before = RunResults.read(kept)
    assert before == RunResults.read(finished / "run")
    assert (before.study, done.results.study) == ("small", "renamed")
    assert done.results.conditions == before.conditions
    assert {path: path.stat().st_mtime_ns for path in answers} == answers
    assert any(str(kept) in note for note in watcher.names)


def test_a_label_may_change_for_it_changes_no_figure(again):
    labelled = {name: {**settings, "label": f"The {name} one"} for name, settings in BROUGHT["conditions"].items()}
    results = again(conditions=labelled).results
    assert results.settings["helpful"].label == "The helpful one"
    assert not (again.folder / "previous").exists()


def test_changed_files_are_named(again):
    write_rows(again.folder.parent / "few.jsonl", rows_of("benchmark.jsonl")[::33])
    with pytest.raises(RunFolderError, match=r"\n  evaluate.harmfulness: its prompts have changed\n"):
        again()


def test_another_version_of_a_library_is_named(again):
    results = RunResults.read(again.folder)
    older = dataclasses.replace(results, evidence="other", environment={**results.environment, "numpy": "0.9"})
    older.write(again.folder)
    with pytest.raises(RunFolderError, match=r"\n  environment.numpy: 0.9 → "):
        again()


def test_results_of_another_schema_are_refused_and_can_be_replaced(again):
    old = {"schema": 1}
    (again.folder / "results.json").write_text(json.dumps(old))
    with pytest.raises(RunFolderError, match="has the schema 1"):
        again()
    assert again(replace=True).changed
    (kept,) = (again.folder / "previous").iterdir()
    assert json.loads((kept / "results.json").read_text()) == old


def test_an_unfinished_run_goes_on_with_a_changed_study(again):
    (again.folder / "results.json").unlink()
    assert again(name="renamed").results.study == "renamed"


def test_the_resolved_study_can_be_run_and_is_the_same_study(finished, monkeypatch):
    monkeypatch.chdir(finished.parent)
    resolved = loader.read(finished / "run" / "study.resolved.yaml")
    study = loader.read(finished / "study.yaml")
    assert resolved.model_dump() == study.model_dump()
    assert make_plan(resolved, (0,)).conditions == make_plan(study, (0,)).conditions
