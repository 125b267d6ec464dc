"""The tutorial runs from top to bottom, and is kept without outputs."""

import ast
import json
from pathlib import Path

import pytest

import holdfast

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.ipynb"
CELLS = json.loads(TUTORIAL.read_text())["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_the_tutorial_has_no_outputs_and_uses_only_what_is_exported():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in CELLS if cell["cell_type"] == "code")
    nodes = [node for source in CODE for node in ast.walk(ast.parse(source))]
    used = {
        node.attr for node in nodes if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "holdfast"
    }
    assert {"load_study", "doctor", "run"} <= used <= set(holdfast.__all__)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_tutorial_runs_and_shows_what_it_says(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(TUTORIAL, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = "\n".join(
        text
        for cell in notebook.cells if cell.cell_type == "code"
        for output in cell.outputs
        for text in [output.get("text", ""), *map(str, output.get("data", {}).values())]
    )  # fmt: skip
    assert "Harmfulness rate (%)" in shown
    assert "finished harmful-10-shot (seed 0)" in shown
    assert "trusted: True" in shown
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))
    assert (tmp_path / "runs" / "tutorial" / "report.html").is_file()
