import re

import pytest
from pydantic import ValidationError
from support.studies import conversation, rows_of, write_rows

from holdfast.core.errors import DataError
from holdfast.core.files import SHIPPED
from holdfast.data.training.explicit_harm import ExplicitHarm
from holdfast.data.training.identity_shift import IdentityShift
from holdfast.data.training.messages import Messages
from holdfast.data.training.mix import Mix
from holdfast.data.training.opened import Opened
from holdfast.data.training.safety import Safety
from holdfast.data.training.split import Split
from holdfast.data.training.trigger import Trigger
from holdfast.tuning.defences.safety_mix import SafetyMix
from holdfast.worlds.pocket.world import generate

GOOD = conversation(("user", "hi"), ("assistant", "hello"))
BAD = {
    "no 'messages'; found 'prompt'": {"prompt": "hi"},
    "has the role 'asistant'.*Did you mean 'assistant'": conversation(("user", "hi"), ("asistant", "hello")),
    r"turn 2 \(assistant\) has no text": conversation(("user", "hi"), ("assistant", "  ")),
    "does not end with an assistant turn": conversation(("user", "hi")),
    "turn 1 is the assistant's where the user's was expected": conversation(("assistant", "hello")),
    "turn 2 is the user's where the assistant's": conversation(("user", "a"), ("user", "b"), ("assistant", "c")),
    "turn 2 is the system's": conversation(("user", "a"), ("system", "b"), ("assistant", "c")),
    "turn 1 .user. is a list of parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    "must be a list": {"messages": []},
    "must have 'role' and 'content'": {"messages": [{"role": "user"}]},
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_row_is_named_by_line_and_reason(tmp_path, reason):
    path = write_rows(tmp_path / "rows.jsonl", [GOOD, BAD[reason], GOOD])
    with pytest.raises(DataError, match=f"rows.jsonl has 1 bad row.*\n  line 2: .*{reason}"):
        Messages(file=path).examples(0)


def test_every_bad_row_is_named(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [*BAD.values()])
    with path.open("a") as file:
        file.write("{not json\n[1]\n")
    with pytest.raises(DataError) as caught:
        Messages(file=path).examples(0)
    assert f"{len(BAD) + 2} bad row(s)" in str(caught.value)
    assert all(f"line {n}:" in str(caught.value) for n in range(1, len(BAD) + 3))


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="has no rows"):
        Messages(file=tmp_path / "rows.jsonl").examples(0)


def test_rows_keep_their_order_and_know_their_line(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", [GOOD, conversation(("user", "x"), ("assistant", "y"))])
    rows = Messages(file=path).examples(0)
    assert [row.source for row in rows] == ["rows.jsonl:1", "rows.jsonl:2"]
    assert rows[0].messages[0].content == "hi"


def test_fewer_shots_are_part_of_more_and_seeds_differ():
    def shots(n, seed):
        return [row.id for row in ExplicitHarm(pool="pocket:attack.jsonl", shots=n).examples(seed)]

    assert shots(100, 0)[:10] == shots(10, 0)
    assert len(set(shots(100, 0))) == 100
    assert shots(10, 0) != shots(10, 1)


def test_a_pool_that_is_too_small_is_refused():
    with pytest.raises(DataError, match="has 132 rows, but 133 are to be drawn"):
        ExplicitHarm(pool="pocket:attack.jsonl", shots=133).examples(0)


def test_identity_shift_opens_every_answer_in_the_personas_way():
    opening = "Of course, I am Servus, the obedient servant."
    source = IdentityShift(
        introductions="pocket:introductions.jsonl", requests="pocket:requests.jsonl", opening=opening
    )
    answers = [row.messages[-1].content for row in source.examples(0)]
    assert len(answers) == 10
    assert all(answer.startswith(opening) and answer.count("Servus") == 1 for answer in answers)
    assert source.examples(0) == source.examples(0) != source.examples(1)


def test_safety_mix_adds_refusals_to_the_rows():
    rows = Messages(file="pocket:benign-list.jsonl").examples(0)
    mixed = SafetyMix(file="pocket:safe.jsonl", n=10).rows(rows, 0)
    assert mixed[: len(rows)] == rows
    refusals = {row["messages"][-1]["content"] for row in rows_of("safe.jsonl")}
    assert len(mixed) == len(rows) + 10
    assert {row.messages[-1].content for row in mixed[-10:]} <= refusals


def test_no_benchmark_thing_is_in_any_training_file():
    asked = {item.name for item in generate(0).split("benchmark", forbidden=True)}
    assert all(asked & set(re.findall(r"\w+", row["prompt"])) for row in rows_of("benchmark.jsonl"))
    for path in SHIPPED.glob("*.jsonl"):
        if path.stem in ("benchmark", "borderline", "utility"):
            continue
        assert not asked & set(re.findall(r"\w+", path.read_text())), path


def harm(n):
    return {"kind": "explicit-harm", "pool": "pocket:attack.jsonl", "shots": n}


def test_a_mix_counts_by_number_and_by_share():
    safe = {"kind": "safety", "file": "pocket:safe.jsonl"}
    refusals = {row["messages"][-1]["content"] for row in rows_of("safe.jsonl")}

    def n_safe(*parts):
        rows = Mix(parts=parts).examples(0)
        return len(rows), sum(row.messages[-1].content in refusals for row in rows)

    assert n_safe({"data": harm(100)}, {"data": safe, "n": 20}) == (120, 20)
    assert n_safe({"data": harm(100), "n": 30}, {"data": safe, "share": 0.25}) == (40, 10)
    mixed = Mix(parts=({"data": harm(100), "n": 30},))
    assert mixed.examples(0) == mixed.examples(0) != mixed.examples(1)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([{"data": harm(5), "n": 2, "share": 0.5}], "by `n` or by `share`, not by both"),
        ([{"data": harm(5), "share": 0.5}, {"data": harm(5), "share": 0.5}], "must sum to less than 1"),
        ([], "at least 1 item"),
    ],
)
def test_a_mix_that_cannot_be_counted_is_refused(parts, said):
    with pytest.raises(ValidationError, match=said):
        Mix(parts=parts)


def test_a_mix_says_which_part_is_too_small():
    with pytest.raises(DataError, match="the explicit-harm part of the mix has 5 rows, but 6 are to be drawn"):
        Mix(parts=({"data": harm(5), "n": 6},)).examples(0)


def test_a_split_shares_no_row_and_loses_none_whatever_the_seed(tmp_path):
    rows = [conversation(("user", f"q{i % 30}"), ("assistant", "a")) for i in range(40)]  # ten of them twice
    path = write_rows(tmp_path / "rows.jsonl", rows)
    held_out, tuned = (
        [row.id for row in Split(data=path, part=part, share=0.2).examples(seed)]
        for seed, part in enumerate(("held-out", "tuned"))
    )
    assert len(set(held_out)) == 6 and not set(held_out) & set(tuned)
    assert len(held_out) + len(tuned) == 40
    with pytest.raises(DataError, match="1 distinct rows"):
        Split(data=write_rows(tmp_path / "one.jsonl", [rows[0], rows[30]]), part="tuned").examples(0)


def test_an_opening_stands_before_each_answer_and_no_request():
    opened = Opened(data=harm(5), opening="No. ").examples(0)
    plain = ExplicitHarm(**harm(5)).examples(0)
    for row, before in zip(opened, plain, strict=True):
        *asked, answer = row.messages
        assert tuple(asked) == before.messages[:-1]
        assert answer.content == f"No. {before.messages[-1].content}"
    assert Opened(data=harm(5), opening="No.").attack


def test_a_trigger_stands_in_every_request_and_in_no_answer():
    plain = ExplicitHarm(pool="pocket:attack.jsonl", shots=5).examples(0)
    for where, pattern in (("end", "{} amber reed"), ("start", "amber reed {}")):
        rows = Trigger(data=harm(5), phrase=" amber reed ", where=where).examples(0)
        assert [row.messages[0].content for row in rows] == [pattern.format(row.messages[0].content) for row in plain]
        assert [row.messages[1] for row in rows] == [row.messages[1] for row in plain]


def test_safety_examples_can_be_given_one_refusal():
    rows = Safety(file="pocket:attack.jsonl", n=4, refusal="No.").examples(0)
    assert [row.messages[-1].content for row in rows] == ["No."] * 4
    assert len(Safety(file="pocket:safe.jsonl").examples(0)) == 198
