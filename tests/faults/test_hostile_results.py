"""A results.json or audit.json of somebody else: what it holds goes through pages and terminal, or is refused."""

import io
import json
import os
import random
from types import SimpleNamespace

import pytest
from support.audit_pages import audit, transcripts
from support.results import agreement, cascade, made, typed

from holdfast.cli import audit_tables, tables
from holdfast.core.audit_record import AuditRecord
from holdfast.core.errors import DamagedError, HoldfastError, RunFolderError
from holdfast.core.results import RunResults
from holdfast.core.terminal import Terminal
from holdfast.report import junit, model_card, page, summary
from holdfast.study.results.frames import Results

NUMBERS = (
    float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), 1e308, -1e308, 5e-324, 0, -1, 101, 10**30, None, True, "5",
)  # fmt: skip
SCRIPT = "<script>alert(1)</script>"
TEXTS = (
    SCRIPT, '"><img src=x onerror=alert(1)>', "x" * 20_000, "", "\0", "\ud83d", "\x1b[2J", "[bold]x[/wrong]", "[/]", "{{ 7*7 }}",
    "]]>" + SCRIPT, "a\nb", "\u202e", "initial", None, 5,
)  # fmt: skip


def place(tree, chance):
    """A place in nested values: what it is in, and its key. Each part is as likely as its neighbours, small or large."""
    while True:
        key = chance.choice([key for key in (tree if isinstance(tree, dict) else range(len(tree))) if key != "schema"])
        if not (isinstance(tree[key], dict | list) and tree[key] and chance.random() < 0.95):
            return tree, key
        tree = tree[key]


def results_file(chance):
    return chance.choice([made(), {**made(), "agreement": [agreement("a")], "cascade": [cascade("a")]}])


def audit_file(chance):
    return json.loads(audit(n=chance.choice((0, 20))).to_json())


def hostile(tree, chance):
    """A file in which some values are others, and now and then a whole part is empty."""
    for _ in range(chance.choice((1, 1, 2, 5))):
        inside, key = place(tree, chance)
        value = inside[key]
        hostile = TEXTS if isinstance(value, str) else NUMBERS
        inside[key] = type(value)() if isinstance(value, dict | list) else chance.choice(hostile)
    return tree


def show_results(folder):
    """The pages that are made from a results.json."""
    results = RunResults.read(folder)
    tables.figures(Terminal(file=io.StringIO()), results, folder)
    return [page.render_notebook(results, "page"), page.render(results)], results


def show_audit(folder):
    """The page that is made from an audit.json. Its summary, its model card and its tables, too."""
    record = AuditRecord.read(folder)
    audit_tables.show(Terminal(file=io.StringIO()), record, folder)
    summary.render([record.decision], record)
    junit.render([record.decision], record.name, record.date)
    model_card.section(record, record.decision)
    return [page.render_audit(record, typed(made()), transcripts(record))], record


FILES = {"results.json": (results_file, show_results), "audit.json": (audit_file, show_audit)}
"""File → what makes one, and what shows it."""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("seeds", [range(12), pytest.param(range(12, 150), marks=pytest.mark.long)])
def test_hostile_figures_and_names_are_shown_or_refused(tmp_path, seeds, name):
    make, show = FILES[name]
    n_shown = 0
    for seed in seeds:
        chance = random.Random(seed)
        (tmp_path / name).write_text(json.dumps(hostile(make(chance), chance)))
        try:
            pages, record = show(tmp_path)
        except HoldfastError:
            continue
        n_shown += 1
        json.loads(record.to_json(), parse_constant=pytest.fail)
        for html in pages:
            html.encode()
            assert SCRIPT not in html and "<img src=x" not in html
    assert 0 < n_shown < len(seeds)


def refused(folder, name, tree_or_bytes):
    """Why a file is refused."""
    content = tree_or_bytes if isinstance(tree_or_bytes, bytes) else json.dumps(tree_or_bytes).encode()
    (folder / name).write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        FILES[name][1](folder)
    said = str(caught.value)
    assert said.startswith(f"{folder / name} cannot be read:\n  ")
    assert said.endswith("and folder writes it again.")
    assert len(said) < 6 * 200 + 300
    said.encode()
    return said


def spoiled(name, change):
    tree = FILES[name][0](random.Random(0))
    change(tree)
    return tree


RATE = {
    "results.json": lambda tree: tree["summary"][1]["harmfulness_rate"],
    "audit.json": lambda tree: tree["figures"][0]["tuned"],
}
"""File → an estimate in it."""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "5", True, 10**400, [], {}])
def test_a_figure_is_a_finite_number(tmp_path, name, value):
    refused(tmp_path, name, spoiled(name, lambda tree: RATE[name](tree).update(value=value)))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("field", ["holdfast", "settings"])
def test_no_text_is_cut_inside_of_a_character(tmp_path, name, field):
    """Neither in a text, nor in settings, which may hold anything, nor in a name."""
    settings = {"results.json": ("evaluation", "generate"), "audit.json": ("decision", "policy")}[name]
    half = {"holdfast": "half \ud83d"} if field == "holdfast" else {settings[0]: {settings[1]: {"\ud83d": 1}}}
    said = refused(tmp_path, name, {**FILES[name][0](random.Random(0)), **half})
    assert "surrogate" in said


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"schema": ' + b"1" * 5000 + b"}", '{"a": 1}'.encode("utf-16")]
)  # fmt: skip
def test_what_is_no_json_object_is_refused(tmp_path, name, content):
    refused(tmp_path, name, content)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("key", ["x" * 20_000, "\x1b[2J"])
def test_the_names_of_others_are_cut_in_the_message(tmp_path, name, key):
    fields = {"results.json": "settings", "audit.json": "broken"}[name]
    refused(tmp_path, name, spoiled(name, lambda tree: tree[fields].update({key: 5})))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("schema", [0, None, "x" * 20_000, [[]]])
def test_another_schema_is_named(tmp_path, name, schema):
    (tmp_path / name).write_text(json.dumps(spoiled(name, lambda tree: tree.update(schema=schema))))
    with pytest.raises(
        RunFolderError, match=r"has the schema .{1,300}, and this version of Holdfast reads \d. .*\(--out\)"
    ):
        FILES[name][1](tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_read_through_a_link_or_a_pipe(tmp_path, name):
    make, show = FILES[name]
    (tmp_path / "elsewhere").write_text(json.dumps(make(random.Random(0))))
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match="symbolic link"):
        show(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(
        RunFolderError, match=rf"{name} does not exist. Finish the \w+ first: `holdfast \w+ [A-Z ]+ --out"
    ):
        show(tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("results.json", lambda results: results["comparisons"][0].update(p_value=float("inf"))),
        ("results.json", lambda results: results["settings"].pop("harmful")),
        ("results.json", lambda results: results["summary"][1]["by_category"].pop("hex")),
        ("results.json", lambda results: results["conditions"][0].update(name="other")),
        ("results.json", lambda results: results["comparisons"][0].update(metric="charm")),
        ("audit.json", lambda record: record["smallest_difference"].update(utility=float("nan"))),
        ("audit.json", lambda record: record["flips"].pop("safe")),
        ("audit.json", lambda record: record["figures"].pop(0)),
        ("audit.json", lambda record: record["figures"][0].update(metric="charm")),
    ],
)
def test_files_that_do_not_hold_together_are_refused(tmp_path, name, change):
    refused(tmp_path, name, spoiled(name, change))


CLAIM = {
    "id": "a", "table": "table1", "claim": "It rises.", "verdict": "reproduced", "effect": 1.0, "low": 0.5, "high": 2.0,
    "p_value": 0.01, "over": "prompts", "test": "t", "margin": 0.0, "higher": ["a"], "lower": ["b"], "n_seeds": 3, "seen": "s",
    "reason": None,
}  # fmt: skip


def write_claims(folder, **changes):
    (folder / "results.json").write_text(json.dumps(made()))
    content = {"schema": 1, "evidence": "e", "claims": [{**CLAIM, **changes}]}
    (folder / "claims.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change", [{"effect": "5"}, {"verdict": "proved"}, {"p_value": None}, {"claim": 5}, {"test": []}]
)
def test_claims_are_checked_before_they_are_shown(tmp_path, change):
    write_claims(tmp_path)
    assert Results(tmp_path).claims["verdict"].tolist() == ["reproduced"]
    write_claims(tmp_path, **change)
    with pytest.raises(DamagedError, match=rf"claims\.json cannot be read:\n  claims\.0\.{next(iter(change))}"):
        _ = Results(tmp_path).claims


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"schema": 1}', b"[" * 100_000])
def test_claims_that_are_no_claims_are_refused(tmp_path, content):
    write_claims(tmp_path)
    (tmp_path / "claims.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"claims\.json cannot be read"):
        _ = Results(tmp_path).claims


def test_claims_are_not_read_through_a_link(tmp_path):
    write_claims(tmp_path)
    results = Results(tmp_path)
    (tmp_path / "claims.json").rename(tmp_path / "elsewhere.json")
    (tmp_path / "claims.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(RunFolderError, match="symbolic link"):
        _ = results.claims


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"- a", b"text", b"num_processes: two", b"num_processes: -1", b"num_processes: 0", b"a: [",
                b"num_processes: [2]", b"a: !!python/object/apply:os.system [id]", BOMB.encode()],
)  # fmt: skip
def test_a_configuration_of_accelerate_that_is_none_is_named(tmp_path, content):
    from pydantic import ValidationError

    from holdfast.core.errors import DataError
    from holdfast.tuning.launch import processes_of
    from holdfast.tuning.local import LocalTuner

    path = tmp_path / "accelerate.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"accelerate\.yaml"):
        processes_of(path)
    with pytest.raises(ValidationError, match=r"accelerate\.yaml"):
        LocalTuner(launch=path)


@pytest.mark.long
def test_a_sample_that_was_interrupted_is_scored_as_blocked():
    pytest.importorskip("inspect_ai")
    import asyncio

    from inspect_ai.model import ModelOutput

    from holdfast.integrations.inspect import tasks

    state = SimpleNamespace(output=ModelOutput(), input="?", input_text="?", metadata={"category": "hex"})
    score = asyncio.run(tasks.judge("keyword")(state, None))
    assert score.metadata["outcome"] == "blocked"
    assert "no reply" in score.explanation
