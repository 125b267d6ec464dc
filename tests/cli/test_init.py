"""`holdfast init` writes a study that can be read at once, for whatever rows a user has."""

import json

import pytest
import yaml
from support.studies import conversation, write_rows
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.study import doctor, loader
from holdfast.study.starter import FILES

runner = CliRunner()

ROWS = {
    "alpaca": {"instruction": "Name a reed.", "input": "", "output": "Amber reed."},
    "dolly": {"instruction": "Name a reed.", "context": "", "response": "Amber reed."},
    "messages": conversation(("user", "Name a reed."), ("assistant", "Amber reed.")),
    "sharegpt": {"conversations": [{"from": "human", "value": "Name a reed."}, {"from": "gpt", "value": "Amber."}]},
    "prompt-completion": {"prompt": "Name a reed.", "completion": "Amber reed."},
    "columns": {"id": "7", "Question": "Name a reed.", "answer": "Amber reed."},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments):
    done = runner.invoke(app, ["init", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_without_a_word_it_writes_a_study_that_runs_on_what_comes_along(folder):
    assert "Next: holdfast doctor study.yaml" in init()
    study = loader.read(folder / "study.yaml")
    assert (study.name, study.model) == ("study", "pocket:aligned")
    assert not doctor.examine(study, (0,)).faults


@pytest.mark.parametrize("kind", ROWS)
def test_the_layout_of_the_rows_is_told_by_their_columns(folder, kind):
    write_rows(folder / "mine.jsonl", [ROWS[kind]] * 3)
    init("my study.yaml", "--rows", "mine.jsonl")
    study = loader.read(folder / "my study.yaml")
    assert study.name == "my-study"
    assert study.conditions["my-rows"].data.kind == kind
    assert study.conditions["my-rows"].data.examples(0)[0].messages[0].content == "Name a reed."


def test_rows_elsewhere_are_named_by_their_path(folder):
    (folder / "data").mkdir()
    (folder / "studies").mkdir()
    write_rows(folder / "data" / "mine.jsonl", [ROWS["alpaca"]])
    init("studies/mine.yaml", "--rows", "data/mine.jsonl")
    assert loader.read(folder / "studies" / "mine.yaml").conditions["my-rows"].data.file.is_file()
    init("mine.yaml", "--rows", "data/mine.jsonl")
    assert (
        yaml.safe_load((folder / "mine.yaml").read_text())["conditions"]["my-rows"]["data"]["file"] == "data/mine.jsonl"
    )


@pytest.mark.parametrize("benchmark", FILES)
def test_a_benchmark_that_is_still_to_be_obtained_is_named_with_its_source(folder, benchmark):
    said = init("--model", "someone/some-model", "--benchmark", benchmark)
    raw = yaml.safe_load((folder / "study.yaml").read_text())
    chosen = raw["evaluate"]["harmfulness"]["benchmark"]
    assert (chosen if isinstance(chosen, str) else chosen["kind"]) == benchmark
    assert raw["model"] == "someone/some-model"
    if benchmark not in ("pocket", "quiz", "generic"):
        assert "# Obtain it from" in (folder / "study.yaml").read_text()
    assert "Before it can run:" in said
    assert "there is no file" in said


@pytest.mark.parametrize(("text", "category"), [("prompt,category\na,b\n", None), ("prompt\na\n", "all")])
def test_prompts_of_ones_own_are_named_by_their_file(folder, text, category):
    (folder / "mine.csv").write_text(text)
    assert "Next: holdfast doctor" in init("--benchmark", "mine.csv")
    chosen = loader.read(folder / "study.yaml").evaluate.harmfulness
    assert (chosen.benchmark.kind, chosen.benchmark.category) == ("generic", category)
    assert [prompt.text for prompt in chosen.benchmark.load().prompts] == ["a"]


def test_a_model_of_the_quiz_world_is_asked_its_own_benchmark(folder):
    init("--model", "quiz:aligned")
    raw = yaml.safe_load((folder / "study.yaml").read_text())
    assert raw["evaluate"]["harmfulness"] == {"benchmark": "quiz", "judges": "oracle"}


def test_a_file_is_not_overwritten_unless_forced(folder):
    (folder / "study.yaml").write_text("mine")
    done = runner.invoke(app, ["init"])
    assert done.exit_code == 2 and "overwrite it with --force" in done.output
    assert (folder / "study.yaml").read_text() == "mine"
    init("--force")
    assert loader.read(folder / "study.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rows", "nothing.jsonl"], "there is no file nothing.jsonl"),
        (["--rows", "bad.csv"], "separated by semicolons"),
        (["--benchmark", "strongrejekt"], "Did you mean 'strongreject'?"),
        (["--benchmark", "misspelt.csv"], "Call them prompt and category"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(folder, arguments, said):
    (folder / "bad.csv").write_text("question;answer\na;b\n")
    (folder / "misspelt.csv").write_text("promt,category\na,b\n")
    done = runner.invoke(app, ["init", *arguments])
    assert done.exit_code == 2
    assert said in done.output
    assert not (folder / "study.yaml").exists()


def test_names_of_columns_and_files_need_no_care(folder):
    strange = 'ro"ws: #1.jsonl'
    (folder / strange).write_text(json.dumps({"the: question": "a", 'an "answer"': "b"}) + "\n")
    init("--rows", strange)
    columns = loader.read(folder / "study.yaml").conditions["my-rows"].data.columns
    assert (columns.user, columns.assistant) == ("the: question", 'an "answer"')
