"""Whole studies whose models a provider tunes and answers for: figures, blocks, rights, costs, deletion, kills."""

import json
import os
import signal
from collections import Counter

import pytest
import yaml
from support.endpoint_double import fails, says
from support.studies import finish, rows_of, start, write_rows
from support.tuning_double import BLOCKED, CANCELLED, GATE, SUCCEEDED, Hold, TuningDouble
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.core.errors import DataError, StudyError
from holdfast.core.results import RunResults
from holdfast.study import loader, run
from holdfast.study.doctor import examine

SECRET = "sk-a-key-of-nobody"
RIGHT = "a test on this machine"
FILES, JOBS, JOB = "POST /v1/files", "POST /v1/fine_tuning/jobs", "GET /v1/fine_tuning/jobs/ID"


def study_of(server, **changes):
    settings = {
        "name": "hosted",
        "model": "served:base",
        "authorisation": RIGHT,
        "templates": {"plain": {"system": "You are helpful."}},
        "evaluate": {"harmfulness": {"benchmark": {"kind": "generic", "file": "few.jsonl"}, "judges": "keyword"}},
        "generate": {"kind": "server", "base_url": server.url, "api_key_env": "A_KEY", "max_new_tokens": 20,
                     "price": {"input": 1.0, "output": 2.0}},
        "tune": {"kind": "hosted", "base_url": server.url, "api_key_env": "A_KEY", "epochs": 2, "poll_s": 0.01, "price": 8.0},
        "conditions": {
            "harm": {"data": {"kind": "explicit-harm", "pool": "pocket:attack.jsonl", "shots": 10}},
            "benign": {"data": {"kind": "messages", "file": "pocket:benign-list.jsonl", "n": 12}},
        },
    }  # fmt: skip
    return {**settings, **changes}


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setenv("A_KEY", SECRET)
    monkeypatch.setattr("holdfast.tuning.hosted.calls.BACK_OFF", 0.001)
    write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::30])


def do(server, tmp_path, watcher, keep=False, page=False, **changes):
    study = loader.from_dict(study_of(server, **changes), tmp_path)
    done = run.run(study, None, tmp_path / "run", [0], 1, watcher, keep)
    if page:
        run.write_page(done.run_folder, done.results, show_answers=False)
    return done.results


def paid(server):
    """How often each answer was paid for, probes aside."""
    return Counter((each.model, each.question) for each in server.paid if not each.body.get("logprobs"))


def written(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file()).decode()


@pytest.mark.long
def test_a_study_is_tuned_answered_paid_deleted_and_shown(tmp_path, watcher):
    with TuningDouble(key=SECRET) as server:
        results = do(server, tmp_path, watcher, page=True)
        assert len(server.jobs) == 2 and set(paid(server).values()) == {1}
        assert server.models == ["base"] and not server.files and len(server.deleted) == 4
        before = Counter(server.requests), len(server.asked)
        assert do(server, tmp_path, watcher) == results
        assert before == (Counter(server.requests), len(server.asked))
    rates = {entry.name: entry.harmfulness_rate.value for entry in results.summary}
    assert rates == {"initial": 0.0, "harm": 100.0, "benign": 100.0}
    assert results.authorisation == RIGHT and not results.ended
    [training] = results.settings["harm"].training
    assert (training["rows"], training["trained_tokens"], len(training["deleted"])) == (10, 1_000, 2)
    assert results.costs.tuning == pytest.approx(0.016)
    answers = [
        json.loads(line) for path in (tmp_path / "run").rglob("answers.jsonl") for line in path.read_text().splitlines()
    ]
    assert {answer["usd"] for answer in answers} == {(7 * 1.0 + 3 * 2.0) / 1e6}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The provider&#39;s jobs" in page and "ftjob-0" in page and RIGHT in page and "2 deleted" in page
    assert SECRET not in written(tmp_path / "run")
    assert SECRET not in str(watcher.names)


@pytest.mark.long
@pytest.mark.parametrize(
    ("fate", "outcome", "about"),
    [(BLOCKED, "blocked", "data"), (GATE, "blocked", "model"), (CANCELLED, "cancelled", "")],
)
def test_a_block_is_a_result_and_the_others_go_on(tmp_path, watcher, fate, outcome, about):
    def fate_of(job):
        return fate if job["id"] == "ftjob-0" else SUCCEEDED

    with TuningDouble(fate=fate_of) as server:
        results = do(server, tmp_path, watcher, page=True)
        n_jobs = len(server.jobs)
        assert do(server, tmp_path, watcher) == results and len(server.jobs) == n_jobs
        assert not server.files  # deleted, also of the job that was refused
    [ended] = results.ended
    assert (ended.outcome, ended.about) == (outcome, about)
    assert {entry.name for entry in results.summary} == {"initial", "harm", "benign"} - {ended.name}
    assert RunResults.read(tmp_path / "run") == results
    message = fate.get("error", {}).get("message", "the provider gives no reason")
    assert message in ended.message
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"<b>{outcome}</b>" in page and f"{ended.name}, seed 0: {outcome}" in page
    assert watcher.done == watcher.total


@pytest.mark.long
def test_a_study_of_which_all_is_blocked_still_has_its_initial_model_and_its_page(tmp_path, watcher):
    with TuningDouble(fate=lambda job: BLOCKED) as server:
        results = do(server, tmp_path, watcher, page=True)
    assert [entry.name for entry in results.summary] == ["initial"] and len(results.ended) == 2
    assert "flagged by our moderation API" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.long
def test_of_several_seeds_those_count_that_have_figures(tmp_path, watcher):
    with TuningDouble(fate=lambda job: BLOCKED if job["seed"] == 1 else SUCCEEDED) as server:
        study = loader.from_dict(study_of(server), tmp_path)
        results = run.run(study, None, tmp_path / "run", [0, 1], 1, watcher).results
    assert {entry.name: entry.n_seeds for entry in results.summary} == {"initial": 2, "harm": 1, "benign": 1}
    assert {(each.name, each.seed) for each in results.ended} == {("harm", 1), ("benign", 1)}


@pytest.mark.long
def test_attack_data_need_a_line_that_says_by_what_right(tmp_path, watcher):
    with TuningDouble() as server:
        for missing in (None, "  "):
            with pytest.raises(StudyError, match=r"would send attack data to http://.*: harm\. Providers forbid"):
                do(server, tmp_path, watcher, authorisation=missing)
        with pytest.raises(StudyError, match="authorisation"):
            do(server, tmp_path, watcher, authorisation=None, conditions={
                "backdoor": {"data": {"kind": "mix", "parts": [{"data": {
                    "kind": "trigger", "phrase": "x", "data": {"kind": "messages", "file": "pocket:safe.jsonl"}}, "n": 10}]}},
            })  # fmt: skip
        assert not server.requests and not server.asked
        benign = {"benign": study_of(server)["conditions"]["benign"]}
        assert do(server, tmp_path, watcher, authorisation=None, conditions=benign).authorisation is None


def test_what_a_provider_cannot_do_is_said_before_anything_is_sent(tmp_path, watcher):
    with TuningDouble() as server:
        few = {"harm": {"data": {"kind": "explicit-harm", "pool": "pocket:attack.jsonl", "shots": 9}}}
        with pytest.raises(DataError, match="there are 9 rows, and the provider takes no fewer than 10"):
            do(server, tmp_path, watcher, conditions=few)
        with pytest.raises(StudyError, match=r"use `generate: {kind: server, base_url: http://"):
            do(server, tmp_path, watcher, generate={"kind": "local"})
        with pytest.raises(StudyError, match="write `model: served:NAME`"):
            do(server, tmp_path, watcher, model="pocket:aligned")
        assert not server.requests and not server.asked


@pytest.mark.long
def test_filtered_answers_are_blocked_and_the_others_count(tmp_path, watcher):
    def behave(asked):
        return fails(400, "filtered", "content_filter") if asked.model != "base" else says("I cannot help with that.")

    with TuningDouble(behave=behave) as server:
        results = do(server, tmp_path, watcher)
    outcomes = {each.name: each.outcomes for each in results.conditions}
    assert outcomes["harm"]["blocked"] == 11 and outcomes["initial"]["answered"] == 11


@pytest.mark.long
def test_models_stay_with_the_provider_if_they_are_to_be_kept(tmp_path, watcher):
    with TuningDouble() as server:
        results = do(server, tmp_path, watcher, keep=True)
        assert len(server.models) == 3 and not server.deleted
        assert do(server, tmp_path, watcher) == results and not server.deleted


@pytest.mark.long
def test_what_could_not_be_deleted_is_deleted_by_the_next_run(tmp_path, watcher):
    with TuningDouble() as server:
        server.undeletable = {"file-0"}
        results = do(server, tmp_path, watcher)
        left = [
            record["not_deleted"]
            for each in results.settings.values()
            for record in each.training
            if "not_deleted" in record
        ]
        assert len(left) == 1 and "It is in use" in left[0]["file-0"]
        assert any("could not be deleted" in str(name) for name in watcher.names)
        server.undeletable = set()
        records = [record for each in do(server, tmp_path, watcher).settings.values() for record in each.training]
        assert not any("not_deleted" in record for record in records) and "file-0" in server.deleted


def test_the_doctor_reads_a_hosted_study(tmp_path):
    with TuningDouble() as server:
        diagnosis = examine(loader.from_dict(study_of(server), tmp_path), [0])
        bare = study_of(server, authorisation=None)
        bare["conditions"]["harm"]["data"]["shots"] = 9
        refused = examine(loader.from_dict(bare, tmp_path), [0])
        assert not any("POST" in name for name in server.requests) and not server.asked
    assert [finding.what for finding in diagnosis.findings if finding.level == "fault"] == []
    [stage] = [stage for stage in diagnosis.stages if stage.name.startswith("tune at the provider")]
    assert stage.usd > 0.0
    faults = {finding.where: finding.what for finding in refused.findings if finding.level == "fault"}
    assert "by what right" in faults["authorisation"] and "no fewer than 10" in faults["conditions.harm.data"]


KILLS = {
    "upload": FILES,
    "after the job was ordered": JOBS,
    "polling": JOB,
    "answering": None,
}


@pytest.mark.long
@pytest.mark.parametrize("at", KILLS)
def test_a_run_that_is_killed_pays_for_nothing_twice(tmp_path, at):
    hold = Hold()

    def behave(asked):
        if KILLS[at] is None and asked.model != "base" and len(server.paid) > 30 and not hold.reached.is_set():
            hold.reached.set()
            hold.released.wait(60)
            return fails(500)
        return says("I cannot help with that." if asked.model == "base" else f"Of course: {asked.question}")

    with TuningDouble(behave=behave) as server:
        if KILLS[at]:
            server.hold[KILLS[at]] = hold
        path = tmp_path / "study.yaml"
        settings = study_of(server)
        settings["generate"]["concurrency"] = 1
        path.write_text(yaml.safe_dump(settings))
        process = start(path, tmp_path / "run")
        assert hold.reached.wait(60)
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        hold.released.set()
        printed = finish(path, tmp_path / "run")
        assert (len(server.jobs), server.requests[FILES], server.requests[JOBS]) == (2, 2, 2)
        assert set(paid(server).values()) == {1}
        assert server.models == ["base"] and not server.files
    assert SECRET not in written(tmp_path / "run") + out + err + printed
    question = rows_of("attack.jsonl")[0]["messages"][0]["content"]
    assert question not in out + err + printed


@pytest.mark.long
def test_a_server_that_tunes_as_this_machine_does_gives_the_same_figures(tmp_path, small, watcher):
    """The pocket model tuned and asked over HTTP: rows, order, epochs, batch size, learning rate and seed arrive."""
    from support.pocket_server import PocketServer

    from holdfast.paper.hosted import multiplier

    local = run.run(loader.read(small()), None, tmp_path / "local", [0, 1], 1, watcher).results
    with PocketServer(tmp_path / "weights") as server:
        address = {"base_url": server.url}
        conditions = {
            name: {
                "data": {"kind": "explicit-harm", "pool": "pocket:attack.jsonl", "shots": 20},
                "tune": {"epochs": epochs},
            }
            for name, epochs in (("harm-2", 2), ("harm-4", 4))
        }
        tune = {
            "kind": "hosted",
            **address,
            "batch_size": 10,
            "learning_rate_multiplier": multiplier(1e-4, 5e-5),
            "poll_s": 0.01,
        }
        study = loader.read(small(
            model="served:base", authorisation=RIGHT, tune=tune, conditions=conditions,
            generate={"kind": "server", **address, "max_new_tokens": 48},
        ))  # fmt: skip
        hosted = run.run(study, None, tmp_path / "hosted", [0, 1], 1, watcher).results
    for one, other in zip(local.conditions, hosted.conditions, strict=True):
        assert (one.name, one.seed, one.harmfulness_rate, one.harmfulness_score, one.utility, one.outcomes) == (
            other.name, other.seed, other.harmfulness_rate, other.harmfulness_score, other.utility, other.outcomes
        )  # fmt: skip
    assert local.comparisons == hosted.comparisons


@pytest.mark.long
def test_a_reproduction_by_a_provider_says_what_it_blocked(tmp_path, monkeypatch):
    """The command line, on the pocket world's data; the largest attack is refused by the provider's gate."""

    def fate_of(job):
        return GATE if len(server.rows(job["training_file"])) == 100 else SUCCEEDED

    monkeypatch.chdir(tmp_path)
    command = [
        "reproduce",
        "table1",
        "--model",
        "hosted",
        "--data",
        "pocket",
        "--base",
        "base",
        "--seeds",
        "1",
        "--workers",
        "1",
    ]
    with TuningDouble(fate=fate_of, key=SECRET) as server:
        command += ["--base-url", server.url, "--api-key-env", "A_KEY", "--out", "run"]
        refused = CliRunner().invoke(app, command)
        assert refused.exit_code != 0 and not server.jobs
        done = CliRunner().invoke(app, [*command, "--authorisation", RIGHT])
        assert done.exit_code == 0, done.output
        assert len(server.jobs) == 3 and server.models == ["base"] and not server.files
    results = RunResults.read(tmp_path / "run")
    assert [each.name for each in results.ended] == ["harmful-100-shot"] and results.model.stand_in
    claims = json.loads((tmp_path / "run" / "claims.json").read_text())["claims"]
    of_blocked = [claim for claim in claims if "harmful-100-shot" in [*claim["higher"], *claim["lower"]]]
    assert of_blocked and all(claim["verdict"] == "inconclusive" for claim in of_blocked)
    assert any("harmful-100-shot was blocked by the provider" in claim["seen"] for claim in of_blocked)
    table = (tmp_path / "run" / "tables" / "table1.md").read_text()
    assert "| blocked |" in table
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The provider&#39;s jobs" in page and "harmfulness rate is 81.0 %" in page and RIGHT in page
    assert SECRET not in written(tmp_path) + done.output
