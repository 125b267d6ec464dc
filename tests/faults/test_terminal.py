"""Names and texts of others are shown on the terminal, and never obeyed: control characters and Rich's markup."""

import io
import json
import shutil

import pytest
import yaml
from rich.table import Table
from rich.text import Text
from support.endpoint_double import Double, fails
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.core.progress import Activity
from holdfast.core.terminal import OBEYED, Terminal, visible
from holdfast.core.watch import Watch

MARKUP, CONTROL = "mk[/bold]x [red]y[/] :smile:", "\x1b[2J\x1b]0;owned\x07\x9b1m\r\u202e\x00"
BOTH = MARKUP + CONTROL
NAME = "mk[/bold]x[red]\x1b[2J\u202e"
"""The path of a file or folder."""
SHOWN = "mk[/bold]x[red]\\x1b[2J\\u202e"
runner = CliRunner()


def invoke(*arguments, code=0):
    """What a command prints, after making sure that nothing in it controls the terminal."""
    done = runner.invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    assert not OBEYED.search(done.output), done.output
    return done.output


def written(path, text):
    """A file whose folder need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def received(finished, tmp_path):
    """A copy of a finished run under a hostile name, with hostile names inside."""
    folder = shutil.copytree(finished / "run", tmp_path / NAME)
    results = json.loads((folder / "results.json").read_text())
    results["model"]["name"] = BOTH
    results["trust"] = {"ok": False, "reasons": [BOTH]}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.mark.parametrize("bad", [CONTROL.strip("\0"), "\udcff", "\x1b]8;;http://a.example\x07x"])
@pytest.mark.parametrize(
    "before", [["run", "--"], ["--"], [""], ["run", "demo", "--out", "a", ""], ["run", "demo", "--workers", ""],
               ["run", "demo", "--seeds="], ["pocket", ""], ["serve", "keys", ""], ["reproduce", "--model="], ["gate", "a", "-"]],
)  # fmt: skip
def test_what_typer_says_of_an_argument_is_never_obeyed(before, bad):
    *arguments, last = before
    invoke(*arguments, f"{last}{bad}", code=2)


def test_an_option_that_typer_does_not_know_is_shown():
    assert "No such option: --a\\x1b[2Jb" in invoke("run", "--a\x1b[2Jb", code=2)


@pytest.mark.parametrize("terminal", [True, False])
def test_whatever_is_printed_is_shown(terminal):
    console = Terminal(file=io.StringIO(), force_terminal=terminal, width=300, color_system=None)
    table = Table(BOTH, title=BOTH, caption=BOTH)
    table.add_row(BOTH)
    table.add_row(Text(BOTH, style="red"))
    for shown in (BOTH, Text(BOTH), table, Text.assemble((BOTH, "bold"))):
        console.print(shown)
    said = console.file.getvalue()
    assert said.count(MARKUP) == 8
    assert said.count("\\x1b[2J\\x1b]0;owned\\x07\\x9b1m") == 5  # Rich itself leaves out BEL and CR of a `Text`
    assert "\x1b[2J" not in said and "\x07" not in said and "\x9b" not in said and "\u202e" not in said


def test_progress_shows_what_servers_and_models_are_called():
    console = Terminal(file=io.StringIO(), force_terminal=True, width=300, color_system=None)
    with Watch(console) as watch:
        watch.note(BOTH)
        watch.begin(10)
        watch.show(0, Activity(BOTH, "steps", 1, 2))
        watch.note(BOTH)
        watch.live.refresh()
    said = console.file.getvalue()
    assert said.count(MARKUP) >= 3
    assert "\x1b[2J" not in said and "\x1b]0" not in said and "\u202e" not in said and "\x9b" not in said


def test_ends_of_lines_and_other_scripts_stay():
    text = "one\n\ttwo öß 中文 👩\u200d🔬 می\u200cخواهم"
    assert visible(text) == text
    assert visible("a\udcff\x85") == "a\\udcff\\x85"


@pytest.mark.long
def test_report(received):
    said = invoke("report", received)
    assert MARKUP in said and "small: mk[/bold]x" in said and f"Page: {visible(str(received))}/report.html" in said


def test_run(finished, tmp_path):
    folder = shutil.copytree(finished / "run", tmp_path / "mk[/bold]x\nFigures: elsewhere")
    said = invoke("run", finished / "study.yaml", "--out", folder)
    assert "mk[/bold]x\\nFigures: elsewhere/report.html" in said


def test_doctor(finished, tmp_path):
    study = yaml.safe_load((finished / "study.yaml").read_text())
    path = tmp_path / f"{NAME}.yaml"
    written(path.parent / "few.jsonl", (finished / "few.jsonl").read_text())
    with Double(lambda asked: fails(400), models=[BOTH]) as server:
        by = {"kind": "server", "base_url": server.url, "model": "base"}
        suite = {**study["evaluate"]["harmfulness"], "judges": [{"kind": "policy", "by": by}]}
        written(path, yaml.safe_dump({**study, "evaluate": {"harmfulness": suite}}))
        said = invoke("doctor", path, "--out", tmp_path / NAME, code=1)
    assert "it has mk[/bold]x [red]y[/]" in " ".join(said.split()) and f"Findings: {tmp_path / SHOWN}" in said
    written(path, yaml.safe_dump({**study, "model": f"nobody/{BOTH}".strip("\0")}))
    assert f"nobody/{MARKUP}\\x1b[2J" in invoke("doctor", path, code=2)


def test_init(tmp_path):
    said = invoke("init", tmp_path / f"{NAME}.yaml")
    assert f"Study: {tmp_path / SHOWN}.yaml" in said
    assert "Before it can run:" in said  # no study can hold such characters, and ours names its file
    assert f"holdfast doctor {tmp_path / 'my[bold]study'}.yaml" in invoke("init", tmp_path / "my[bold]study.yaml")


def test_calibrate(finished, tmp_path):
    rows = tmp_path / f"{NAME}.jsonl"
    labels = [{"prompt": f"q{i}", "answer": f"a{i}", "label": 1 + i % 5} for i in range(20)]
    written(rows, "".join(json.dumps(row) + "\n" for row in labels))
    said = invoke("calibrate", "keyword", "--labels", rows, "--out", tmp_path / f"{NAME}.json")
    assert f"Calibration: {tmp_path / SHOWN}.json" in said
    assert f"against {SHOWN.partition('/')[2]}.jsonl" in said


@pytest.mark.long
def test_export(received, tmp_path):
    said = invoke("export", received, "--inspect", tmp_path / f"logs {NAME}")
    assert f"--log-dir {tmp_path / 'logs '}{SHOWN}" in said


def test_reproduce(tmp_path):
    assert "mk[/bold]x" in invoke("reproduce", "table1", "--base", f"./{NAME}", "--data", tmp_path / NAME, code=2)


@pytest.mark.long
@pytest.mark.parametrize("models", [["base"], [BOTH, "[/]"]], ids=["error", "names"])
def test_judge_test(models, tmp_path):
    with Double(lambda asked: fails(400, BOTH), models=models) as server:
        path = tmp_path / f"{NAME}.yaml"
        by = {"kind": "server", "base_url": server.url, "model": "base", "max_attempts": 1}
        written(path, yaml.safe_dump({"kind": "policy", "by": by, "canaries": None, "tries": 1}))
        said = invoke("test-judge", path, "--out", tmp_path / NAME, code=2)
    assert MARKUP in said and "\\x1b[2J" in said


def test_an_error_is_shown_as_it_is(tmp_path):
    assert f"there is no study file {SHOWN}" in invoke("run", NAME, code=2)
    assert f"{SHOWN}" in invoke("report", tmp_path / NAME, code=2)
