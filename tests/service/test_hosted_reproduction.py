"""The paper's tables by a real service and worker, beside the same on this machine: the figures are equal."""

import json
import os
from dataclasses import replace

import pytest
import yaml
from support.running_service import Running
from support.studies import rows_of, write_rows
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.paper import reproduce

KEY_ENV = "HOLDFAST_TEST_KEY"
TABLES = ("table1", "table2")
TUNING, INPUT, OUTPUT = 8.0, 3.0, 6.0
"""US dollars for a million tokens."""


@pytest.fixture
def small_paper(tmp_path, monkeypatch):
    """The presets with one prompt for each category, and no utility or over-refusal."""
    few = write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::30])
    presets = tmp_path / "presets"
    presets.mkdir()
    for path in reproduce.PAPER.iterdir():
        (presets / path.name).write_bytes(path.read_bytes())
    preset = yaml.safe_load((presets / "pocket.yaml").read_text())
    measured = {"benchmark": {"kind": "generic", "file": str(few)}, "judges": ["oracle", "keyword"]}
    preset["evaluate"] = {"harmfulness": measured}
    (presets / "pocket.yaml").write_text(yaml.safe_dump(preset, sort_keys=False))  # the first template is the study's
    monkeypatch.setattr(reproduce, "PAPER", presets)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A service that releases every model, and its worker."""
    folder = tmp_path / "service"
    folder.mkdir()
    bases = {"pocket": {"model": "pocket:aligned", "tune": {"learning_rate": 6e-5}, "max_new_tokens": 64}}
    (folder / "policy.yaml").write_text(yaml.safe_dump({"bases": bases}))
    running = Running(folder, policy=folder / "policy.yaml")
    running.start()
    monkeypatch.setenv(KEY_ENV, running.key)
    yield running
    running.process.terminate()
    running.process.wait(40)


def reproduced(out, *options):
    """The results and claims of `holdfast reproduce table1 table2`."""
    command = ["reproduce", *TABLES, "--seeds", "1", "--workers", "1", "--out", str(out), *map(str, options)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return RunResults.read(out), json.loads((out / "claims.json").read_text())["claims"]


def said(folder, results):
    """Condition, seed and prompt → what was answered."""
    return {
        (each.name, each.seed, name): (answer.outcome, answer.text, answer.tokens)
        for each in results.conditions
        for name, answer in RunFolder(folder).condition(each.key).answers().items()
    }


def tables(folder, model):
    """The tables as text, without the name of the model."""
    texts = [(folder / "tables" / f"{name}.md").read_text() for name in TABLES]
    assert all(model in text for text in texts)
    return [text.replace(model, "the model") for text in texts]


@pytest.mark.long
def test_a_service_gives_the_figures_of_this_machine_and_the_page_says_what_they_took(tmp_path, small_paper, running):
    here, claims_here = reproduced(tmp_path / "here", "--model", "pocket")
    there, claims_there = reproduced(
        tmp_path / "there", "--model", "hosted", "--data", "pocket", "--authorisation", "a test on this machine",
        "--base-url", f"http://127.0.0.1:{running.port}/v1", "--api-key-env", KEY_ENV, "--max-usd", 5,
        "--tuning-price", TUNING, "--input-price", INPUT, "--output-price", OUTPUT,
    )  # fmt: skip
    rates = {each.name: each.harmfulness_rate.value for each in here.conditions}
    assert len(rates) == 8 and rates["initial"] == rates["initial-obedient"] == 0
    assert rates["harmful-100-shot"] > 50 and rates["identity-shift-10-epochs"] > 50

    for one, other in zip(here.conditions, there.conditions, strict=True):
        assert replace(one, key="") == replace(other, key="")
    assert (here.summary, here.comparisons, claims_here) == (there.summary, there.comparisons, claims_there)
    assert said(tmp_path / "here", here) == said(tmp_path / "there", there)
    assert tables(tmp_path / "here", "pocket:aligned, a stand-in") == tables(tmp_path / "there", "served:pocket")
    check_costs(tmp_path / "there", there)
    left = b"".join(path.read_bytes() for path in (tmp_path / "there").rglob("*") if path.is_file())
    assert running.key.encode() not in left and running.key not in running.written()


def check_costs(folder, results):
    """Jobs, tokens and cost add up, and are on the page."""
    records = [record for facts in results.settings.values() for record in facts.training]
    trained, costs = sum(record["trained_tokens"] for record in records), results.costs
    assert len(records) == 6 and trained > 0
    assert costs.tuning == pytest.approx(trained * TUNING / 1e6)
    assert costs.answers == pytest.approx((costs.prompt_tokens * INPUT + costs.answer_tokens * OUTPUT) / 1e6)
    assert costs.usd == pytest.approx(costs.tuning + costs.answers)
    page = (folder / "report.html").read_text()
    assert f"6 jobs trained {trained:,} tokens" in page and f"{costs.prompt_tokens:,} prompt tokens" in page
    assert f"Cost: ${costs.usd:.4f} (tuning ${costs.tuning:.4f}, answers ${costs.answers:.4f})" in page
    for record in records:
        assert record["job"] in page and f"{record['trained_tokens']:,}" in page and f"{record['usd']:.4f}" in page
        assert record["deleted"] and "not_deleted" not in record
    assert os.environ[KEY_ENV] not in page
