"""results.json is read and written exactly, what it holds is documented, and other files are refused with a reason."""

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from support.results import agreement, cascade, made, typed

from holdfast.core.errors import RunFolderError
from holdfast.core.results import SCHEMA, RunResults

DOCS = (Path(__file__).parents[2] / "docs" / "results.md").read_text()


def full():
    """Results with something in every part."""
    checked = {"canaries": {"n": 12, "passed": 12}, "anchors": {"n": 12, "changed": 1, "mean_change": 0.1,
               "model_then": "a", "model_now": "b", "warning": None}}  # fmt: skip
    costs = {"usd": 0.1, "answers": 0.0, "judges": {"policy-1": {"usd": 0.1, "verdicts": 9, "from_cache": 1}}}
    return {**made(), "agreement": [agreement("oracle-1")], "cascade": [cascade("cascade-1")], "costs": costs,
            "judges": {"policy-1": checked}, "timings": {"abc": 1.5},
            "sensitivity": [{"factor": "style", "share": 40.0, "low": 20.0, "high": 60.0}]}  # fmt: skip


def test_what_is_written_is_read_again_and_written_the_same(tmp_path):
    results = typed(full())
    text = results.write(tmp_path).read_text()
    assert RunResults.read(tmp_path) == results
    assert RunResults.read(tmp_path).to_json() == text
    assert json.loads(text)["comparisons"] == full()["comparisons"]


def test_a_folder_without_results_says_how_to_get_them(tmp_path):
    with pytest.raises(
        RunFolderError, match=r"results.json does not exist. Finish the run first: `holdfast run STUDY --out"
    ):
        RunResults.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": SCHEMA - 1}, rf"has the schema {SCHEMA - 1}, and this version of Holdfast reads {SCHEMA}.*--out"),
        ({"schema": None}, "has the schema None"),
        ({"seeds": "many"}, r"cannot be read:\n  seeds: "),
        ({"trust": {}}, r"cannot be read:\n  trust.ok: Field required"),
    ],
)
def test_another_schema_or_a_damaged_file_is_refused_with_a_reason(tmp_path, change, message):
    (tmp_path / "results.json").write_text(json.dumps({**full(), **change}))
    with pytest.raises(RunFolderError, match=message):
        RunResults.read(tmp_path)


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(full())[:-9])
    with pytest.raises(RunFolderError, match="it is not JSON"):
        RunResults.read(tmp_path)


def test_a_field_of_a_later_version_is_passed_over():
    assert typed({**full(), "new": 1}) == typed(full())


def parts(kind):
    """A type's dataclasses: itself, and those of its fields."""
    if is_dataclass(kind):
        yield kind
        for hint in get_type_hints(kind).values():
            yield from parts(hint)
    for inner in get_args(kind):
        yield from parts(inner)


def test_every_field_is_documented():
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`[^`]+`", DOCS))))
    missing = {f"{part.__name__}.{field.name}" for part in parts(RunResults) for field in fields(part)
               if field.name not in words}  # fmt: skip
    assert not missing


def test_every_documented_field_is_there():
    table = re.findall(r"^\| (`.*?) \|", DOCS.partition("\n## ")[0], re.MULTILINE)
    documented = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
    assert documented == {field.name for field in fields(RunResults)}
    assert f"| `schema` | {SCHEMA} |" in DOCS
