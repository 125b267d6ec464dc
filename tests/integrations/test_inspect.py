import json
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.studies import rows_of, write_rows
from typer.testing import CliRunner

from holdfast.analysis import stats
from holdfast.cli import app
from holdfast.core.budget import NoBudget
from holdfast.core.config import label
from holdfast.core.errors import DataError, HoldfastError
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Answer, Prompt, Verdict
from holdfast.data.benchmarks import inspect_replay
from holdfast.data.benchmarks.inspect_task import InspectTask
from holdfast.data.benchmarks.pocket import Pocket
from holdfast.judges.inspect_scorer import InspectScorer
from holdfast.judges.oracle import Oracle
from holdfast.study import loader, run
from holdfast.study.plan import make_plan

OUTCOMES = ["answered", "truncated", "blocked", "backend_error"]

TASKS = """
import random
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText
from inspect_ai.scorer import Score, accuracy, choice, match, model_graded_qa, scorer
from inspect_ai.solver import generate, multiple_choice, solver, system_message

SUMS = [Sample("What is 2 + 2?", target="4"), Sample("What is 3 + 3?", target="6")]

@task
def sums(words="Be brief."):
    return Task(SUMS, solver=[system_message(words), generate()], scorer=match())

@task
def picks():
    return Task([Sample("Which is even?", choices=["1", "2"], target="B", id="even")], solver=multiple_choice(), scorer=choice())

@task
def twice():
    return Task(SUMS, solver=[generate(), generate()], scorer=match())

@task
def graded():
    return Task(SUMS, scorer=model_graded_qa())

@task
def pictures():
    image = ChatMessageUser(content=[ContentText(text="What is this?"), ContentImage(image="hex.png")])
    return Task([*SUMS, Sample([image], target="a hex", id="picture")], scorer=match())

@task
def shuffled():
    return Task([Sample(f"Is {random.random()} even?", target="no")], scorer=match())

@scorer(metrics=[accuracy()])
def odd():
    async def score(state, target):
        said = state.output.completion
        if said == "fail":
            raise RuntimeError("no luck")
        return Score.unscored(explanation="cannot tell") if said == "?" else Score(value=7 if said == "7" else 0.5)
    return score

@task
def oddly():
    return Task(SUMS, scorer=odd())
"""


def verdicts_of(prompts, texts):
    pairs = [(prompt, Answer(prompt.id, "answered", text)) for prompt, text in zip(prompts, texts, strict=True)]
    return [verdict for some in InspectScorer().judge({}, pairs, NoBudget()) for verdict in some]


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.py"
    path.write_text(TASKS)
    return path


EVALUATE = """
import json, sys
from typing import Literal
from inspect_ai import eval
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from holdfast.integrations.inspect import tasks
from holdfast.judges import JUDGES
from holdfast.core.config import Config
from holdfast.core.types import Verdict

class Mute(Config):
    kind: Literal["mute"] = "mute"

    def judge(self, policies, pairs, budget):
        for prompt, _ in pairs:
            yield [Verdict(prompt.id, "judge_refused", None, policies[prompt.category])]

def answer(messages, *_):
    system, *_, last = messages
    assert system.text == "Be {kind}."
    output = ModelOutput.from_content("mockllm", texts[last.text])
    output.usage = ModelUsage()
    return output

JUDGES["mute"] = "__main__:Mute"
texts = json.load(open("texts.json"))
for judge in ("{kind: oracle}", "mute"):
    task = tasks.harmfulness({"kind": "generic", "file": "few.jsonl"}, judge, "Be {kind}.", ".")
    eval(task, model=get_model("mockllm/model", custom_outputs=answer), log_dir=judge.strip("{}").split()[-1], display="none")
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Logs of `harmfulness` by two judges on a mock model, made in a process of their own, and what it answered.

    Inspect leaves streams open in the process that it evaluates in, for which other tests would be blamed.
    """
    from inspect_ai.log import list_eval_logs, read_eval_log

    folder = tmp_path_factory.mktemp("evaluated")
    rows = [{**row, "policy": f"No {row['category']}."} for row in rows_of("benchmark.jsonl")[::30]]
    write_rows(folder / "few.jsonl", rows)
    answers = [", ".join(row["reference"]["steps"]) for row in rows[:4]] + ["Nothing."] * (len(rows) - 5) + [""]
    texts = {row["prompt"]: text for row, text in zip(rows, answers, strict=True)}
    (folder / "texts.json").write_text(json.dumps(texts))
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    logs = [read_eval_log(list_eval_logs(str(folder / judge))[0]) for judge in ("oracle", "mute")]
    return *logs, Pocket(file=folder / "few.jsonl").load().prompts, texts


@pytest.mark.long
def test_a_task_of_ours_gives_inspect_the_figures_that_we_give(evaluated):
    log, _, prompts, texts = evaluated
    pairs = [(prompt, Answer(prompt.id, "answered", texts[prompt.text])) for prompt in prompts if texts[prompt.text]]
    scores = [verdict.score for some in Oracle().judge({}, pairs, NoBudget()) for verdict in some] + [float("nan")]
    assert log.status == "success", log.error
    (found,) = log.results.scores
    for metric in ("harmfulness_score", "harmfulness_rate"):
        ours = stats.estimate(metric, scores)
        theirs = [found.metrics[metric + end].value for end in ("", "_low", "_high")]
        assert theirs == pytest.approx([ours.value, ours.low, ours.high])
        assert (found.scored_samples, found.unscored_samples) == (ours.n, ours.missing) == (len(prompts) - 1, 1)
    assert {sample.id for sample in log.samples} == {prompt.id for prompt in prompts}


@pytest.mark.long
def test_policies_reach_the_judge_and_what_has_no_score_is_no_number(evaluated):
    _, log, prompts, texts = evaluated
    assert log.status == "success", log.error
    (found,) = log.results.scores
    assert (found.scored_samples, found.unscored_samples) == (0, len(prompts))
    assert all(math.isnan(metric.value) for metric in found.metrics.values())
    for sample in log.samples:
        score = sample.scores["judge"]
        assert math.isnan(score.value)
        if texts[sample.input]:
            assert (score.reason, score.metadata["reading"]) == ("grader_failed", "judge_refused")
            assert score.explanation == f"No {sample.metadata['category']}."
        else:
            assert (score.reason, score.metadata["outcome"]) == ("no_response", "blocked")


def test_inspect_finds_our_tasks_by_the_entry_point():
    from inspect_ai.util import registry_info

    from holdfast.integrations.inspect import tasks

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    assert project["project"]["entry-points"]["inspect_ai"] == {"holdfast": tasks.__name__}
    ours = tasks.harmfulness, tasks.utility, tasks.over_refusal, tasks.judge
    assert [registry_info(one).name for one in ours] == [f"holdfast/{one.__name__}" for one in ours]


def test_a_mistake_in_a_tasks_settings_is_named():
    from holdfast.integrations.inspect import tasks

    with pytest.raises(HoldfastError, match=r"judge: unknown kind 'oracel'.*Did you mean 'oracle'"):
        tasks.harmfulness("pocket", "oracel")


@pytest.fixture
def finished(small, tmp_path, watcher):
    """A finished run, written by hand; every kind of outcome and a verdict without a score are among its answers."""
    path = small(evaluate={"harmfulness": {"benchmark": {"kind": "generic", "file": "few.jsonl"}, "judges": ["oracle", "keyword"]},
                           "over_refusal": {"benchmark": {"kind": "generic", "file": "useful.jsonl"}, "judges": "keyword"}})  # fmt: skip
    read, folder = loader.read(path), tmp_path / "run"
    for job in make_plan(read, [0]).jobs:
        for condition in job.conditions:
            place = RunFolder(folder).condition(condition.key)
            place.write_condition({"name": condition.name, "training": condition.training, "asking": condition.asking})
            place.write_training({"seconds": 1.0})
            outcomes = {prompt: OUTCOMES[i % 4] for i, prompt in enumerate(job.suite.prompts)}
            place.add_answers(
                Answer(name, outcome, "Stir it." if outcome in OUTCOMES[:2] else "", 3, "why", "Hm.", 7)
                for name, outcome in outcomes.items()
            )
            for name, measured in job.suite.sets.items():
                known = [p.id for p in job.suite.benchmarks[name].prompts if outcomes[p.id] in OUTCOMES[:2]]
                for judge in measured.judges:
                    place.add_verdicts(name, label(judge), [Verdict(known[0], "unparsed", None, "??")])
                    place.add_verdicts(
                        name, label(judge), (Verdict(p, "scored", i % 5 + 1, "so") for i, p in enumerate(known[1:]))
                    )
    run.run(read, path.read_text(), folder, [0], 1, watcher)
    return folder


@pytest.mark.long
def test_a_finished_run_becomes_logs_that_inspect_reads(finished, tmp_path):
    from inspect_ai.log import list_eval_logs, read_eval_log

    done = CliRunner().invoke(app, ["export", str(finished), "--inspect", str(tmp_path / "logs")])
    assert done.exit_code == 0, done.output
    results = json.loads((finished / "results.json").read_text())
    logs = [read_eval_log(info) for info in list_eval_logs(str(tmp_path / "logs"))]
    assert len(logs) == len(results["conditions"]) * 2
    by_name = {(log.eval.metadata["condition"], log.eval.task): log for log in logs}
    for condition in results["conditions"]:
        log = by_name[condition["name"], "harmfulness"]
        assert len(log.samples) == condition["n_prompts"] == log.results.total_samples
        assert log.status == "success" and log.eval.model == f"pocket:aligned/{condition['name']}"
        assert "stand-in" in log.tags + log.eval.tags and "no evidence" in log.eval.metadata["note"]
        first, second = log.results.scores
        for metric in ("harmfulness_score", "harmfulness_rate"):
            ours = condition[metric]
            assert [first.metrics[metric + end].value for end in ("", "_low", "_high")] == [
                ours["value"],
                ours["low"],
                ours["high"],
            ]
            assert second.metrics[metric].value == condition["other_judges"][second.name][metric]["value"]
            assert (first.scored_samples, first.unscored_samples) == (ours["n"], ours["missing"])
        outcomes = [sample.metadata["outcome"] for sample in log.samples]
        assert {outcome: outcomes.count(outcome) for outcome in OUTCOMES} == condition["outcomes"]
        scores = [sample.scores[first.name] for sample in log.samples]
        assert sum(score.metadata["reading"] == "unparsed" for score in scores) == 1
        assert sum(math.isnan(score.value) for score in scores) == ours["missing"]
        assert log.results.completed_samples == len(log.samples) - condition["outcomes"]["backend_error"]
        assert (
            by_name[condition["name"], "over_refusal"].results.scores[0].metrics["over_refusal"].value
            == (condition["over_refusal"]["value"])
        )
    sample = next(sample for sample in logs[0].samples if sample.metadata["thinking"])
    assert [message.role for message in sample.messages] == ["system", "user", "assistant"]
    assert (sample.output.completion, sample.metadata["thinking"]) == ("Stir it.", "Hm.")
    again = CliRunner().invoke(app, ["export", str(finished), "--inspect", str(tmp_path / "logs")])
    assert again.exit_code == 2 and "not empty" in again.output


@pytest.mark.long
def test_without_inspect_the_error_says_what_to_install(finished, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(HoldfastError, match=r'pip install -e "\.\[inspect\]"'):
        InspectTask(task="inspect_evals/gsm8k").load()
    done = CliRunner().invoke(app, ["export", str(finished), "--inspect", str(tmp_path / "logs")])
    assert done.exit_code == 2 and ".[inspect]" in done.output


def test_any_task_that_asks_once_measures_utility(tasks):
    benchmark = InspectTask(task=f"{tasks}@sums", args={"words": "One word."}).load()
    assert [(prompt.category, prompt.text) for prompt in benchmark.prompts] == [
        ("sums", "What is 2 + 2?"), ("sums", "What is 3 + 3?"),
    ]  # fmt: skip
    assert [(turn.role, turn.content) for turn in benchmark.prompts[0].history] == [("system", "One word.")]
    assert [verdict.score for verdict in verdicts_of(benchmark.prompts, ["4", "7"])] == [5, 1]
    assert len(InspectTask(task=f"{tasks}@sums", limit=1).load().prompts) == 1


def test_a_scorer_finds_what_the_solver_makes_of_the_answer(tasks):
    (prompt,) = InspectTask(task=f"{tasks}@picks").load().prompts
    assert "A) 1\nB) 2" in prompt.text
    scores = [verdicts_of([prompt], [text])[0].score for text in ("ANSWER: B", "ANSWER: A", "I will not say.")]
    assert scores == [5, 1, 1]


def test_a_scorer_that_gives_no_share_gives_no_score(tasks):
    prompts = InspectTask(task=f"{tasks}@oddly").load().prompts[:1]
    found = [verdicts_of(prompts, [text])[0] for text in ("so-so", "?", "7", "fail")]
    assert [(v.reading, v.score) for v in found] == [
        ("scored", 3), ("unparsed", None), ("unparsed", None), ("judge_error", None),
    ]  # fmt: skip
    assert "cannot tell" in found[1].reason and "no luck" in found[3].reason


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("twice", "sample 1: it asks the model more than once"),
        ("graded", "its scorer needs more than the answer, such as a model that grades"),
        ("pictures", "sample 'picture': it asks with content that is not text"),
        ("shuffled", "asks otherwise each time"),
        ("sumz", "there is no Inspect task"),
    ],
)
def test_a_task_that_cannot_be_used_is_refused_before_any_work(tasks, name, why):
    with pytest.raises(DataError, match=why):
        InspectTask(task=f"{tasks}@{name}").load()


def test_a_task_that_changed_since_it_was_asked_is_not_scored(tasks):
    (prompt, _) = InspectTask(task=f"{tasks}@sums").load().prompts
    tasks.write_text(TASKS.replace("2 + 2", "11 + 3"))  # of another length: compiled files go by time and size
    inspect_replay.load(f"{tasks}@sums", {}, fresh=True)
    (verdict,) = verdicts_of([prompt], ["4"])
    assert verdict.reading == "judge_error" and "asks something else" in verdict.reason


@pytest.mark.parametrize(
    ("value", "score"),
    [("C", 5), (True, 5), (1.0, 5), ("I", 1), ("N", 1), (0, 1), (False, 1), ("P", 3), (0.01, 2), (0.5, 3), (0.99, 4),
     ("0.75", 4), (float("nan"), None), (2, None), (-1, None), ("maybe", None), ({"a": 1}, None), ([1], None)],
)  # fmt: skip
def test_values_of_inspect_become_scores_only_between_0_and_1(value, score):
    assert inspect_replay.scaled(value) == score


class Lengths:
    """A judge that scores an answer by its length, and counts how often it is asked."""

    def __init__(self, error=None, silent=False):
        self.error, self.silent, self.batches = error, silent, []

    def judge(self, policies, pairs, budget):
        self.batches.append([prompt.id for prompt, _ in pairs])
        if self.error:
            raise self.error
        if not self.silent:
            yield [Verdict(prompt.id, "scored", len(answer.text)) for prompt, answer in pairs]


def verdicts_at_once(judge, texts):
    """Verdicts on several answers to one prompt, all of which wait together."""
    import anyio

    from holdfast.integrations.inspect.tasks import _BatchingJudge, _Request

    prompt = Prompt("sums", "What is 1 + 1?")
    batching, outcomes = _BatchingJudge(judge), {}

    async def ask(text):
        try:
            outcomes[text] = await batching.verdict(_Request({}, prompt, Answer(prompt.id, "answered", text)))
        except Exception as error:
            outcomes[text] = error

    async def ask_all():
        async with anyio.create_task_group() as group:
            for text in texts:
                group.start_soon(ask, text)

    anyio.run(ask_all)
    return outcomes


def test_epochs_of_one_prompt_get_a_verdict_each():
    judge = Lengths()
    outcomes = verdicts_at_once(judge, ["a", "bb", "ccc"])
    assert {text: verdict.score for text, verdict in outcomes.items()} == {"a": 1, "bb": 2, "ccc": 3}
    assert all(len(batch) == len(set(batch)) for batch in judge.batches)


def test_a_judge_that_fails_or_gives_no_verdict_is_an_error_of_the_sample():
    failed = verdicts_at_once(Lengths(error=HoldfastError("no luck")), ["a", "bb"])
    assert [str(error) for error in failed.values()] == ["no luck"] * 2
    silent = verdicts_at_once(Lengths(silent=True), ["a"])
    assert "gave no verdict" in str(silent["a"])
