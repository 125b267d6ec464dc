"""Damage in a run folder: readers name file and line, and the run makes again what it can, and nothing else."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from support.studies import BROUGHT, SMALL, Silent, figures, rows_of, write_rows

from holdfast.core import durable
from holdfast.core.budget import FileBudget
from holdfast.core.errors import DamagedError, ModelError, RunFolderError
from holdfast.core.files import SHIPPED, write_atomically
from holdfast.core.jsonl import Appender
from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Answer
from holdfast.models.generate.local import LocalGenerator
from holdfast.study import loader, run

LINES = [b"{", b"", b"[1]", b'{"prompt_id": "x"}', b"\xff\xfe", b"null", b'{"a": 1}\r{"b": 2}', b"[" * 5000]
"""What a line can be damaged to."""


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of a finished run and its study."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def asked(monkeypatch):
    """The prompts that a model was asked."""
    ids = []
    answers = LocalGenerator.answers

    def counted(self, checkpoint, conversations, done, *rest):
        ids.extend(conversations.keys() - done)
        return answers(self, checkpoint, conversations, done, *rest)

    monkeypatch.setattr(LocalGenerator, "answers", counted)
    return ids


def go_on(folder, study=BROUGHT):
    """Run again; the notes."""
    watcher = Silent()
    run.run(loader.from_dict(study, folder), "as given", folder / "run", [0], 1, watcher)
    return [name for name in watcher.names if "damaged" in name]


def contents(folder):
    """What the run folder holds, in any order of lines."""
    files = [path for path in (folder / "run").rglob("*.json*") if ".damaged" not in path.name]
    return {path.relative_to(folder): sorted(path.read_bytes().splitlines()) for path in files}


def spoil(path, line, at=1):
    """Put something else in the place of a line; what was there."""
    lines = path.read_bytes().split(b"\n")
    there, lines[at] = lines[at], line
    path.write_bytes(b"\n".join(lines))
    return json.loads(there)


@pytest.mark.long
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", ["answers.jsonl", "verdicts.harmfulness.oracle-*.jsonl"])
def test_a_damaged_line_is_named_and_only_what_it_held_is_made_again(copied, asked, name, line):
    before = contents(copied)
    [path, *_] = sorted(copied.glob(f"run/conditions/*/{name}"))
    was_there = spoil(path, line)
    with pytest.raises(DamagedError, match=rf"{path.name}, line 2 is damaged: .*holdfast run.* mends it"):
        read_all(copied)
    [note] = go_on(copied)
    assert f"{path}, line 2 was damaged" in note and f"kept in {path.name}.damaged" in note
    assert asked == ([was_there["prompt_id"]] if name == "answers.jsonl" else [])
    assert contents(copied) == before
    assert line in path.with_name(f"{path.name}.damaged").read_bytes()
    assert go_on(copied) == []


def read_all(folder):
    """Read everything as the page with all answers does."""
    run_folder = RunFolder(folder / "run")
    run.write_page(run_folder, run_folder.results(), show_answers=True)


def test_many_damaged_lines_of_a_file_are_one_message(copied):
    [path, *_] = sorted(copied.glob("run/conditions/*/answers.jsonl"))
    path.write_bytes(b"x\n" * 12 + path.read_bytes())
    [note] = go_on(copied)
    assert "lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 … were damaged" in note


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"schema": 3}', b"[" * 100_000])
def test_a_results_file_that_cannot_be_read_is_made_again(copied, asked, content):
    before = contents(copied)
    path = copied / "run" / "results.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"(?s)results\.json .*`holdfast run` with the same study and folder"):
        RunResults.read(copied / "run")
    [note] = go_on(copied)
    assert str(path) in note and "kept in results.json.damaged" in note
    assert (copied / "run" / "results.json.damaged").read_bytes() == content
    assert (asked, contents(copied)) == ([], before)


def test_a_results_file_of_another_study_that_cannot_be_read_is_not_replaced(copied):
    (copied / "run" / "results.json").write_text("{")
    with pytest.raises(RunFolderError, match="holds the results of another study"):
        go_on(copied, {**BROUGHT, "generate": {"max_new_tokens": 20}})
    assert (copied / "run" / "results.json").read_text() == "{"


@pytest.mark.parametrize("name", ["prompts.jsonl", "study.yaml", "study.resolved.yaml"])
def test_what_follows_from_the_study_is_written_again(copied, asked, name):
    go_on(copied)  # paths in the settings are of the copy now
    path = copied / "run" / name
    before = path.read_bytes()
    path.write_bytes(b"\xff" + before[:-5])
    if name == "prompts.jsonl":
        with pytest.raises(DamagedError, match=r"prompts\.jsonl, line 1 is damaged: .*holdfast run"):
            read_all(copied)
    go_on(copied)
    assert path.read_bytes() == before
    assert asked == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_what_determines_a_condition_is_written_again(copied, asked, content):
    before = contents(copied)
    for path in copied.glob("run/conditions/*/condition.json"):
        path.write_bytes(content)
    assert len(go_on(copied)) == 3
    assert (asked, contents(copied)) == ([], before)


def test_a_damaged_check_of_a_judge_is_set_aside(copied):
    (copied / "run" / "judges.jsonl").write_text('{"judge": 1}\n')
    [note] = go_on(copied)
    assert "judges.jsonl, line 1 was damaged" in note


@pytest.mark.parametrize("content", [b'{"steps": 4, "los', pytest.param(b"", marks=pytest.mark.long)])
def test_a_damaged_training_record_is_made_again_by_tuning_again(tmp_path, asked, content):
    study = {**SMALL, "evaluate": BROUGHT["evaluate"], "conditions": {"harm-2": SMALL["conditions"]["harm-2"]}}
    study["templates"] = BROUGHT["templates"]
    write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::60])
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))
    go_on(tmp_path, study)
    before = figures(tmp_path / "run")
    [path] = tmp_path.glob("run/conditions/*/training.json")
    path.write_bytes(content)
    asked.clear()
    [note] = go_on(tmp_path, study)
    assert str(path) in note
    assert (asked, figures(tmp_path / "run")) == ([], before)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_lines_that_cannot_be_set_aside_stay_where_they_were(copied, monkeypatch):
    [path, *_] = sorted(copied.glob("run/conditions/*/answers.jsonl"))
    spoil(path, b"{")
    before = path.read_bytes()
    monkeypatch.setattr(durable.os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        go_on(copied)
    assert path.read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_what_must_last_reaches_the_disk_before_anything_is_built_on_it(tmp_path, monkeypatch):
    """Files by fsync of the file; new names by fsync of the folder, after the name is there."""
    synced = []
    names = Path("/proc/self/fd")
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(str((names / str(descriptor)).readlink())))
    folder = RunFolder(tmp_path / "run").condition("key")
    folder.add_answers([Answer("1", "answered", "text")])
    path = str(folder.folder / "answers.jsonl")
    assert synced[-2:] == [path, str(folder.folder)]
    assert {str(tmp_path), str(tmp_path / "run"), str(tmp_path / "run" / "conditions")} <= set(synced)
    synced.clear()
    folder.add_answers([Answer("2", "answered", "text"), Answer("3", "answered", "text")])
    assert synced == [path]
    synced.clear()
    write_atomically(tmp_path / "run" / "results.json", "{}")
    assert [name.rsplit("/", 1)[1].split(".")[:2] for name in synced] == [["", "results"], ["run"]]
    synced.clear()
    FileBudget(tmp_path / "run" / "spending.jsonl").reserve(1.0, "a reply")
    assert str(tmp_path / "run" / "spending.jsonl") in synced


def test_lines_that_come_one_by_one_reach_the_disk_together(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with Appender(tmp_path / "answers.jsonl") as file:
        for n in range(100):
            file.add([{"n": n}])
        assert (tmp_path / "answers.jsonl").read_bytes().count(b"\n") == 100
        n_before = len(synced)
        monkeypatch.setattr("holdfast.core.jsonl.SYNC_EVERY", 0.0)
        file.add([{"n": 100}])
        assert len(synced) == n_before + 1
        monkeypatch.undo()
        monkeypatch.setattr(os, "fsync", synced.append)
        file.add([{"n": 101}])
    assert len(synced) == n_before + 2 < 10


def change_answer(folder):
    """Another text in the place of a harmfulness answer; the prompt, and the verdicts of its condition."""
    [path, *_] = sorted(folder.glob("run/conditions/*/answers.jsonl"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["text"] += " Take two spoons of salt."
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return rows[3]["prompt_id"], sorted(path.parent.glob("verdicts.*.jsonl"))


@pytest.mark.long
def test_an_answer_that_is_changed_under_its_verdicts_is_noticed_and_judged_again(copied, asked):
    name, paths = change_answer(copied)
    before = [path.read_bytes().splitlines() for path in paths]
    for read in (read_all, export_logs, calibrated, reported):
        with pytest.raises(DamagedError, match=rf"the verdict on the prompt {name} .*was changed after it was judged"):
            read(copied)
    notes = go_on(copied)
    assert [Path(note.split(",")[0]) for note in notes] == paths and len(paths) == 2
    assert asked == []
    for path, note, lines in zip(paths, notes, before, strict=True):
        [at] = [n for n, line in enumerate(lines) if json.loads(line)["prompt_id"] == name]
        assert f"line {at + 1} was damaged: the answer in answers.jsonl was changed after it was judged" in note
        *kept, new = path.read_bytes().splitlines()
        assert kept == lines[:at] + lines[at + 1 :]
        assert json.loads(new)["prompt_id"] == name
    for read in (read_all, export_logs, calibrated, reported):
        read(copied)
    assert go_on(copied) == []


def export_logs(folder):
    pytest.importorskip("inspect_ai")
    from holdfast.integrations.inspect.export import export

    export(RunFolder(folder / "run"), folder / f"logs-{len(list(folder.iterdir()))}")


def calibrated(folder):
    from holdfast.judges.calibrate import from_run

    from_run(RunFolder(folder / "run"), "keyword", "oracle", [], "", False)


def reported(folder):
    from holdfast.cli.run import report

    report(folder / "run")


@pytest.mark.parametrize("read", [read_all, reported, calibrated])
def test_an_answer_that_is_missing_is_named_and_not_a_traceback(copied, read):
    [path, *_] = sorted(copied.glob("run/conditions/*/answers.jsonl"))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[1:]))
    with pytest.raises(DamagedError, match=rf"has no answer to the prompt {json.loads(lines[0])['prompt_id']}"):
        read(copied)


def test_an_answer_made_again_that_comes_out_otherwise_is_judged_again(copied, monkeypatch):
    """As a server's may; its old verdicts are not taken for the new answer."""
    [path, *_] = sorted(copied.glob("run/conditions/*/answers.jsonl"))
    was_there = spoil(path, b"{")
    answers = LocalGenerator.answers
    monkeypatch.setattr(
        LocalGenerator,
        "answers",
        lambda *arguments: (
            [replace(each, text="", outcome="blocked") for each in some] for some in answers(*arguments)
        ),
    )
    notes = go_on(copied)
    assert len(notes) == 3 and all("was changed after it was judged" in note for note in notes[1:])
    for verdicts in path.parent.glob("verdicts.*.jsonl"):
        assert was_there["prompt_id"] not in verdicts.read_text()  # nobody can judge it now


@pytest.mark.parametrize("kept", [0, 5, 1000, 1_000_000])
@pytest.mark.parametrize("place", ["model", "checkpoint"])
def test_a_model_whose_file_was_cut_off_is_named_before_any_work(tmp_path, place, kept):
    shutil.copytree(SHIPPED / "helpful", tmp_path / "cut")
    path = tmp_path / "cut" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::60])
    cut = {"model": {"model": str(tmp_path / "cut")}, "checkpoint": {"conditions": {"x": {"checkpoint": "cut"}}}}
    with pytest.raises(ModelError, match=r"model\.safetensors is not a whole safetensors file: .*Fetch it again"):
        go_on(tmp_path, {**BROUGHT, **cut[place]})
    assert not (tmp_path / "run" / "conditions").exists()
