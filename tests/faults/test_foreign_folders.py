"""Run folders that somebody else made: nothing outside of them is read, overwritten or cut."""

import json
import os
import shutil

import pytest
from support.studies import SMALL

from holdfast.core import files
from holdfast.core.budget import FileBudget
from holdfast.core.errors import HoldfastError, RunFolderError, StudyError
from holdfast.core.jsonl import append_lines, read_lines
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Verdict
from holdfast.study import loader

PRECIOUS = "the only copy\nof a thesis"


@pytest.fixture
def precious(tmp_path):
    """A file outside of the run folder, which must be there unchanged when the test is over."""
    path = tmp_path / "home" / "thesis.txt"
    path.parent.mkdir()
    path.write_text(PRECIOUS)
    yield path
    assert path.read_text() == PRECIOUS
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.fixture
def received(finished, tmp_path):
    """A copy of a finished run, as it would come from somebody else."""
    return RunFolder(shutil.copytree(finished / "run", tmp_path / "received"))


def rewrite(run_folder, change):
    """Change what `results.json` holds."""
    path = run_folder.folder / "results.json"
    results = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results))


@pytest.mark.parametrize("name", [".lock", "study.yaml", "spending.jsonl", ".spending.jsonl.lock", "judges.jsonl"])
def test_a_link_in_place_of_a_file_of_the_run_is_refused_by_name(received, precious, name):
    (received.folder / name).unlink(missing_ok=True)
    (received.folder / name).symlink_to(precious)
    with pytest.raises(RunFolderError, match=f"{name} is a symbolic link"), received.lock():
        pass
    with pytest.raises(RunFolderError, match="a run folder holds no links"):
        received.results()


@pytest.mark.parametrize("name", ["conditions", "checkpoints", "previous", "tables", "figures"])
def test_a_link_in_place_of_a_folder_of_the_run_is_refused(received, precious, name):
    shutil.rmtree(received.folder / name, ignore_errors=True)
    (received.folder / name).symlink_to(precious.parent)
    with pytest.raises(RunFolderError, match=f"{name} is a symbolic link"), received.lock():
        pass


def test_a_link_inside_of_a_checkpoint_is_refused(received, precious):
    folder = received.checkpoints("0123456789abcdef")
    folder.mkdir(parents=True)
    (folder / ".epoch-1").symlink_to(precious.parent)
    with pytest.raises(RunFolderError, match=r"\.epoch-1 is a symbolic link"), received.lock():
        pass


def test_the_run_folder_itself_may_be_a_link(received, tmp_path):
    (tmp_path / "scratch").symlink_to(received.folder)
    with RunFolder(tmp_path / "scratch").lock():
        assert RunFolder(tmp_path / "scratch").results() == received.results()


def test_lines_are_neither_added_to_nor_read_from_what_a_link_points_to(tmp_path, precious):
    (tmp_path / "answers.jsonl").symlink_to(precious)
    with pytest.raises(RunFolderError, match="symbolic link"):
        append_lines(tmp_path / "answers.jsonl", [{"a": 1}])
    with pytest.raises(RunFolderError, match="symbolic link"):
        list(read_lines(tmp_path / "answers.jsonl"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_place_of_a_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "answers.jsonl")
    with pytest.raises(RunFolderError, match="no plain file"):
        append_lines(tmp_path / "answers.jsonl", [{"a": 1}])
    with pytest.raises(RunFolderError, match="no plain file"):
        list(read_lines(tmp_path / "answers.jsonl"))


def test_drafts_have_names_that_nobody_can_plant(tmp_path, precious, monkeypatch):
    for guess in (f".page.html.{os.getpid()}", ".page.html.tmp", "page.html.tmp", ".page.html"):
        (tmp_path / guess).symlink_to(precious)
    files.write_atomically(tmp_path / "page.html", "new")
    assert (tmp_path / "page.html").read_text() == "new"
    monkeypatch.setattr(files, "token_hex", lambda n: "known")
    (tmp_path / ".page.html.known").symlink_to(precious)
    with pytest.raises(OSError, match="exists"):
        files.write_atomically(tmp_path / "page.html", "newer")
    assert (tmp_path / "page.html").read_text() == "new"


def test_files_are_written_with_the_permissions_that_the_user_asks_for(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_atomically(tmp_path / "page.html", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("key", ["../../secret", "/etc", "..", "", "a/b", "a\\b", "a\0b", "é", "a" * 300, ".hidden"])
def test_a_key_that_leads_out_of_the_folder_is_refused(received, tmp_path, key):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "answers.jsonl").write_text(
        "".join(
            json.dumps({"prompt_id": row["id"], "outcome": "answered", "text": "a private letter"}) + "\n"
            for row in received.prompts()
        )
    )
    rewrite(received, lambda results: results["conditions"][0].update(key=key))
    from holdfast.study import run

    with pytest.raises(RunFolderError, match="cannot be the name of a folder or file"):
        run.write_page(received, received.results(), show_answers=True)
    with pytest.raises(RunFolderError, match="cannot be the name"):
        received.checkpoints(key)


@pytest.mark.parametrize(("measured", "judge"), [("../x", "oracle"), ("harmfulness", "../../x"), ("a/b", "c")])
def test_names_of_judges_and_sets_lead_nowhere_else(received, measured, judge):
    folder = received.condition("abc")
    with pytest.raises(RunFolderError, match="cannot be the name"):
        folder.verdicts(measured, judge)
    with pytest.raises(RunFolderError, match="cannot be the name"):
        folder.add_verdicts(measured, judge, [Verdict("0", "scored", 5)])


def test_logs_of_inspect_are_written_inside_of_their_folder(received, tmp_path):
    pytest.importorskip("inspect_ai")
    from holdfast.integrations.inspect.export import export

    def rename(results):
        old = results["conditions"][0]["name"]
        for condition in [*results["conditions"], *results["summary"]]:
            if condition["name"] == old:
                condition["name"] = "../../escaped"
        results["settings"]["../../escaped"] = results["settings"].pop(old)
        results["comparisons"] = []

    rewrite(received, rename)
    with pytest.raises(HoldfastError, match="cannot be the name"):
        export(received, tmp_path / "logs")
    assert not list(tmp_path.parent.rglob("*escaped*"))


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"prompt_id": "x"}', '{"prompt_id": "x", "reading": "scored", "score": true}']
)
def test_a_damaged_line_of_verdicts_or_answers_is_named_by_file_and_line(received, line):
    folder = received.condition(received.results().conditions[0].key)
    [verdicts, *_] = folder.folder.glob("verdicts.harmfulness.*.jsonl")
    for path, read in (
        (verdicts, lambda: folder.verdicts(*verdicts.name.removesuffix(".jsonl").split(".")[1:])),
        (folder.folder / "answers.jsonl", folder.answers),
    ):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([lines[0], line + "\n", *lines[1:]]))
        with pytest.raises(RunFolderError, match=rf"{path.name}, line 2 is damaged.*`holdfast run`"):
            read()


def test_a_score_of_true_is_no_score():
    with pytest.raises(ValueError, match="cannot have the score True"):
        Verdict("p", "scored", True)


@pytest.mark.parametrize("line", ["", "{", "[1]", '{"ticket": "t", "usd": 5'])
def test_a_damaged_booking_does_not_raise_the_cap(tmp_path, line):
    (tmp_path / "spending.jsonl").write_text(line + "\n")
    with pytest.raises(RunFolderError, match="holds a line that is no booking: it is damaged"):
        FileBudget(tmp_path / "spending.jsonl", 1.0).reserve(0.5, "a judge")


@pytest.mark.parametrize(
    "booking",
    [
        {},
        {"ticket": "t"},
        {"ticket": "t", "usd": "0"},
        {"ticket": "t", "usd": -5},
        {"ticket": "t", "usd": float("nan")},
    ],
)
def test_a_line_that_is_no_booking_does_not_raise_the_cap(tmp_path, booking):
    (tmp_path / "spending.jsonl").write_text(json.dumps(booking) + "\n")
    with pytest.raises(RunFolderError, match="holds a line that is no booking"):
        FileBudget(tmp_path / "spending.jsonl", 1.0).reserve(0.5, "a judge")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"schema": 99, "evidence": "e", "claims": []}', '{"schema": 1, "claims": [1]}']
)
def test_claims_that_are_damaged_or_of_another_schema_are_refused(received, content):
    from holdfast.paper.reproduce import claims_of

    (received.folder / "claims.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"claims\.json (cannot be read|has the schema)"):
        claims_of(received.folder)


def test_seeds_that_no_generator_takes_are_refused():
    with pytest.raises(StudyError, match=r"seeds\.0: .*4294967296"):
        loader.from_dict({**SMALL, "seeds": [2**32]})
