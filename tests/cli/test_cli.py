import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from holdfast import __version__
from holdfast.cli import app

runner = CliRunner()


def test_help_answers_in_half_a_second_of_computing():
    command = [sys.executable, "-m", "holdfast", "--help"]
    subprocess.run(command, capture_output=True, check=True)
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, capture_output=True, check=True)
        after = os.times()  # of computing and not of waiting, so that a busy machine does not matter
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.5


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
        (["run", "demo", "--seeds", "1,1"], "--seeds takes distinct numbers"),
        (["report", "nowhere"], "Finish the run first"),
    ],
)
def test_what_a_user_can_mend_is_a_message_and_not_a_traceback(arguments, said):
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output
