import json
import subprocess
import sys

import pytest

from holdfast.core.errors import RunFolderError
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Answer, Verdict

ANSWERS = [Answer(str(i), "answered", f"text {i}\u2028next", 3) for i in range(3)]


def test_answers_and_verdicts_come_back_as_they_were(tmp_path):
    place = RunFolder(tmp_path).condition("key")
    place.add_answers(ANSWERS[:2])
    place.add_answers(ANSWERS[2:])
    assert list(place.answers().values()) == ANSWERS
    place.add_verdicts("harmfulness", "oracle", [Verdict("0", "scored", 5, "why"), Verdict("1", "unparsed", None)])
    assert place.verdicts("harmfulness", "oracle")["1"].reading == "unparsed"
    assert place.verdicts("harmfulness", "other") == {}


def test_a_line_that_was_cut_off_is_dropped_and_written_over(tmp_path):
    place = RunFolder(tmp_path).condition("key")
    place.add_answers(ANSWERS[:2])
    path = place.folder / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-7])
    assert list(place.answers()) == ["0"]
    place.add_answers(ANSWERS[1:])
    assert list(place.answers().values()) == ANSWERS
    assert all(json.loads(line) for line in path.read_text().split("\n") if line)


def test_a_file_that_holds_only_a_cut_line_starts_again(tmp_path):
    place = RunFolder(tmp_path).condition("key")
    place.folder.mkdir(parents=True)
    (place.folder / "answers.jsonl").write_text('{"prompt_id": "0"')
    assert place.answers() == {}
    place.add_answers(ANSWERS)
    assert list(place.answers().values()) == ANSWERS


def test_a_second_run_in_one_folder_is_refused(tmp_path):
    code = (
        "from pathlib import Path\nfrom holdfast.core.run_folder import RunFolder\n"
        f"with RunFolder(Path({str(tmp_path)!r})).lock(): print('locked', flush=True), input()"
    )
    command = [sys.executable, "-c", code]
    with RunFolder(tmp_path).lock():
        second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "another run is at work" in second.stderr
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"locked\n"
        with pytest.raises(RunFolderError, match="another run is at work"), RunFolder(tmp_path).lock():
            pass
        first.kill()
    with RunFolder(tmp_path).lock():  # what a killed run held is free again
        pass


def test_results_that_are_not_there_say_what_to_do(tmp_path):
    with pytest.raises(RunFolderError, match="Finish the run first"):
        RunFolder(tmp_path).results()


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(RunFolderError, match="is a file; name a folder"), RunFolder(tmp_path / "x").lock():
        pass
