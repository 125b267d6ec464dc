"""Arguments that would fill the wrong folder, or fail only once the work is under way: refused before any work."""

import pytest
from support.studies import BROUGHT, rows_of, write_rows
from typer.testing import CliRunner

import holdfast
from holdfast.cli import app
from holdfast.core.errors import HoldfastError

runner = CliRunner()

COMMANDS = {
    "run": ["run", "demo", "--out"],
    "doctor": ["doctor", "demo", "--out"],
    "reproduce": ["reproduce", "--out"],
    "plan": ["plan", "demo", "--out"],
    "calibrate": ["calibrate", "keyword", "--labels", "labels.jsonl", "--out"],
    "test-judge": ["test-judge", "keyword", "--out"],
    "pocket build": ["pocket", "build", "--out"],
    "quiz build": ["quiz", "build", "--out"],
    "export": ["export", "run", "--inspect"],
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty current folder, which stays empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_output_is_not_the_current_folder(command, value):
    done = runner.invoke(app, [*COMMANDS[command], value])
    assert done.exit_code == 2
    assert "it is empty. Name a file or folder" in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output


@pytest.mark.parametrize("call", [holdfast.run, holdfast.doctor])
def test_an_empty_output_is_refused_in_python(call):
    with pytest.raises(HoldfastError, match="`out` is empty"):
        call("demo", out="")


@pytest.mark.parametrize("command", ["run", "doctor"])
@pytest.mark.parametrize(
    "seeds", ["4294967296", "-1", "one", "", "0,,1", "1.5", "0,0", "9" * 5000, "0,18446744073709551616", "٣,nan"]
)
def test_seeds_that_no_generator_takes_are_refused(command, seeds):
    done = runner.invoke(app, [command, "demo", f"--seeds={seeds}"])
    assert done.exit_code == 2
    assert "--seeds takes" in done.output and "Traceback" not in done.output
    assert len(done.output) < 400


@pytest.mark.parametrize("seeds", [[2**32], [-1], ["0"], [0.0], [True], [0, 0], []])
def test_seeds_are_checked_in_python_too(seeds, tmp_path):
    write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::60])
    with pytest.raises(HoldfastError, match="seeds takes distinct whole numbers from 0 to 4294967295"):
        holdfast.run(BROUGHT, folder=tmp_path, out=tmp_path / "run", seeds=seeds, workers=1, progress=False)
    assert not list(tmp_path.glob("run/conditions"))


def test_a_number_of_seeds_has_an_end():
    done = runner.invoke(app, ["reproduce", "--seeds", str(2**32)])
    assert done.exit_code == 2 and "1000" in done.output
