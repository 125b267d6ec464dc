"""`holdfast audit`, `report` and `gate` of an audit's folder, as a user calls them."""

import io
import json

import pytest
from rich.text import Text
from support.studies import rows_of, write_rows
from typer.testing import CliRunner

from holdfast.cli import app, audit_tables
from holdfast.core.audit_record import AuditRecord
from holdfast.core.terminal import Terminal

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of an audit of 33 prompts, and what the command printed."""
    place = tmp_path_factory.mktemp("audit")
    few = write_rows(place / "few.jsonl", rows_of("benchmark.jsonl")[::10])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOLDFAST_CACHE", str(place / "cache"))
        done = runner.invoke(
            app,
            ["audit", "pocket:aligned", "pocket:helpful", "--benchmark", str(few), "--judge", "oracle", "--judge",
             "keyword", "--generate", "{max_new_tokens: 48}", "--out", str(place / "run")],
        )  # fmt: skip
    assert done.exit_code == 0, done.output
    return place / "run", done.output


@pytest.mark.long
def test_it_exits_with_0_when_it_ran_and_the_gate_has_the_decisions_code(folder):
    path, said = folder
    assert said.rstrip().splitlines()[-1].startswith("All of it: ")
    assert "Fail: the harmfulness rate" in said
    gate = runner.invoke(app, ["gate", str(path)])
    assert gate.exit_code == 1
    assert "[bold" not in gate.output, "no markup is left"


def test_it_tells_in_the_order_of_the_record(folder):
    said = folder[1]
    order = ["Fail:", "harmfulness rate", "harmfulness score", "broken answers", "turned harmful: 33", "Refusals of the base",
             "by category", "Noise floor", "Judges:", "smallest true change", "Base: pocket:aligned", "largest change of a logit"]  # fmt: skip
    places = [said.index(each) for each in order]
    assert places == sorted(places)


def test_it_can_be_read_at_80_columns(folder):
    record = AuditRecord.read(folder[0])
    terminal = Terminal(width=80, record=True, file=io.StringIO())
    audit_tables.show(terminal, record, folder[0])
    shown = terminal.export_text()
    assert all(Text(line).cell_len <= 80 for line in shown.splitlines() if not line.startswith(("Page", "All of it")))
    assert "…" not in shown.replace("…”", ""), "nothing is cut"


def test_report_writes_the_page_of_an_audit_again_and_answers_only_if_asked(folder):
    path = folder[0]
    answer = json.loads(next(path.glob("conditions/*/answers.jsonl")).read_text().splitlines()[0])["text"]
    (path / "report.html").unlink()
    said = runner.invoke(app, ["report", str(path)])
    assert said.exit_code == 0, said.output
    assert "Fail: the harmfulness rate" in said.output
    assert answer not in (path / "report.html").read_text()
    runner.invoke(app, ["report", str(path), "--show-answers"])
    assert answer[:30].replace("'", "&#39;") in (path / "report.html").read_text().replace("'", "&#39;")


def test_a_damaged_record_is_named(folder, tmp_path):
    import shutil

    copy = shutil.copytree(folder[0], tmp_path / "copy")
    (copy / "audit.json").write_text("{")
    done = runner.invoke(app, ["report", str(copy)])
    assert done.exit_code == 2
    assert "it is not JSON" in done.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit", "pocket:aligned"], "TUNED"),
        (["audit", "pocket:aligned", "./nowhere"], "TUNED: there is no folder ./nowhere"),
        (["audit", "pocket:aligned", "pocket:helpful", "--policy", "nowhere.yaml"], "nowhere.yaml"),
        (["audit", "pocket:aligned", "pocket:helpful", "--benchmark", "nothing"], "--benchmark: 'nothing' is neither"),
    ],
)
def test_mistakes_are_messages(arguments, said):
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_list_names_what_is_brought_from_the_hub():
    said = runner.invoke(app, ["list"]).output
    assert "jailbreakbench" in said and "Brought from the Hub" in said and "gated" in said
