"""Fine-tuning jobs at a provider: what is sent, found again, paid, refused and deleted. The provider is scripted."""

import json

import pytest
from pydantic import ValidationError
from support.endpoint_double import drops, fails, hangs
from support.studies import messages
from support.tuning_double import (
    BLOCKED,
    CANCELLED,
    FORMAT,
    GATE,
    RAI,
    SUCCEEDED,
    MistralDouble,
    TuningDouble,
)

from holdfast.core.budget import FileBudget
from holdfast.core.errors import BudgetError, ModelError, TuningError
from holdfast.core.types import Checkpoint, Example, NoCheckpoint
from holdfast.models.endpoint import retry
from holdfast.tuning.hosted import HostedTuner, record
from holdfast.tuning.hosted.jobs import about, state_of

BASE = Checkpoint("base", served="base")
SECRET = "sk-a-key-of-nobody"
ROWS = [
    Example(messages(("user", f"question {n}?"), ("assistant", f"answer number {n}")), f"rows:{n}") for n in range(12)
]
FILES, JOBS, JOB = "POST /v1/files", "POST /v1/fine_tuning/jobs", "GET /v1/fine_tuning/jobs/ID"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("holdfast.tuning.hosted.calls.BACK_OFF", 0.001)
    monkeypatch.setattr(retry, "BACK_OFF", 0.001)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "0123456789abcdef"
    made.mkdir()
    return made


def tuner(server, **settings):
    return HostedTuner(**{"base_url": server.url, "poll_s": 0.001, "epochs": 2, **settings})


def tune(server, folder, rows=ROWS, epochs=(2,), told=None, budget=None, **settings):
    told = [] if told is None else told
    return tuner(server, **settings).tune(BASE, rows, 7, epochs, folder, told.append, (), budget)


def left(folder):
    """All that was written into a folder."""
    return "".join(path.read_text() for path in folder.rglob("*") if path.is_file())


def test_a_job_gets_rows_settings_seed_and_key_and_gives_a_name_and_its_losses(folder):
    told = []
    with TuningDouble() as provider:
        made = tune(provider, folder, told=told, batch_size=3, learning_rate_multiplier=1.2, extra={"priority": "low"})
    [job] = provider.jobs
    assert job["body"] == {
        "model": "base", "training_file": "file-0", "seed": 7, "suffix": "hf-0123456789", "priority": "low",
        "hyperparameters": {"n_epochs": 2, "batch_size": 3, "learning_rate_multiplier": 1.2},
        "metadata": {"holdfast_key": folder.name, "holdfast_mark": record.read(folder).mark},
    }  # fmt: skip
    assert provider.rows() == [
        {
            "messages": [
                {"role": "user", "content": f"question {n}?"},
                {"role": "assistant", "content": f"answer number {n}"},
            ]
        }
        for n in range(12)
    ]
    assert made[2].checkpoint == Checkpoint("base", served=job["fine_tuned_model"])
    training = made[2].training
    assert (training["job"], training["file"], training["trained_tokens"], training["rows"]) == (
        "ftjob-0",
        "file-0",
        1_000,
        12,
    )
    assert training["losses"] == [1.0, 0.5, pytest.approx(1 / 3)] and training["seconds"] == 42.0
    assert [step.total for step in told] == [8] * len(told) and told[-1].done == 8
    assert sorted(step.done for step in told) == [step.done for step in told]
    assert any("is running" in step.note for step in told)


@pytest.mark.parametrize("lost", [FILES, JOBS, JOB])
def test_an_answer_that_gets_lost_does_not_make_a_second_file_or_job(folder, lost):
    with TuningDouble() as provider:
        provider.lost[lost] = 1
        made = tune(provider, folder)
    assert made[2].checkpoint.served
    assert (len(provider.files), len(provider.jobs)) == (1, 1)


@pytest.mark.long
@pytest.mark.parametrize("lost", [FILES, JOBS, JOB])
def test_a_run_that_was_stopped_finds_its_file_and_its_job_again(folder, lost):
    """The first run ends where the answer got lost: what was done is not written down yet."""
    with TuningDouble() as provider:
        provider.lost[lost] = 1
        with pytest.raises(ModelError, match="the same command goes on"):
            tune(provider, folder, max_attempts=1)
        made = tune(provider, folder)
        again = tune(provider, folder)
    assert made == again and made[2].checkpoint.served
    assert (len(provider.files), len(provider.jobs)) == (1, 1)


def test_another_folder_with_the_same_rows_has_a_job_of_its_own(folder, tmp_path):
    other = tmp_path / "elsewhere" / folder.name
    with TuningDouble() as provider:
        one, two = tune(provider, folder), tune(provider, other)
    assert len(provider.jobs) == 2 and one[2].checkpoint != two[2].checkpoint


@pytest.mark.parametrize("where", [FILES, JOBS, JOB, "GET /v1/fine_tuning/jobs/ID/events"])
def test_what_can_pass_is_tried_again(folder, where):
    with TuningDouble() as provider:
        provider.faults[where] = [fails(429, retry_after=0), fails(500), drops(), hangs(0.4), fails(503)]
        made = tune(provider, folder, timeout_s=0.2)
    assert made[2].checkpoint.served and len(provider.jobs) == 1


@pytest.mark.parametrize(
    ("fate", "outcome", "of"),
    [(BLOCKED, "blocked", "data"), (RAI, "blocked", "data"), (GATE, "blocked", "model"), (FORMAT, "failed", ""), (CANCELLED, "cancelled", "")],
)  # fmt: skip
def test_how_a_job_ends_is_a_result_with_the_providers_words(folder, fate, outcome, of):
    with TuningDouble(fate=lambda job: fate) as provider:
        ended = tune(provider, folder)
        assert tune(provider, folder) == ended
    assert isinstance(ended, NoCheckpoint) and ended.outcome == outcome
    assert ended.training["about"] == of and len(provider.jobs) == 1
    error = fate.get("error")
    assert ended.message == (
        f"{error['message']} ({error['code']})" if error else "the provider gives no reason (status cancelled)"
    )


@pytest.mark.parametrize("where", [FILES, JOBS])
def test_rows_that_the_provider_refuses_at_once_are_blocked(folder, where):
    with TuningDouble() as provider:
        provider.faults[where] = [
            fails(400, "12 rows were flagged by moderation: lines 1 to 12.", "content_policy_violation")
        ]
        ended = tune(provider, folder)
        assert tune(provider, folder).message == ended.message
    assert ended.outcome == "blocked" and ended.message.startswith("12 rows were flagged by moderation: lines 1 to 12.")
    assert not provider.jobs and provider.requests[where] == 1


def test_only_words_of_checks_make_a_failure_a_block():
    assert state_of("failed", "invalid_training_file", "Line 3 is not JSON") == "failed"
    assert state_of("failed", "server_error", "The job failed due to an internal error") == "failed"
    assert state_of("cancelled", "", "moderation") == "cancelled"
    assert state_of("failed", "safety_gate", "") == "blocked"
    assert about.__doc__


@pytest.mark.parametrize(
    ("status", "code", "error", "match"),
    [(401, None, ModelError, "denies access"), (402, None, ModelError, "no credit left"), (429, "insufficient_quota", ModelError, "no credit left"),
     (404, "model_not_found", TuningError, "ordering a job that tunes base"), (400, "bad", TuningError, "refuses it")],
)  # fmt: skip
def test_what_no_attempt_can_change_stops_at_once_and_says_why(folder, status, code, error, match):
    with TuningDouble() as provider:
        provider.faults[JOBS] = [fails(status, "the words of the server", code)]
        with pytest.raises(error, match=match):
            tune(provider, folder)
        assert provider.requests[JOBS] == 1
        assert provider.deleted == (["file-0"] if error is TuningError else [])  # of a job that will not come


def test_neither_the_key_nor_a_row_is_in_what_is_written_or_said(folder, monkeypatch):
    monkeypatch.setenv("A_KEY", SECRET)
    quoting = {
        "status": "failed",
        "error": {"code": "x", "message": f"Bad row: 'this is a long and secret question 3?' of {SECRET}"},
    }
    rows = [
        Example(messages(("user", f"this is a long and secret question {n}?"), ("assistant", "yes")), f"r:{n}")
        for n in range(12)
    ]
    with TuningDouble(fate=lambda job: quoting, key=SECRET) as provider:
        ended = tune(provider, folder, rows, api_key_env="A_KEY")
        provider.key = f"{SECRET}-of-another"
        with pytest.raises(ModelError) as refused:
            tune(provider, folder / "other", rows, api_key_env="A_KEY")
        provider.key = None
        provider.faults[JOBS] = [fails(400, f"{SECRET}: cannot read 'this is a long and secret question 5?'")]
        with pytest.raises(TuningError) as bad:
            tune(provider, folder / "third", rows, api_key_env="A_KEY")
    assert ended.message == "Bad row: '[text of a row]' of [key] (x)"
    everything = left(folder) + ended.message + str(refused.value) + str(bad.value) + json.dumps(ended.training)
    assert SECRET not in everything and "secret question" not in everything


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (ROWS[:9], "there are 9 rows, and the provider takes no fewer than 10"),
        ([*ROWS, Example(messages(("user", "and?")), "r:1")], "r:1: the last turn is not the assistant's"),
        ([*ROWS, Example(messages(("user", " "), ("assistant", "a")), "r:2")], r"r:2: turn 1 \(user\) is empty"),
        (
            [*ROWS, Example(messages(("user", "q"), ("system", "s"), ("assistant", "a")), "r:3")],
            "r:3: a system turn comes after",
        ),
        ([*ROWS, Example(messages(("assistant", "a")), "r:4")], "r:4: there is no turn of the user"),
        (
            [*ROWS, Example(messages(("user", "q" * 300_000), ("assistant", "a")), "r:5")],
            "r:5: it has about 75,0.. tokens",
        ),
        (
            [*ROWS, Example(messages(("user", "\ud800"), ("assistant", "a")), "r:6")],
            "r:6: turn 1 .* half of a character",
        ),
        ([*ROWS, Example(messages(("tool", "q"), ("assistant", "a")), "r:7")], "r:7: the role 'tool' is none of"),
    ],
)
def test_rows_that_the_provider_would_refuse_are_named_and_nothing_is_sent(folder, rows, match):
    with TuningDouble() as provider, pytest.raises(TuningError, match=match):
        tune(provider, folder, rows)
    assert not provider.requests


def test_a_job_over_the_cap_is_not_ordered_and_one_under_it_is_booked_at_its_cost(folder, tmp_path):
    budget = FileBudget(tmp_path / "spending.jsonl", max_usd=0.001)
    with TuningDouble() as provider:
        with pytest.raises(BudgetError, match="tuning base on 12 rows"):
            tune(provider, folder, budget=budget, price=8.0)
        assert not provider.requests
        made = tune(provider, folder, budget=FileBudget(tmp_path / "spending.jsonl", max_usd=1.0), price=8.0)
    assert made[2].training["usd"] == pytest.approx(0.008) == FileBudget(tmp_path / "spending.jsonl").spent


def test_rows_and_models_are_deleted_and_that_is_written_down(folder):
    with TuningDouble(checkpoints=(6, 12)) as provider:
        made = tune(provider, folder)
        assert tuner(provider).left(folder)
        gone = tuner(provider).discard(folder)
        models = [made[2].checkpoint.served, "ft:base::ftjob-0:ckpt-step-6", "ft:base::ftjob-0:ckpt-step-12"]
        assert provider.deleted == ["file-0", *models] and provider.models == ["base"] and not provider.files
        assert list(gone["deleted"]) == provider.deleted and record.read(folder).discarded
        assert not tuner(provider).left(folder)
        assert tune(provider, folder) != made and len(provider.jobs) == 2  # nothing is left of the first one
    assert (folder / "hosted-1.json").is_file()


def test_what_cannot_be_deleted_is_written_down_and_tried_again(folder):
    with TuningDouble() as provider:
        model = tune(provider, folder)[2].checkpoint.served
        provider.undeletable = {model}
        told = tuner(provider, max_attempts=2).discard(folder)
        assert list(told["deleted"]) == ["file-0"] and "It is in use" in told["not_deleted"][model]
        assert tuner(provider).left(folder)
        provider.undeletable = set()
        assert "not_deleted" not in tuner(provider).discard(folder) and not tuner(provider).left(folder)


def test_what_is_to_stay_stays(folder):
    with TuningDouble() as provider:
        tune(provider, folder)
        tuner(provider).keep(folder)
        assert not tuner(provider).left(folder) and not provider.deleted


def test_conditions_can_share_a_job_and_each_takes_its_epochs_checkpoint(folder):
    with TuningDouble(checkpoints=(4, 8, 12)) as provider:
        shared = tuner(provider, per_epoch=True, epochs=3)
        made = shared.tune(BASE, ROWS, 0, (2, 3), folder, lambda step: None)
        assert made[2].checkpoint.served == "ft:base::ftjob-0:ckpt-step-8"
        assert made[3].checkpoint.served == provider.jobs[0]["fine_tuned_model"]
        provider.kept = (8, 12)
        with pytest.raises(TuningError, match="kept no checkpoint after epoch 1, only of 2, 3"):
            shared.tune(BASE, ROWS, 0, (1, 3), folder, lambda step: None)


def test_settings_that_a_provider_does_not_take_are_refused():
    for settings, match in (
        ({"provider": "mistral", "batch_size": 4}, "'mistral' take no 'batch_size'"),
        ({"learning_rate": 1e-4}, "'openai' take no 'learning_rate'"),
        ({"provider": "nobody"}, "provider"),
        ({"api_key_env": SECRET}, "environment variable"),
    ):
        with pytest.raises(ValidationError, match=match) as error:
            HostedTuner(base_url="http://localhost:1/v1", **settings)
        assert SECRET not in str(error.value).partition("input_value")[0]


def test_a_damaged_record_is_named(folder):
    (folder / "hosted.json").write_text('{"mark": "../x"')
    with (
        TuningDouble() as provider,
        pytest.raises(TuningError, match=r"hosted\.json should say what is known of a job"),
    ):
        tune(provider, folder)
    assert not provider.requests


def test_a_server_that_speaks_something_else_is_named(folder):
    with TuningDouble() as provider:
        provider.faults[FILES] = [fails(200, "hello")]
        with pytest.raises(TuningError, match=r"is not what this API answers|gives a file or a job an id that is none"):
            tune(provider, folder)


MISTRAL_BLOCKED = {"status": "FAILED", "events": [{"name": "status-updated", "created_at": 3, "data": {"status": "FAILED", "error": "the data were flagged by moderation"}}]}  # fmt: skip


def test_mistrals_jobs_have_other_shapes_and_end_alike(folder):
    with MistralDouble(fate=lambda job: {"status": "SUCCESS"}) as provider:
        made = tune(provider, folder, provider="mistral", learning_rate=1e-4)
        [job] = provider.jobs
        assert job["body"] == {
            "model": "base", "training_files": [{"file_id": "file-0", "weight": 1}], "suffix": "hf-0123456789",
            "hyperparameters": {"epochs": 2, "learning_rate": 1e-4}, "auto_start": True,
        }  # fmt: skip
        assert made[2].checkpoint.served == job["fine_tuned_model"] and made[2].training["losses"] == [1.0, 0.5]
        assert made[2].training["seconds"] == 42.0
        tuner(provider, provider="mistral").discard(folder)
        assert provider.deleted == ["file-0", job["fine_tuned_model"]]


@pytest.mark.parametrize(
    ("fate", "outcome"),
    [(MISTRAL_BLOCKED, "blocked"), ({"status": "FAILED_VALIDATION"}, "failed"), ({"status": "CANCELLED"}, "cancelled")],
)
def test_how_mistrals_jobs_end_is_a_result_too(folder, fate, outcome):
    with MistralDouble(fate=lambda job: fate) as provider:
        assert tune(provider, folder, provider="mistral").outcome == outcome


@pytest.mark.parametrize("lost", [FILES, JOBS, JOB])
def test_mistrals_jobs_are_found_again(folder, lost):
    with MistralDouble(fate=lambda job: {"status": "SUCCESS"}) as provider:
        provider.lost[lost] = 1
        with pytest.raises(ModelError):
            tune(provider, folder, provider="mistral", max_attempts=1)
        assert tune(provider, folder, provider="mistral")[2].checkpoint.served
    assert (len(provider.files), len(provider.jobs)) == (1, 1)
    assert SUCCEEDED["status"] == "succeeded"
