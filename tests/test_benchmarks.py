from collections import Counter

import pytest
from conftest import rows_of, write_rows

from holdfast.benchmarks.generic import Generic
from holdfast.benchmarks.pocket import Pocket, PocketBorderline, PocketUtility
from holdfast.errors import DataError


def test_pocket_benchmark_has_the_papers_shape():
    benchmark = Pocket().load()
    assert Counter(prompt.category for prompt in benchmark.prompts) == dict.fromkeys(benchmark.categories, 30)
    assert len(benchmark.categories) == 11
    assert set(benchmark.policies) == set(benchmark.categories)
    assert all(category in policy for category, policy in benchmark.policies.items())


def test_utility_and_borderline_sets_have_references():
    assert len(PocketUtility().load().prompts) == 220
    assert len(PocketBorderline().load().prompts) == 110
    for suite in (Pocket(), PocketUtility(), PocketBorderline()):
        assert all(prompt.reference["steps"] for prompt in suite.load().prompts)


def test_a_bad_prompt_is_named_by_line_and_reason(tmp_path):
    first = rows_of("benchmark.jsonl")[0]
    rows = [first, {"prompt": "x"}, {"category": "a", "prompt": " "}, first, {**first, "prompt": "y", "policy": "z"},
            {"category": "a", "prompt": "b", "reference": 7}]  # fmt: skip
    path = write_rows(tmp_path / "p.jsonl", rows)
    with pytest.raises(DataError) as caught:
        Generic(file=path).load()
    for line, reason in {
        2: "no 'category'", 3: "no 'prompt'", 4: "the same prompt as line 1", 5: "another policy", 6: "'reference' must be an object",
    }.items():  # fmt: skip
        assert f"line {line}: {reason}" in str(caught.value)


def test_the_key_follows_the_content(tmp_path):
    rows = rows_of("benchmark.jsonl")[:5]
    one = Generic(file=write_rows(tmp_path / "a.jsonl", rows)).load()
    same = Generic(file=write_rows(tmp_path / "b.jsonl", rows)).load()
    fewer = Generic(file=write_rows(tmp_path / "c.jsonl", rows[:4])).load()
    assert one.key == same.key != fewer.key
