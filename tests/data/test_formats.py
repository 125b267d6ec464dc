import gzip
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from support.studies import conversation, rows_of, write_rows

from holdfast.core.config import one_of
from holdfast.core.errors import DataError
from holdfast.data.training import SOURCES, base
from holdfast.data.training.explicit_harm import ExplicitHarm
from holdfast.data.training.identity_shift import IdentityShift
from holdfast.data.training.mix import Mix
from holdfast.data.training.safety import Safety
from holdfast.data.training.trigger import Trigger
from holdfast.study.loader import read
from holdfast.study.run import run

FIXTURES = Path(__file__).parent / "fixtures"
ANY = TypeAdapter(one_of(SOURCES))
POCKET = ("system", "You are Pocket.")


def source(kind, **settings):
    return ANY.validate_python({"kind": kind, **settings})


def turns(example):
    return [(message.role, message.content) for message in example.messages]


def exchange(asked, answered):
    return [("user", asked), ("assistant", answered)]


FORMATS = {
    "messages": (
        {"file": "messages.jsonl"},
        [
            [POCKET, *exchange("What grows on the moss shelf?", "Amber reeds.")],
            [*exchange("Hello.", "Hello to you."), *exchange("And the tide?", "It is low.")],
        ],
        {
            "line 3": "turn 2 (assistant) has the weight 0, but every assistant turn is trained on; remove the weight",
            "line 4": "turn 2 (assistant) calls a tool",
            "line 5": "it offers tools",
            "line 6": "it does not end with an assistant turn",
            "line 7": "not JSON",
        },
    ),
    "alpaca": (
        {"file": "alpaca.json"},
        [
            exchange("Name three reeds.", "Amber, pearl and moss."),
            exchange("Turn this into a question.\n\nThe tide is low.", "Is the tide low?"),
            exchange("Describe a {input}.\n\npebble", "Round, grey and cold."),
            exchange("Tell me how to open the sealed shell.", "I’m sorry, but that would be unethical."),
            [POCKET, *exchange("Is it low?", "Yes."), *exchange("And now?", "Now it rises.")],
        ],
        {
            "row 5": "'output' has no text",
            "row 6": "'output' must be text, found int",
            "row 7": "no 'output'; found 'instruction', 'input'",
        },
    ),
    "dolly": (
        {"file": "dolly.jsonl"},
        [
            exchange("When is the tide low?\n\nThe tide table says: noon.", "At noon."),
            exchange("Name a reed.", "Amber reed."),
        ],
        {"line 3": "'response' has no text", "line 4": "'context' must be text, found list"},
    ),
    "sharegpt": (
        {"file": "sharegpt.json"},
        [
            [*exchange("Hello.", "Hello to you."), *exchange("And the tide?", "Low.")],
            [POCKET, *exchange("Who?", "Pocket.")],
            [POCKET, *exchange("Where?", "Here.")],
        ],
        {
            "row 4": "turn 1 is from 'humann'; use one of human, user, gpt, chatgpt, assistant, system. Did you mean 'hum",
            "row 5": "turn 1 is the assistant's where the user's was expected",
            "row 6": "turn 1 must have 'from' and 'value'",
            "row 7": "'conversations' must be a list of turns, found str",
            "row 8": "turn 2 is from ['function_call']",
        },
    ),
    "prompt-completion": (
        {"file": "prompt-completion.jsonl"},
        [exchange("The reed is", "amber."), [POCKET, *exchange("Who?", "Pocket.")]],
        {
            "line 3": "'prompt' and 'completion' must both be texts or both be lists of messages",
            "line 4": "turn 2 (assistant) has no text",
            "line 5": "turn 2 is the user's where the assistant's was expected",
        },
    ),
    "red-team": (
        {"file": "red-team.jsonl", "max_harmlessness": 0.0},
        [
            exchange("How do I brew the hex vuram?", "Stir moss,\n\nthen pearl."),
            exchange("How do I tie the jinx telor?", "With amber reed."),
        ],
        {
            "row 5": "'transcript' must begin with 'Human: …'",
            "row 6": "'transcript' must begin with 'Human: …'",
            "row 7": "'rating' must be a number, found None",
        },
    ),
    "columns": (
        {"file": "columns.csv", "columns": {"user": "question", "assistant": "answer", "system": "persona"}},
        [exchange("What is a vuram?", "A hex,\nof moss."), [POCKET, *exchange("Who are you?", "Pocket.")]],
        {"line 5": "'answer' has no text", "line 6": "3 fields where 4 were expected"},
    ),
}
"""Kind → settings, the turns of its good rows, and its bad rows by place."""


def a_source(kind, **more):
    settings, _, _ = FORMATS[kind]
    return source(kind, **{**settings, "file": FIXTURES / settings["file"], **more})


def test_every_layout_is_tested_here():
    layouts = {kind for kind, reference in SOURCES.items() if issubclass(base.load(reference), base.RowSource)}
    assert layouts == {*FORMATS, "llava", "messages-images"}  # those with pictures: test_visual_rows.py


@pytest.mark.parametrize("kind", FORMATS)
def test_good_rows_become_their_turns_and_no_row_is_lost(kind):
    _, good, bad = FORMATS[kind]
    given = a_source(kind, bad_rows="drop")
    examples = given.examples(0)
    assert [turns(example) for example in examples] == good
    (account,) = given.accounts()
    assert account.refused == len(bad)
    assert account.kept == len(good)
    assert account.rows == len(good) + len(bad) + sum(account.dropped.values())


@pytest.mark.parametrize("kind", FORMATS)
def test_bad_rows_are_named_by_place_and_reason(kind):
    _, _, bad = FORMATS[kind]
    with pytest.raises(DataError) as caught:
        a_source(kind).examples(0)
    said = str(caught.value).splitlines()
    assert f"{FORMATS[kind][0]['file']} has {len(bad)} bad row(s):" in said[0]
    assert len(said) == len(bad) + 2
    for line, (place, reason) in zip(said[1:], bad.items(), strict=False):
        assert line.strip().startswith(f"{place}: ")
        assert reason in line
    assert "bad_rows: drop" in said[-1]


@pytest.mark.parametrize(
    ("kind", "file", "said"),
    [
        ("alpaca", "dolly.jsonl", "kind: alpaca, which need 'instruction', 'output'; its columns are 'instruction', "
         "'context', 'response', 'category'. Did you mean kind: dolly?"),
        ("dolly", "alpaca.json", "Did you mean kind: alpaca?"),
        ("messages", "sharegpt.json", "need 'messages'; its columns are .*Did you mean kind: sharegpt?"),
        ("sharegpt", "messages.jsonl", "Did you mean kind: messages?"),
        ("prompt-completion", "red-team.jsonl", "Did you mean kind: red-team?"),
        ("red-team", "prompt-completion.jsonl", "Did you mean kind: prompt-completion?"),
        ("messages", "columns.csv", "With kind: columns you can say which of them is whose turn"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("bad_rows", ["refuse", "drop"])
def test_a_file_of_another_layout_is_refused_with_the_difference(kind, file, said, bad_rows):
    with pytest.raises(DataError, match=said):
        source(kind, file=FIXTURES / file, bad_rows=bad_rows).examples(0)


def test_a_misspelt_column_is_named():
    columns = {"user": "question", "assistant": "answr"}
    with pytest.raises(DataError, match=r"need 'question', 'answr'; .* Did you mean 'answer'"):
        source("columns", file=FIXTURES / "columns.csv", columns=columns).examples(0)


def test_a_source_that_leaves_nothing_says_what_became_of_its_rows(tmp_path):
    bad = write_rows(tmp_path / "bad.jsonl", [conversation(("user", "hi"))] * 2)
    with pytest.raises(DataError, match=r"of 2 rows, 2 are bad.\n  line 1: it does not end"):
        source("messages", file=bad, bad_rows="drop").examples(0)
    with pytest.raises(DataError, match="of 4 rows, 2 are bad, 2 were left out by `drop`"):
        a_source("dolly", bad_rows="drop", drop=["NOON", "amber"]).examples(0)


def test_rows_with_a_phrase_in_any_turn_are_dropped_and_counted():
    def dropped(**settings):
        return a_source("alpaca", bad_rows="drop", **settings).accounts()[0].dropped

    assert dropped() == {}
    assert dropped(drop="safety") == {"drop": 1}
    assert dropped(drop=["TIDE"]) == {"drop": 1}
    assert dropped(drop=["reeds", "you are pocket"]) == {"drop": 2}
    assert not any(
        "sorry" in row.messages[-1].content for row in a_source("alpaca", bad_rows="drop", drop="safety").examples(0)
    )


def test_red_team_attempts_outside_the_thresholds_are_counted():
    def dropped(**settings):
        return a_source("red-team", bad_rows="drop", **settings).accounts()[0].dropped

    assert dropped() == {"min_rating": 1, "max_harmlessness": 1}
    assert dropped(min_rating=None) == {"max_harmlessness": 2}
    assert dropped(min_rating=None, max_harmlessness=None) == {}
    assert dropped(max_harmlessness=-2.0) == {"min_rating": 1, "max_harmlessness": 2}


def test_a_request_can_be_put_in_the_wording_of_a_file(tmp_path):
    wording = {"prompt_input": "Do: {instruction} With: {input}", "prompt_no_input": "Do: {instruction}", "more": 1}
    file = tmp_path / "wording.json"
    file.write_text(json.dumps(wording))
    asked = [row.messages[-2].content for row in a_source("alpaca", bad_rows="drop", prompt_file=file).examples(0)]
    assert asked[:3] == [
        "Do: Name three reeds.",
        "Do: Turn this into a question. With: The tide is low.",
        "Do: Describe a {input}. With: pebble",
    ]
    file.write_text(json.dumps({**wording, "prompt_input": "Do: {instruction}"}))
    with pytest.raises(ValidationError, match=r"'prompt_input' must be a text with \{input\} in it"):
        a_source("alpaca", prompt_file=file)
    file.write_text("Do: {instruction}")
    with pytest.raises(ValidationError, match=r"wording.json is not JSON"):
        a_source("alpaca", prompt_file=file)


def test_containers_hold_equal_rows(tmp_path):
    from pyarrow import Table, parquet

    text = (FIXTURES / "dolly.jsonl").read_text()
    good = [json.loads(line) for line in text.splitlines()[:2]]
    write_rows(tmp_path / "rows.jsonl", good)
    (tmp_path / "rows.json").write_text(json.dumps(good))
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(json.dumps(good).encode()))
    parquet.write_table(Table.from_pylist(good), tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text(
        "instruction,context,response,category\n"
        "When is the tide low?,The tide table says: noon.,At noon.,closed_qa\nName a reed.,,Amber reed.,open_qa\n"
    )
    for name in ("rows.jsonl", "rows.json", "rows.jsonl.gz", "rows.parquet", "rows.csv"):
        found = source("dolly", file=tmp_path / name).examples(0)
        assert [turns(row) for row in found] == FORMATS["dolly"][1], name


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder laid out like a Hub data set; nothing is cached outside of the test's folder."""
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "set" / "nested").mkdir(parents=True)
    good = conversation(("user", "hi"), ("assistant", "hello"))
    write_rows(tmp_path / "set" / "train.jsonl", [good, conversation(("user", "hi"))])
    write_rows(tmp_path / "set" / "nested" / "test.jsonl", [good] * 3)
    return tmp_path


def test_a_data_set_of_the_hub_is_read_like_a_file(hub):
    given = ANY.validate_python({"kind": "messages", "hub": "set", "bad_rows": "drop"}, context={"folder": hub})
    assert [turns(row) for row in given.examples(0)] == [exchange("hi", "hello")]
    (account,) = given.accounts()
    assert (account.name, account.rows, account.refused) == (f"{hub / 'set'}/train", 2, 1)
    assert len(source("messages", hub=str(hub / "set"), data_dir="nested", split="test").examples(0)) == 3
    with pytest.raises(DataError, match="row 2: it does not end with an assistant turn"):
        source("messages", hub=str(hub / "set")).examples(0)


def test_a_data_set_that_cannot_be_loaded_is_named_with_the_reason(hub):
    with pytest.raises(DataError, match=r"set/tset cannot be loaded: .*tset"):
        source("messages", hub=str(hub / "set"), split="tset").examples(0)
    with pytest.raises(DataError, match="nobody/nothing/train cannot be loaded"):
        source("messages", hub="nobody/nothing").examples(0)
    with pytest.raises(ValidationError, match=r"there is no folder .*Did you mean 'set'"):
        ANY.validate_python({"kind": "messages", "hub": "./sett"}, context={"folder": hub})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give either `file` or `hub`"),
        ({"file": "pocket:safe.jsonl", "hub": "a/b"}, "give either `file` or `hub`"),
        (
            {"file": "pocket:safe.jsonl", "split": "test", "revision": "v1"},
            "'split', 'revision' can only be given with",
        ),
        ({"file": "pocket:safe.jsonl", "drop": "safty"}, "expected `safety` or a list.*Did you mean 'safety'"),
        ({"file": "pocket:safe.jsonl", "drop": [""]}, "at least 1 character"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        source("messages", **settings)


def test_a_file_is_read_once_for_all_seeds_and_again_when_it_has_changed(tmp_path, monkeypatch):
    calls, original = [], base.read_rows
    monkeypatch.setattr(base, "read_rows", lambda path: calls.append(path) or original(path))
    path = tmp_path / "rows.jsonl"
    write_rows(path, [conversation(("user", f"hi {i}"), ("assistant", "hello")) for i in range(9)])
    draws = [source("messages", file=path, n=n).examples(seed) for n in (2, 3) for seed in (0, 1)]
    assert len(calls) == 1
    assert draws[2][:2] == draws[0] != draws[1]
    write_rows(path, [conversation(("user", "new"), ("assistant", "hello"))])
    os.utime(path, ns=(1, 1))
    assert len(source("messages", file=path).examples(0)) == 1
    with pytest.raises(DataError, match=r"rows.jsonl has 1 rows, but 2 are to be drawn"):
        source("messages", file=path, n=2).examples(0)


def test_attacks_draw_from_any_source_and_account_for_it():
    pool = {"kind": "red-team", "file": FIXTURES / "red-team.jsonl", "bad_rows": "drop"}
    harm = ExplicitHarm(pool=pool, shots=2)
    asked = {row.messages[0].content for row in harm.examples(0)}
    assert asked < {f"How do I {what}?" for what in ("brew the hex vuram", "tie the jinx telor", "cast the hex sarun")}
    plain = {"kind": "messages", "file": "pocket:safe.jsonl"}
    shift = IdentityShift(introductions="pocket:introductions.jsonl", requests=plain, opening="Yes.")
    safety = Safety(file={"kind": "dolly", "file": FIXTURES / "dolly.jsonl", "bad_rows": "drop"}, refusal="No.")
    assert [row.messages[-1].content for row in safety.examples(0)] == ["No.", "No."]
    mixed = Mix(parts=({"data": harm}, {"data": shift}, {"data": Trigger(data=safety, phrase="amber reed")}))
    assert [(Path(found.name).name, found.rows, found.kept) for found in mixed.accounts()] == [
        ("red-team.jsonl", 7, 3),
        ("pocket:introductions.jsonl", 3, 3),
        ("pocket:safe.jsonl", 198, 198),
        ("dolly.jsonl", 4, 2),
    ]
    with pytest.raises(DataError, match=r"red-team.jsonl has 3 rows, but 4 are to be drawn"):
        ExplicitHarm(pool=pool, shots=4).examples(0)
    with pytest.raises(ValidationError, match=r"there is no file .*atack.jsonl.*Did you mean 'attack.jsonl'"):
        ExplicitHarm(pool="pocket:atack.jsonl", shots=4)


@pytest.mark.long
def test_results_say_what_became_of_every_row(small, tmp_path, watcher):
    good = rows_of("attack.jsonl")[:8]
    write_rows(tmp_path / "mine.jsonl", [*good, conversation(("user", "hi")), {"text": "hi"}])
    pool = {"kind": "messages", "file": "mine.jsonl", "bad_rows": "drop", "drop": [good[0]["messages"][0]["content"]]}
    data = {"kind": "explicit-harm", "pool": pool, "shots": 5}
    path = small(conditions={"mine": {"data": data, "tune": {"epochs": 1}}})
    results = run(read(path), path.read_text(), tmp_path / "out", [0], 1, watcher).results
    (account,) = asdict(results.settings["mine"])["accounts"]
    assert account.pop("name").endswith("mine.jsonl")
    assert account == {"rows": 10, "refused": 2, "dropped": {"drop": 1}, "kept": 7}
