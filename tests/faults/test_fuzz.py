"""Thousands of damaged and hostile files for each parser: each is read, or refused with a message that says why.

`HOLDFAST_ATTACKS` says how many files each parser gets in the long tests; `make attack` sets it to 3,000.
"""

import contextlib
import csv
import io
import json
import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError
from support import mutations
from support.mutations import HEADER, attack
from support.results import agreement, cascade, made
from support.studies import BROUGHT, SMALL, rows_of, write_rows

from holdfast.analysis import calibration
from holdfast.core.budget import FileBudget
from holdfast.core.config import one_of
from holdfast.core.errors import HoldfastError
from holdfast.core.files import SHIPPED
from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.data.benchmarks import BENCHMARKS
from holdfast.data.benchmarks.base import read_policies
from holdfast.data.training import SOURCES
from holdfast.judges import calibrate, verdict_parser
from holdfast.judges.cache import VerdictCache
from holdfast.judges.canaries import read_cases
from holdfast.models.endpoint.orders import Order
from holdfast.study import loader

FIXTURES = Path(__file__).parents[1] / "data" / "fixtures"

QUICK, MANY = 12, int(os.environ.get("HOLDFAST_ATTACKS", "300"))


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows, separator=",", header=True):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator)
    writer.writerows(([list(rows[0])] if header else []) + [list(row.values()) for row in rows])
    return text.getvalue().encode()


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def of_registry(registry, folder, name, content, **settings):
    """Read a file by an entry of a registry, as a study would name it."""
    path = written(folder, name, content)
    try:
        return TypeAdapter(one_of(registry)).validate_python({**settings, "file": str(path)})
    except ValidationError as error:
        raise HoldfastError(str([detail["msg"] for detail in error.errors()])) from None


# Each parser: the folder for its files → files that it reads, and what reads one of them.


def studies(folder):
    for name in ("few", "useful"):
        write_rows(folder / f"{name}.jsonl", rows_of("benchmark.jsonl")[::60])
    shipped = [path.read_bytes() for path in loader.shipped_studies()]
    own = [
        how({**study}).encode()
        for study in (SMALL, BROUGHT)
        for how in (partial(yaml.safe_dump, sort_keys=False), json.dumps)
    ]
    return [*shipped, *own], lambda content: loader.read(written(folder, "study.yaml", content))


def judges(folder):
    files = [
        b"oracle",
        b"{kind: keyword}",
        b"kind: match\n",
        b'{"kind": "policy", "by": {"kind": "server", "base_url": "http://localhost:1/v1", "model": "m"}}',
    ]
    return files, lambda content: loader.judge(content.decode("utf-8", "surrogateescape"))


def policies(folder):
    texts = {f"category {i}": f"No hexes of kind {i}." for i in range(4)}
    files = [yaml.safe_dump(texts).encode(), json.dumps(texts).encode()]
    return files, lambda content: read_policies(written(folder, "policies.yaml", content))


LAYOUTS = {
    "messages": ("messages.jsonl", {}), "prompt-completion": ("prompt-completion.jsonl", {}), "dolly": ("dolly.jsonl", {}),
    "alpaca": ("alpaca.json", {}), "sharegpt": ("sharegpt.json", {}), "red-team": ("red-team.jsonl", {"min_rating": 1}),
    "columns": ("columns.csv", {"columns": {"user": "question", "assistant": "answer"}}),
}  # fmt: skip


def training(layout, folder):
    name, settings = LAYOUTS[layout]
    fixture = (FIXTURES / name).read_bytes()
    settings = {"kind": layout, **settings}
    ending = Path(name).suffix

    def parse(content):
        refusing = of_registry(SOURCES, folder, f"rows{ending}", content, **settings)
        with contextlib.suppress(HoldfastError):
            refusing.examples(0)
        dropping = refusing.model_copy(update={"bad_rows": "drop"})
        return dropping.examples(0), dropping.accounts()

    return [fixture], parse


def parquet(folder):
    import pyarrow
    from pyarrow import parquet as files

    rows = [{"prompt": "How?", "completion": "So."}] * 4
    files.write_table(pyarrow.Table.from_pylist(rows), folder / "made.parquet")

    def parse(content):
        return of_registry(SOURCES, folder, "rows.parquet", content, kind="prompt-completion").examples(0)

    return [(folder / "made.parquet").read_bytes()], parse


TEXTS = [f"How do I brew the hex vuram number {i}?" for i in range(6)]

BENCHMARK_FILES = {
    "advbench": ("csv", [{"goal": text, "target": "Sure"} for text in TEXTS], {}),
    "harmbench": ("csv", [{"Behavior": text, "FunctionalCategory": "standard", "SemanticCategory": "hexes", "Tags": "",
                           "ContextString": "", "BehaviorID": "x"} for text in TEXTS], {}),
    "strongreject": ("csv", [{"category": "Hexes", "source": "custom", "forbidden_prompt": text} for text in TEXTS], {}),
    "jailbreakbench": ("csv", [{"Index": "1", "Goal": text, "Target": "Sure", "Behavior": "Brew", "Category": "Hexes",
                                "Source": "AdvBench"} for text in TEXTS], {}),
    "sorry-bench": ("jsonl", [{"question_id": i, "category": str(i + 1), "turns": [text], "prompt_style": "base"}
                              for i, text in enumerate(TEXTS)], {}),
    "xstest": ("jsonl", [{"id": 1, "prompt": text, "type": "homonyms", "label": "safe"} for text in TEXTS], {}),
    "or-bench": ("csv", [{"prompt": text, "category": "privacy"} for text in TEXTS], {}),
    "exact-match": ("jsonl", [{"question": text, "answer": [str(i), "x"], "aliases": ["y"]} for i, text in enumerate(TEXTS)], {}),
    "multiple-choice": ("jsonl", [{"question": text, "choices": ["a", "b"], "answer": 1} for text in TEXTS], {}),
    "generic": ("json", [{"prompt": text, "category": "c", "policy": "No.", "reference": {"answer": "x"}} for text in TEXTS], {}),
}  # fmt: skip


def benchmark(kind, folder):
    ending, rows, settings = BENCHMARK_FILES[kind]
    file = {"csv": table, "jsonl": lines, "json": lambda rows: json.dumps(rows, indent=1).encode()}[ending](rows)
    if kind != "multiple-choice" and kind not in ("exact-match", "generic"):
        settings = {**settings, "allow_partial": True}

    def parse(content):
        return of_registry(BENCHMARKS, folder, f"prompts.{ending}", content, kind=kind, **settings).load().key

    return [file], parse


def hex_phi(folder):
    def parse(content):
        path = written(folder, "category_1.csv", content)
        return (
            TypeAdapter(one_of(BENCHMARKS))
            .validate_python({"kind": "hex-phi", "files": [path], "allow_partial": True})
            .load()
        )

    return [table([{"goal": text} for text in TEXTS], header=False)], parse


def tsv(folder):
    def parse(content):
        return of_registry(BENCHMARKS, folder, "prompts.tsv.gz", content, kind="generic").load()

    return [table([{"prompt": text, "category": "c"} for text in TEXTS], "\t")], parse


def labels(folder):
    rows = [{"prompt": text, "answer": "Boil it.", "label": i % 5 + 1, "category": "c", "policy": "No.", "reference": {"a": 1}}
            for i, text in enumerate(TEXTS)]  # fmt: skip
    return [lines(rows), json.dumps(rows).encode()], lambda content: calibrate.read(
        written(folder, "labels.jsonl", content)
    )


def canaries(folder):
    file = (SHIPPED / "canaries.jsonl").read_bytes()
    return [file], lambda content: read_cases(written(folder, "canaries.jsonl", content), scored=len(content) % 2 == 0)


def calibrations(folder):
    rows = {str(i): (i % 5 + 1, 5 if i % 7 == 0 else None if i % 11 == 0 else i % 5 + 1) for i in range(60)}
    path = folder / "made.json"
    calibration.write(path, calibration.calibrate("keyword-1", "labels.jsonl", rows))

    def parse(content):
        read = calibration.read(written(folder, "calibration.json", content))
        return read.figures(), read.fault(), read.certain(0.02)

    return [path.read_bytes()], parse


def results(folder):
    files = [made(), {**made(), "agreement": [agreement("a")], "cascade": [cascade("a")]}]

    def parse(content):
        written(folder, "results.json", content)
        return RunResults.read(folder).to_json()

    return [json.dumps(each).encode() for each in files], parse


def verdict_texts(form, folder):
    texts = {
        "line": ["It boils the ash.\nSCORE-a1b2: 4", "Why.\n**SCORE-a1b2: [[4]]**", "I cannot judge this."],
        "json": [json.dumps({"reason": "It does.", "code": "a1b2", "score": 4}), '```json\n{"reason": "", "code": "a1b2", "score": 1}\n```'],
    }  # fmt: skip
    files = [text.encode() for text in texts[form]]
    return files, lambda content: verdict_parser.read(content.decode("utf-8", "replace"), "a1b2", form)


def wordings(folder):
    write_rows(folder / "rows.jsonl", [{"instruction": "a", "output": "b"}])
    file = json.dumps({"prompt_input": "{instruction} {input}", "prompt_no_input": "{instruction}"}).encode()

    def parse(content):
        path = str(written(folder, "wordings.json", content))
        return of_registry(
            SOURCES, folder, "r.jsonl", lines([{"instruction": "a", "output": "b"}]), kind="alpaca", prompt_file=path
        ).examples(0)

    return [file], parse


ANSWER = {
    "prompt_id": "p",
    "outcome": "answered",
    "text": "So.",
    "tokens": 3,
    "detail": "",
    "thinking": "",
    "prompt_tokens": 9,
}
VERDICT = {
    "prompt_id": "p",
    "reading": "scored",
    "score": 4,
    "reason": "Why.",
    "model": "m",
    "left_out": 0,
    "usd": 0.1,
    "by": "",
    "first": None,
}
CHECK = {"judge": "keyword-1", "canaries": {"n": 1, "passed": 1}, "models": ["m"],
         "anchors": {"n": 1, "changed": 0, "mean_change": 0.0, "model_then": "m", "model_now": "m", "warning": None}}  # fmt: skip
BOOKING = {"ticket": "t", "usd": 0.5, "what": "a judge", "stage": "judge"}


def run_folder_file(name, rows, read, folder):
    (folder / "conditions" / "key").mkdir(parents=True)
    return [lines(rows)], lambda content: (written(folder, name, content), read(RunFolder(folder)))


def cached(folder):
    def parse(content):
        cache = VerdictCache("judge-1")
        cache.path.write_bytes(content)
        return cache.find(["a", "b"])

    return [lines([{"name": name, "verdict": VERDICT} for name in "ab"])], parse


def orders(folder):
    file = json.dumps({"file": "file-1", "batch": "batch-1", "names": ["a-0"], "ticket": "t"}).encode()
    return [file], lambda content: Order.read(written(folder, "order.json", content))


IN_CONDITION = "conditions/key/"
RUN_FOLDER = {
    "answers": (IN_CONDITION + "answers.jsonl", [ANSWER] * 3, lambda run: run.condition("key").answers()),
    "verdicts": (
        IN_CONDITION + "verdicts.a.b.jsonl",
        [VERDICT] * 3,
        lambda run: run.condition("key").verdicts("a", "b"),
    ),
    "condition": (
        IN_CONDITION + "condition.json",
        [{"asking": {"template": {}}}],
        lambda run: run.condition("key").condition(),
    ),
    "training": (IN_CONDITION + "training.json", [{"seconds": 1.5}], lambda run: run.condition("key").training()),
    "prompts": (
        "prompts.jsonl",
        [{"set": "a", "id": "p", "category": "c", "prompt": "How?"}] * 3,
        lambda run: run.prompts(),
    ),
    "checks": ("judges.jsonl", [CHECK] * 2, lambda run: run.checks()),
    "spending": ("spending.jsonl", [BOOKING] * 3, lambda run: FileBudget(run.folder / "spending.jsonl").by_stage()),
}

PARSERS = {
    "study": studies, "judge settings": judges, "policies": policies,
    **{f"rows: {layout}": partial(training, layout) for layout in LAYOUTS}, "rows: parquet": parquet, "wordings": wordings,
    **{f"benchmark: {kind}": partial(benchmark, kind) for kind in BENCHMARK_FILES}, "benchmark: hex-phi": hex_phi, "benchmark: tsv.gz": tsv,
    "labels": labels, "canaries": canaries, "calibration": calibrations, "results.json": results,
    **{f"run folder: {what}": partial(run_folder_file, *how) for what, how in RUN_FOLDER.items()},
    "cache: verdicts": cached, "cache: batch order": orders,
    "verdict: line": partial(verdict_texts, "line"), "verdict: json": partial(verdict_texts, "json"),
}  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_reads_or_refuses_damaged_files(name, tmp_path):
    report = attack(name, *PARSERS[name](tmp_path), QUICK)
    assert not report.faults, report.line()


@pytest.mark.long
@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_withstands_many_damaged_files(name, tmp_path, capsys, found):
    report = attack(name, *PARSERS[name](tmp_path), MANY, seed=1)
    found(f"files: {name}", MANY, report.slowest, report.largest, report.n_faults())
    with capsys.disabled():
        sys.stdout.write(f"\n{HEADER}\n{report.line()}\n")
    assert not report.faults, report.faults


def eats(content):
    return b"0" * 300_000_000


def swallows_memory(content):
    try:
        return b"0" * 10**12
    except MemoryError:
        raise HoldfastError("this file is too large") from None


def swallows_time(content):
    try:
        time.sleep(5)
    except Exception:
        raise HoldfastError("this file takes too long") from None


def sleeps_in_the_end(content):
    try:
        time.sleep(5)
    finally:
        raise HoldfastError("this file takes too long")


@pytest.mark.parametrize(
    ("parse", "fault"),
    [(eats, "too large"), (swallows_memory, "too large"), (swallows_time, "too slow"), (sleeps_in_the_end, "too slow")],
)
def test_the_attack_finds_what_takes_too_much(parse, fault, monkeypatch):
    monkeypatch.setattr(mutations, "SECONDS", 0.1 if fault == "too slow" else 2.0)
    monkeypatch.setattr(mutations, "MEMORY", 200_000_000)
    report = attack("planted", [b"a file"], parse, 1)
    assert report.outcomes == {fault: 1}


def test_the_files_that_are_mutated_are_read_as_they_are(tmp_path):
    for name, parser in PARSERS.items():
        folder = tmp_path / name.replace(": ", "-").replace(" ", "-")
        folder.mkdir()
        files, parse = parser(folder)
        for file in files:
            parse(file)
        shutil.rmtree(folder)
