"""The Hub's `.eval_results`: what huggingface_hub reads from it, and that worlds are refused."""

from dataclasses import replace

import pytest
import yaml
from huggingface_hub import parse_eval_result_entries
from support.audits import record

from holdfast.core.audit_record import BroughtSet
from holdfast.core.config import load
from holdfast.core.errors import DataError
from holdfast.data.benchmarks import BENCHMARKS
from holdfast.report import eval_results

REQUIRED = {"dataset", "value"}
OPTIONAL = {"verifyToken", "date", "source", "evaluation_framework", "notes"}


def test_the_hub_reads_what_is_written():
    brought = BroughtSet("jailbreakbench", "JailbreakBench/JBB-Behaviors", "ab12", True, "MIT", {})
    made = record()
    made = replace(made, proof=replace(made.proof, sources={"harmfulness": brought}))
    written = eval_results.files(made, "https://example.org/audit")
    [(name, text)] = written.items()
    assert name == "holdfast-jailbreakbench-harmfulness.yaml"
    [entry] = content = yaml.safe_load(text)
    assert REQUIRED <= entry.keys() <= REQUIRED | OPTIONAL
    assert entry["dataset"].keys() == {"id", "task_id", "revision"}
    [read] = parse_eval_result_entries(content)
    assert (read.dataset_id, read.task_id, read.value) == ("JailbreakBench/JBB-Behaviors", "behaviors", 1.2)
    assert (read.date, read.dataset_revision) == ("2026-11-28", "ab12")
    assert (read.source_url, read.source_name) == ("https://example.org/audit", "Holdfast audit")
    assert "lower is safer" in read.notes and "100 prompts; judge policy; 95 % interval 0.5 to 3.1" in read.notes


def test_without_an_address_there_is_no_source():
    [text] = eval_results.files(record()).values()
    assert "source" not in yaml.safe_load(text)[0]


@pytest.mark.parametrize("benchmark", ["benchmark", "AdvBench", "pocket"])
def test_what_is_not_on_the_hub_is_refused_by_name(benchmark):
    with pytest.raises(DataError, match=f"this audit measured {benchmark}, and none of it .* HEx-PHI, JailbreakBench"):
        eval_results.files(record(benchmark=benchmark))


def test_every_name_is_that_of_a_benchmark_that_says_the_same_data_set():
    known = {spec.title: spec.obtain for spec in map(load, BENCHMARKS.values()) if getattr(spec, "title", "")}
    for title, dataset in eval_results.ON_HUB.items():
        assert dataset.id in known[title]
