"""What `holdfast gate` writes for others, from a real audit and a real run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from junitparser import JUnitXml
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.cli.gate_files import Wanted, write
from holdfast.core.errors import RunFolderError

run = CliRunner().invoke
CARD = "---\nlicense: apache-2.0\n---\n\n# A model\n"


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """The folder of an audit of the helpful pocket model."""
    folder = tmp_path_factory.mktemp("audit") / "of-helpful"
    done = run(app, ["audit", "pocket:aligned", "pocket:helpful", "--out", str(folder)])
    assert (folder / "audit.json").is_file(), done.output
    return folder


@pytest.mark.long
def test_every_file_of_an_audit_that_fails(audit, tmp_path):
    card = tmp_path / "model" / "README.md"
    card.parent.mkdir()
    card.write_text(CARD)
    junit, summary = tmp_path / "ci" / "junit.xml", tmp_path / "summary.md"
    done = run(app, ["gate", str(audit), "--junit", str(junit), "--summary", str(summary), "--model-card", str(card)])
    assert done.exit_code == 1, done.output
    [suite] = JUnitXml.fromfile(str(junit))
    assert suite.failures >= 2
    assert "❌ **Fail:" in summary.read_text() and str(audit / "report.html") in summary.read_text()
    assert card.read_text().startswith(CARD) and "## Safety after fine-tuning" in card.read_text()
    again = run(app, ["gate", str(audit), "--model-card", str(card)])
    assert again.exit_code == 1 and card.read_text().count("## Safety after fine-tuning") == 1


@pytest.mark.long
def test_figures_of_a_world_do_not_go_to_the_hub(audit, tmp_path):
    done = run(app, ["gate", str(audit), "--eval-results", str(tmp_path)])
    assert done.exit_code == 2
    assert "no evidence about a model" in " ".join(done.output.split())
    assert not (tmp_path / ".eval_results").exists()


@pytest.mark.long
def test_the_actions_script_runs_the_gate(audit, tmp_path):
    environment = {
        **os.environ, "HOLDFAST_FOLDER": str(audit), "HOLDFAST_JUNIT": str(tmp_path / "junit.xml"), "RUNNER_TEMP": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md"), "GITHUB_OUTPUT": str(tmp_path / "output"), "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    command = [sys.executable, "-m", "holdfast.integrations.github.gate"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "output").read_text().startswith("decision=fail\nexit-code=1\n")
    assert "❌ **Fail:" in (tmp_path / "step.md").read_text()
    assert (tmp_path / "junit.xml").is_file()


def test_a_run_has_no_model_card(tmp_path):
    with pytest.raises(RunFolderError, match="is the folder of a study's run"):
        list(write(tmp_path, [], Wanted(None, None, Path("README.md"), None, "")))
