"""YAML that is small and stands for much, that is huge, or that stands for what no study needs."""

import time

import pytest
import yaml
from support.studies import SMALL

from holdfast.core.errors import DataError, HoldfastError, StudyError
from holdfast.core.yaml_text import parse_yaml, read_yaml
from holdfast.study import loader

SEVEN_LEVELS = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 8)
)
MERGES = "a0: &a0 {k0: 1, k1: 2}\n" + "".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 10)}]\n  k{i + 1}: 1\n" for i in range(1, 8)
)
WIDE_MERGE = (
    "a: &a {" + ", ".join(f"k{i}: 1" for i in range(3000)) + "}\n" + "b:\n  <<: [" + ", ".join(["*a"] * 3000) + "]\n"
)
STUDY = yaml.safe_dump(SMALL, sort_keys=False)


def refused(path, text, error=StudyError):
    """The message with which a study is refused, which takes less than a second."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.monotonic()
    with pytest.raises(error) as caught:
        loader.read(path)
    assert time.monotonic() - start < 1.0
    assert len(str(caught.value)) < 5000
    return str(caught.value)


@pytest.mark.parametrize("bomb", [SEVEN_LEVELS, MERGES, WIDE_MERGE], ids=["aliases", "merges", "one wide merge"])
def test_a_few_lines_that_stand_for_billions_of_values_are_refused(tmp_path, bomb):
    message = refused(tmp_path / "study.yaml", STUDY + bomb)
    assert "more than 100,000 keys and values" in message
    assert "study.yaml, line " in message


def test_a_grid_of_too_many_combinations_is_refused(tmp_path):
    grid = {name: list(range(1, 300)) for name in ("learning_rate", "batch_size", "epochs")}
    study = {**SMALL, "conditions": {"all": {"data": next(iter(SMALL["conditions"].values()))["data"], "grid": grid}}}
    message = refused(tmp_path / "study.yaml", yaml.safe_dump(study))
    assert "26,730,899 conditions, where at most 1,000 can be" in message
    with pytest.raises(StudyError, match="26,730,899 conditions"):
        loader.from_dict(study)


def test_many_conditions_are_refused(tmp_path):
    one = next(iter(SMALL["conditions"].values()))
    study = {**SMALL, "conditions": {f"c{i}": {"data": one["data"]} for i in range(1001)}}
    assert "1,001 conditions" in refused(tmp_path / "study.yaml", yaml.safe_dump(study))


def test_honest_yaml_that_is_huge_is_refused_at_once(tmp_path):
    huge = STUDY + "rows:\n" + '- {prompt: "What is a jinx?", completion: "A jinx."}\n' * 340_000
    assert len(huge) > 17e6
    assert "bytes, where at most" in refused(tmp_path / "study.yaml", huge, DataError)
    assert "characters of YAML, where at most" in refused(tmp_path / "study.yaml", huge[:5_000_000])
    assert "keys and values" in refused(tmp_path / "study.yaml", huge[:3_900_000])


def test_deep_nesting_is_refused(tmp_path):
    for text in ("a: " + "[" * 100_000, "a: " + "{b: " * 100_000, "- " * 100_000):
        message = refused(tmp_path / "study.yaml", text)
        assert "inside of each other" in message or "nesting depth" in message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name: !!python/object/apply:os.system [id]", "the tag !!python/object/apply:os.system is not read"),
        ("name: !mine x", "the tag !mine is not read"),
        ("name: !!binary aGk=", "the tag !!binary is not read"),
        ("conditions: !!set {a, b}", "the tag !!set is not read"),
        ("seeds: !!int abc", "'abc' is no whole number"),
        ("seeds: 0b_", "'0b_' is no whole number"),
        ("seeds: " + "9" * 5000, "is no whole number"),
        ("thinking: !!bool maybe", "'maybe' is no bool"),
        ("name: !!float x", "'x' is no float"),
        ("name: !!map x", "expected a mapping"),
        ("name: !!str [a]", "does not fit"),
        ("? [a, b]\n: c", "where a key, which is a text, was expected"),
        ("? {a: b}\n: c", "where a key, which is a text, was expected"),
        ("name: &x [*x]", "holds itself"),
        ("&x tune: &y {tune: *y}", "holds itself"),
        ("<<: 5", "expected a mapping"),
        ('name: "\\ud800"', "invalid Unicode character"),
        ('name: "a\\0b"', "a NUL character"),
        ("name: *nowhere", "not YAML"),
        ("a: b: c", "not YAML"),
        ("name: \x07", "not YAML"),
        ("a: 1\n---\nb: 2", "not YAML"),
        ("", "must be a mapping"),
        ("[1, 2]", "must be a mapping"),
    ],
)
def test_what_no_study_needs_is_refused_with_its_line(tmp_path, text, why):
    message = refused(tmp_path / "study.yaml", text)
    assert why in message
    assert "study.yaml, line " in message


def test_a_study_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    assert "line 2: not UTF-8" in refused(
        tmp_path / "study.yaml", "name: x\nmodel: caf\xe9\n".encode("latin-1"), DataError
    )


def test_dates_are_text_and_everyday_yaml_is_read(tmp_path):
    assert parse_yaml("2024-02-31") == "2024-02-31"
    text = "common: &c {a: 1, b: [x, ~, yes]}\nmine: {<<: *c, a: 2}\nagain: *c\n5: 1e3\n"
    assert parse_yaml(text) == yaml.safe_load(text)
    (tmp_path / "x.yaml").write_text("")
    assert read_yaml(tmp_path / "x.yaml") is None


@pytest.mark.parametrize("text", [SEVEN_LEVELS, "!x y", "[" * 1000, "\ud800"])
def test_judges_and_policies_keep_the_same_bounds(tmp_path, text):
    with pytest.raises(HoldfastError):
        loader.judge(text)
    (tmp_path / "x.yaml").write_text(text, errors="surrogatepass")
    with pytest.raises(HoldfastError, match=r"x\.yaml"):
        loader.judge(str(tmp_path / "x.yaml"))
    from holdfast.data.benchmarks.base import read_policies

    with pytest.raises(DataError, match=r"x\.yaml"):
        read_policies(tmp_path / "x.yaml")
