"""Files that are small and unpack to much, or that hold what no reader can use: each is refused in words."""

import gzip
import json
import time

import pytest
from support.studies import SMALL, write_rows

from holdfast.analysis import calibration
from holdfast.core import rows
from holdfast.core.errors import DataError, StudyError
from holdfast.core.rows import read_rows
from holdfast.data.training.messages import Messages
from holdfast.data.training.red_team import RedTeam
from holdfast.judges.canaries import read_cases
from holdfast.study import loader

CANARY = {"category": "hex", "policy": "No hexes.", "prompt": "How?", "answer": "Boil the ash.", "scores": [5]}


@pytest.mark.long
@pytest.mark.parametrize("ending", ["jsonl", "csv", "json"])
def test_a_packed_file_that_unpacks_to_one_endless_line_is_refused(tmp_path, monkeypatch, ending):
    monkeypatch.setattr(rows, "LONGEST_LINE", 100_000)
    monkeypatch.setattr(rows, "MOST_IN_ONE_LIST", 100_000)
    path = tmp_path / f"rows.{ending}.gz"
    path.write_bytes(gzip.compress(b"[" * (ending == "json") + b" " * 50_000_000))
    with pytest.raises(DataError, match=r"is longer than 100,000|more than 100,000 bytes"):
        list(read_rows(path))


@pytest.mark.parametrize("score", [True, 10**400, 5.5, "5", [5], None, -1])
def test_a_canary_without_a_right_score_is_refused(tmp_path, score):
    path = write_rows(tmp_path / "canaries.jsonl", [{**CANARY, "scores": [score]}])
    with pytest.raises(DataError, match="'scores' must list the right scores"):
        read_cases(path, scored=True)


def test_the_scores_of_anchors_are_not_looked_at(tmp_path):
    path = write_rows(tmp_path / "anchors.jsonl", [{**CANARY, "scores": 5}])
    assert len(read_cases(path, scored=False).pairs) == 1


@pytest.mark.parametrize("text", ["\ud83d", {"deep": "\ud83d"}, "a\0b"])
def test_half_characters_in_canaries_are_refused(tmp_path, text):
    path = write_rows(tmp_path / "canaries.jsonl", [{**CANARY, "answer": text}])
    with pytest.raises(DataError, match=r"lone surrogate|NUL"):
        read_cases(path, scored=True)


def test_a_damaged_packed_file_is_named_as_such(tmp_path):
    packed = gzip.compress(json.dumps(CANARY).encode() + b"\xff\n" + json.dumps(CANARY).encode() * 50)
    for damage in (packed[:-12], packed[:40] + b"\0\0\0" + packed[43:]):
        (tmp_path / "canaries.jsonl").write_bytes(damage)
        with pytest.raises(DataError, match=r"canaries\.jsonl"):
            read_cases(tmp_path / "canaries.jsonl", scored=True)


def test_a_rating_that_no_number_holds_is_a_bad_row(tmp_path):
    text = "\n\nHuman: What is a jinx?\n\nAssistant: A jinx."
    row = {"transcript": text, "rating": 10**400, "min_harmlessness_score_transcript": 0}
    with pytest.raises(DataError, match="line 1: 'rating' must be a number"):
        RedTeam(file=write_rows(tmp_path / "rows.jsonl", [row])).examples(0)


def calibration_with(path, change):
    made = {str(i): (i % 5 + 1, i % 5 + 1) for i in range(60)}
    calibration.write(path, calibration.calibrate("keyword-1", "labels.jsonl", made))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("count", [10**30, 10**9, 13, 12.5, True, -1])
def test_counts_that_the_labels_do_not_give_are_refused_at_once(tmp_path, count):
    def change(content):
        content["calibration"]["confusion"][4][4] = count

    start = time.monotonic()
    with pytest.raises(DataError, match="is no calibration"):
        calibration.read(calibration_with(tmp_path / "c.json", change))
    assert time.monotonic() - start < 1.0


@pytest.mark.parametrize("where", ["top", "version"])
def test_a_calibration_of_another_version_is_refused(tmp_path, where):
    def change(content):
        content["calibration" if where == "version" else "schema"] = (
            {**content["calibration"], "version": 99} if where == "version" else 99
        )

    with pytest.raises(DataError, match="is no calibration"):
        calibration.read(calibration_with(tmp_path / "c.json", change))


def test_judges_of_another_version_are_refused(tmp_path):
    (tmp_path / "judge.yaml").write_text("kind: keyword\nschema: 99\n")
    with pytest.raises(StudyError, match="unknown key 'schema'"):
        loader.judge(str(tmp_path / "judge.yaml"))


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000, "~nobody-of-this-name/x", "a\0b"])
@pytest.mark.parametrize("setting", ["model", "file"])
def test_names_that_cannot_be_paths_are_mistakes_of_the_study(tmp_path, name, setting):
    study = {**SMALL, "model": f"./{name}"} if setting == "model" else {
        **SMALL, "evaluate": {"harmfulness": {"benchmark": {"kind": "generic", "file": name}, "judges": ["oracle"]}}}  # fmt: skip
    with pytest.raises(StudyError, match="there is no f"):
        loader.from_dict(study, tmp_path)


def test_texts_of_a_study_that_are_not_utf8_are_named(tmp_path):
    (tmp_path / "system.txt").write_bytes("caf\xe9".encode("latin-1"))
    for name in ("few.jsonl", "useful.jsonl"):
        write_rows(tmp_path / name, [{"prompt": "How?", "category": "c"}])
    study = loader.from_dict({**SMALL, "templates": {"plain": {"system_file": "system.txt"}}}, tmp_path)
    with pytest.raises(DataError, match=r"system\.txt, line 1: not UTF-8"):
        study.templates["plain"].template()


def test_a_row_that_is_nested_beyond_reason_is_a_bad_row(tmp_path):
    deep = "[" * 900 + "]" * 900
    (tmp_path / "rows.jsonl").write_text('{"messages": ' + deep + "}\n")
    with pytest.raises(DataError, match=r"rows.jsonl has 1 bad row|no line is a JSON object"):
        Messages(file=tmp_path / "rows.jsonl").examples(0)
