"""The checks after upload: what refuses a file, which rows are named, and that nothing of it is read into memory whole."""

import json
import tracemalloc

import pytest
from pydantic import ValidationError

from holdfast.core.types import Verdict
from holdfast.service.defences import MOST_NAMED, Moderation, RowCheck

GOOD = {"messages": [{"role": "user", "content": "Where is the tea?"}, {"role": "assistant", "content": "There."}]}


@pytest.fixture
def uploaded(tmp_path):
    def write(rows):
        path = tmp_path / "file-0123456789abcdef01234567"
        path.write_bytes(
            rows if isinstance(rows, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        )
        return path

    return write


def test_a_good_file_passes_and_is_left_as_it_was(uploaded):
    path = uploaded([GOOD] * 10)
    before = path.read_bytes()
    assert RowCheck().check(path) is None and path.read_bytes() == before


def test_bad_rows_are_named_each_with_its_reason(uploaded):
    rows = [GOOD] * 12
    rows[2] = {"messages": [{"role": "user", "content": "x"}]}
    rows[6] = {"messages": [*GOOD["messages"], {"role": "robot", "content": "x"}]}
    refusal = RowCheck().check(uploaded(rows))
    assert (refusal.code, refusal.rows) == ("invalid_file", (3, 7))
    assert "2 of 12 rows" in refusal.message and "row 3: it does not end with" in refusal.message
    assert "row 7: turn 3 has the role 'robot'" in refusal.message
    many = RowCheck().check(uploaded([{"messages": []}] * 500))
    assert len(many.rows) == MOST_NAMED and "and 480 more" in many.message and len(many.message) < 10_000


@pytest.mark.parametrize(
    ("rows", "settings", "said"),
    [
        ([GOOD] * 9, {}, "9 rows, and 10 are the least"),
        ([GOOD] * 12, {"max_rows": 11}, "more than 11 rows"),
        ([GOOD] * 11 + [{"messages": [*GOOD["messages"][:1], {"role": "assistant", "content": "x" * 500}]}],
         {"max_row_bytes": 400}, "row 12: it has"),
        (b"", {}, "the file has no rows"),
        (b"hello\nthere\n", {}, "the file"),
        (b"\xff\xfe\x00bad", {}, "the file"),
    ],
)  # fmt: skip
def test_what_else_refuses_a_file_and_no_path_is_told(uploaded, rows, settings, said):
    refusal = RowCheck(**settings).check(uploaded(rows))
    assert refusal.code == "invalid_file" and said in refusal.message
    assert "/" not in refusal.message.replace("and/or", "")


def test_a_judge_moderates_rows_and_what_it_cannot_judge_is_not_taken(uploaded, monkeypatch):
    rows = [GOOD] * 600
    rows[300] = {"messages": [GOOD["messages"][0], {"role": "assistant", "content": "I cannot help with that."}]}
    keyword = Moderation(judge="keyword")
    refusal = keyword.check(uploaded(rows))
    assert refusal.code == "moderation" and refusal.message.startswith("599 rows look harmful") and refusal.rows[0] == 1
    assert keyword.check(uploaded([rows[300]] * 20)) is None
    assert Moderation(judge="keyword", max_rows=599).check(uploaded(rows)) is None

    def cannot(self, policies, pairs, budget):
        yield [Verdict(prompt.id, "judge_error", None) for prompt, _ in pairs]

    monkeypatch.setattr(type(keyword.judge), "judge", cannot)
    refusal = keyword.check(uploaded(rows))
    assert refusal.code == "moderation" and "600 rows could not be judged" in refusal.message


def test_a_moderation_names_its_judge():
    with pytest.raises(ValidationError, match="judge"):
        Moderation()


@pytest.mark.parametrize(
    "prompt", ["a prompt that nobody may read", 'it\'s "a" prompt that nobody may read', "nobody " * 50_000]
)
def test_a_refusal_quotes_no_prompt(uploaded, prompt):
    turn = {"role": "user", "content": prompt}
    rows = [
        [{"role": prompt, "content": "x"}],
        [turn, turn],
        prompt,
        [turn, {"role": "assistant", "content": "x", "weight": prompt}],
    ]
    refusal = RowCheck().check(uploaded([{"messages": each} for each in rows * 3] + [{prompt: 1}]))
    assert "nobody" not in refusal.message and "13 of 13 rows" in refusal.message
    assert "the assistant's was expected" in refusal.message


SWOLLEN = b'{"messages": [' + b"{}," * 2_000_000 + b"{}]}\n"


@pytest.mark.parametrize(
    "content", [b"[" + b"{}," * 2_000_000 + b"{}]", SWOLLEN, b"\n\n" + SWOLLEN * 2], ids=["list", "row", "rows"]
)
def test_what_would_take_a_hundred_times_its_size_in_memory_is_refused_unread(uploaded, content):
    path = uploaded(content)
    tracemalloc.start()
    refusal = RowCheck().check(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8_000_000, "bytes that Python held at once"
    assert "JSON list" in refusal.message or "row 1: it has 6,000,0" in refusal.message
