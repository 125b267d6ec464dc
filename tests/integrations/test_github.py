"""The step of the GitHub Action, run as GitHub would run it; and that nothing that a workflow says reaches a shell."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())

GATE = """
import os, sys
from pathlib import Path
print(sys.argv[1:])
for argument in sys.argv[1:]:
    if argument.startswith("--summary=") and os.environ["CODE"] != "2":
        Path(argument.removeprefix("--summary=")).write_text("## The summary\\n")
sys.exit(int(os.environ["CODE"]))
"""


@pytest.fixture
def step(tmp_path):
    """Runs the script in an environment as GitHub makes it, with a stand-in for `holdfast gate` and for `gh`."""
    package, programs = tmp_path / "stand-in" / "holdfast_stand_in", tmp_path / "bin"
    package.mkdir(parents=True)
    programs.mkdir()
    (package / "gate.py").write_text(GATE)
    (programs / "gh").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/gh.txt\n/bin/cat "$5" > {tmp_path}/comment.md\nexit $GH_CODE\n'
    )
    (programs / "gh").chmod(0o755)
    runner = (
        "import sys; from holdfast.integrations.github import gate; "
        f"gate.sys.executable, real = sys.executable, gate._command; "
        f"gate._command = lambda *a: [sys.executable, {str(package / 'gate.py')!r}, *real(*a)[4:]]; sys.exit(gate.main())"
    )

    def run(code=0, gh_code=0, path=str(programs), **inputs):
        files = {"GITHUB_STEP_SUMMARY": tmp_path / "summary.md", "GITHUB_OUTPUT": tmp_path / "output.txt"}
        environment = {
            "PATH": path, "PYTHONPATH": os.pathsep.join(sys.path), "RUNNER_TEMP": str(tmp_path), "CODE": str(code), "GH_CODE": str(gh_code),
            "HOLDFAST_FOLDER": "runs/audit", **{name: str(file) for name, file in files.items()}, **inputs,
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", runner], env=environment, capture_output=True, text=True, check=False
        )
        written = {name: file.read_text() if file.is_file() else "" for name, file in files.items()}
        return done, written["GITHUB_STEP_SUMMARY"], written["GITHUB_OUTPUT"]

    return run


@pytest.mark.long
@pytest.mark.parametrize(
    ("code", "decision"), [(0, "pass"), (1, "fail"), (3, "cannot tell"), (4, "not to be trusted"), (2, "could not run")]
)
def test_the_exit_code_is_the_gates_and_the_outputs_say_it(step, code, decision):
    done, summary, output = step(code)
    assert done.returncode == code, done.stderr
    assert f"decision={decision}\nexit-code={code}\n" in output
    assert summary == (
        "## The summary\n"
        if code != 2
        else "## Holdfast\n\nThe gate could not run (exit code 2). The step's log says why.\n"
    )


def test_inputs_are_arguments_of_their_own(step, tmp_path):
    nasty = f"--help; touch {tmp_path}/owned; $(touch {tmp_path}/owned)"
    done, _, output = step(HOLDFAST_FOLDER=nasty, HOLDFAST_POLICY="-p x", HOLDFAST_JUNIT="a\nb.xml")
    expected = [f"--summary={tmp_path / 'holdfast-summary.md'}", "--policy=-p x", "--junit=a\nb.xml", "--", nasty]
    assert repr(expected) in done.stdout
    assert not (tmp_path / "owned").exists()
    assert "owned" not in output


def test_a_comment_is_written_where_a_token_and_a_number_are_given(step, tmp_path):
    done, _, _ = step(1, HOLDFAST_PULL_REQUEST="12", GH_TOKEN="t")
    assert done.returncode == 1
    assert (tmp_path / "gh.txt").read_text().splitlines()[:4] == ["pr", "comment", "12", "--body-file"]
    assert "--edit-last\n--create-if-none" in (tmp_path / "gh.txt").read_text()
    assert (tmp_path / "comment.md").read_text() == "<!-- holdfast gate -->\n## The summary\n"


@pytest.mark.long
@pytest.mark.parametrize("inputs", [{"HOLDFAST_PULL_REQUEST": "12"}, {"GH_TOKEN": "t"}])
def test_without_both_there_is_no_comment(step, tmp_path, inputs):
    step(**inputs)
    assert not (tmp_path / "gh.txt").exists()


@pytest.mark.long
def test_a_comment_that_fails_is_a_warning_and_changes_no_exit_code(step):
    done, _, _ = step(0, gh_code=1, HOLDFAST_PULL_REQUEST="12", GH_TOKEN="t")
    assert done.returncode == 0
    assert "::warning::the comment was not written" in done.stderr
    done, _, _ = step(0, path="/nowhere", HOLDFAST_PULL_REQUEST="12", GH_TOKEN="t")
    assert done.returncode == 0
    assert "::warning::the GitHub CLI (gh) is not installed" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"HOLDFAST_FOLDER": ""}, "::error::the input `folder` is empty"),
        ({"HOLDFAST_PULL_REQUEST": "1; rm"}, "::error::the input `pull-request` must be a number"),
        ({"HOLDFAST_PULL_REQUEST": "1\n2"}, "::error::the input `pull-request` must be a number"),
    ],
)
def test_wrong_inputs_are_named(step, inputs, message):
    done, _, output = step(**inputs)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert output == ""


def test_no_script_of_the_action_holds_an_expression():
    assert ACTION["runs"]["using"] == "composite"
    for one in ACTION["runs"]["steps"]:
        assert "${{" not in one.get("run", "")
    passed = ACTION["runs"]["steps"][-1]["env"]
    given = {re.fullmatch(r"\$\{\{ inputs\.(\S+) \}\}", value)[1] for value in passed.values()}
    assert given == set(ACTION["inputs"]) - {"python-version"}


def test_what_the_action_says_it_sets_is_what_the_script_sets(step):
    _, _, output = step()
    assert {line.partition("=")[0] for line in output.splitlines()} == set(ACTION["outputs"])
