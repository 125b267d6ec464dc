import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support.studies import write_rows
from typer.testing import CliRunner

from holdfast import __version__
from holdfast.cli import app
from holdfast.judges.injection_tests import Tried

runner = CliRunner()


@pytest.mark.long
def test_help_takes_less_than_half_a_second():
    """Of processor time, which does not depend on what else the machine does."""
    command = [sys.executable, "-m", "holdfast", "--help"]
    subprocess.run(command, capture_output=True, check=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_help_says_what_the_exit_codes_mean():
    shown = " ".join(runner.invoke(app, ["--help"]).output.split())
    assert "0 done" in shown and "130 stopped with Ctrl-C; 143 stopped with SIGTERM" in shown


def test_version():
    assert runner.invoke(app, ["--version"]).output.strip() == f"holdfast {__version__}"


def test_list_names_what_there_is():
    said = runner.invoke(app, ["list"]).output
    for word in (
        "pocket",
        "oracle",
        "keyword",
        "explicit-harm",
        "identity-shift",
        "messages",
        "safety-mix",
        "local",
        "demo",
    ):
        assert word in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nothing.yaml"], "there is no study file nothing.yaml"),
        (["run", "demo", "--seeds", "1,x"], "--seeds takes whole numbers"),
        (["run", "demo", "--seeds", "1,1"], "--seeds takes distinct whole numbers"),
        (["report", "nowhere"], "Finish the run first"),
    ],
)
def test_what_a_user_can_mend_is_a_message_and_not_a_traceback(arguments, said):
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("command", ["run", "doctor", "test-judge"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# für mich\nname: x\n".encode("latin-1"), "mine.yaml, line 1: not UTF-8: byte 0xFC, which is 'ü'"),
        ("name: x\n".encode("utf-16"), "mine.yaml is encoded in UTF-16, not UTF-8"),
        (b"", "a study must be a mapping with name, model, evaluate and conditions"),
        (b"name: [x\n", "not YAML"),
    ],
)
def test_a_study_that_cannot_be_read_is_named(command, content, said, tmp_path):
    (tmp_path / "mine.yaml").write_bytes(content)
    done = runner.invoke(app, [command, str(tmp_path / "mine.yaml")])
    assert done.exit_code == 2
    assert said in done.output


def test_a_study_may_begin_with_a_byte_order_mark(small):
    from holdfast.study import loader

    path = small()
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert loader.read(path).name == "small"


def test_an_unexpected_error_shows_its_traceback_and_where_to_report_it(monkeypatch):
    monkeypatch.setattr("holdfast.study.loader.find", lambda _: 1 / 0)
    done = runner.invoke(app, ["run", "demo"])
    assert done.exit_code == 70
    assert "ZeroDivisionError" in done.output
    assert "Please report it" in done.output


def test_ctrl_c_says_that_finished_work_is_kept(monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("holdfast.study.loader.find", stop)
    done = runner.invoke(app, ["run", "demo"])
    assert done.exit_code == 130
    assert "the same command goes on from there" in done.output


@pytest.fixture
def output_to(tmp_path, small, monkeypatch):
    """Each command that writes, as a function of where it is told to write."""

    def write_one_log(_, out):
        out.mkdir(parents=True, exist_ok=True)
        (out / "log").write_text("")
        return [out / "log"]

    monkeypatch.setattr("holdfast.integrations.inspect.export.export", write_one_log)
    labels = write_rows(tmp_path / "labels.jsonl", [
        {"prompt": "Hi?", "answer": f"Sure, {n}.", "label": 5} for n in range(4)
    ])  # fmt: skip
    return {
        "doctor": lambda out: ["doctor", str(small()), "--out", out],
        "run": lambda out: ["run", str(small()), "--out", out, "--workers", "1"],
        "reproduce": lambda out: ["reproduce", "table1", "--out", out, "--workers", "1"],
        "calibrate": lambda out: ["calibrate", "keyword", "--labels", str(labels), "--out", f"{out}/calibration.json"],
        "export": lambda out: ["export", str(tmp_path), "--inspect", out],
    }


WRITERS = ["doctor", "run", "reproduce", "calibrate", "export"]


def one_clear_line(done, *parts):
    assert done.exit_code in (1, 2), done.output
    assert "Traceback" not in done.output
    shown = " ".join(done.output.split())
    for part in parts:
        assert part in shown, done.output


@pytest.mark.parametrize("command", WRITERS)
def test_an_output_that_cannot_be_made_is_named(command, output_to, tmp_path):
    """A file where a folder is needed, and a folder below a file."""
    (tmp_path / "file").write_text("in the way")
    one_clear_line(runner.invoke(app, output_to[command](str(tmp_path / "file"))), "file")
    one_clear_line(runner.invoke(app, output_to[command](str(tmp_path / "file" / "below"))), "is a file")


@pytest.mark.parametrize("command", WRITERS)
def test_a_full_disk_is_said_in_one_line(command, output_to, tmp_path, monkeypatch):
    opened = Path.open

    def full(file, mode="r", *more, **options):
        if set(mode) & set("wxa+"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(file, mode, *more, **options)

    arguments = output_to[command](str(tmp_path / "out"))
    monkeypatch.setattr("pathlib.Path.open", full)
    one_clear_line(runner.invoke(app, arguments), "the disk has no room left")


def test_an_output_without_permission_is_named(output_to, tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    arguments = output_to["run"](str(tmp_path / "out"))
    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    one_clear_line(runner.invoke(app, arguments), f"{tmp_path}/out: you may not read or write there")


@pytest.mark.parametrize(("n_without_score", "status"), [(0, 0), (2, 0), (10, 1)])
def test_a_judge_that_gives_half_of_its_cases_no_score_does_not_pass(n_without_score, status, tmp_path, monkeypatch):
    def attempt(*_):
        return [
            Tried("form", 5, 1, 5, "unparsed", None, "")
            if n < n_without_score
            else Tried("form", 5, 1, 5, "scored", 5, "")
            for n in range(20)
        ]

    monkeypatch.setattr("holdfast.judges.injection_tests.attempt", attempt)
    file = tmp_path / "judge.yaml"
    file.write_text("kind: policy\nby: {kind: server, base_url: http://localhost:1, model: m}\n")
    done = runner.invoke(app, ["test-judge", str(file), "--out", str(tmp_path)])
    assert done.exit_code == status, done.output
    assert ("Too many cases have no score" in done.output) == bool(status)


def completed(*words):
    """What the shell offers behind `holdfast` and the words, the last of which is being typed."""
    told = {"COMP_WORDS": " ".join(["holdfast", *words]), "COMP_CWORD": str(len(words))}
    environment = {**os.environ, **told, "_HOLDFAST_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "holdfast"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.long
def test_the_shell_completes_commands_studies_files_and_judges(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo-of-mine.yaml").touch()
    (tmp_path / "demo.txt").touch()
    assert completed("rep") == ["reproduce", "report"]
    assert completed("run", "dem") == ["demo", "demo-of-mine.yaml"]
    assert completed("calibrate", "key") == ["keyword"]
    assert completed("init", "--benchmark", "str") == ["strongreject"]
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # so that the shell can be named
    assert "complete_bash" in runner.invoke(app, ["--show-completion", "bash"]).output
