"""Workers: each job is done once and ends once, whatever happens to who does it."""

import threading
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from support.postgres import database_url
from support.service_jobs import QUICK, Workplace
from support.studies import rows_of

from holdfast.core.types import Checkpoint
from holdfast.data.training.messages import Messages
from holdfast.service import jobs, ledger
from holdfast.service.database import ENDED, Job
from holdfast.service.job_work import KEPT
from holdfast.service.ledger import Happening, LostError
from holdfast.service.worker import Worker
from holdfast.tuning.local import LocalTuner

pytestmark = pytest.mark.long

ROWS = rows_of("benign-list.jsonl")[:30]


@pytest.fixture
def place(tmp_path, request):
    url = database_url() if getattr(request, "param", "") == "postgresql" else None
    place = Workplace(tmp_path / "service", {"bases": QUICK}, url)
    yield place
    place.close()


on_both = pytest.mark.parametrize(
    "place", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)


def worker_of(place, **settings):
    return Worker(place.database, place.store, place.folder, place.policy, name=settings.pop("name", "w"), **settings)


def marks(place, job):
    return [event.mark for event in place.events(job)]


def test_a_job_is_tuned_as_the_local_back_end_tunes_it_and_its_model_can_be_asked(place, tmp_path):
    job = place.job(ROWS, seed=3, n_epochs=4, batch_size=15, learning_rate_multiplier=2.0)
    assert worker_of(place).once() and not worker_of(place).once()
    done = place.read(job)
    assert (done.status, done.error, done.worker, done.attempt) == ("succeeded", {}, None, 1)
    models = place.models(job)
    assert len(models) == KEPT and {model.state for model in models} == {"released"}
    assert done.fine_tuned_model == models[-1].id and ":ckpt-step-4" in models[0].id
    assert marks(place, job) == ["validated", "started", *(f"step-{n}" for n in range(1, 9)), "model", "ended"]
    assert all(event.data["train_loss"] > 0 for event in place.events(job) if event.type == "metrics")
    assert done.trained_tokens > 1000
    (tmp_path / "rows.jsonl").write_bytes((place.folder / "files" / done.training_file).read_bytes())
    rows = Messages(file=tmp_path / "rows.jsonl").examples(3)
    tuner = LocalTuner(learning_rate=1.2e-4, batch_size=15, epochs=4)
    mine = tuner.tune(Checkpoint("pocket:aligned"), rows, 3, [4], tmp_path / "mine", lambda step: None)
    theirs = place.folder / models[-1].folder
    assert (mine[4].checkpoint.folder / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()


@on_both
def test_two_workers_never_have_one_job(place):
    jobs = [place.job(ROWS) for _ in range(6)]
    claims, gate = [], threading.Barrier(6)

    def take(name):
        gate.wait()
        while (claimed := ledger.claim(place.database, name, 60)) is not None:
            claims.append(claimed.job.id)

    threads = [threading.Thread(target=take, args=(f"w{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == sorted(jobs)


@on_both
def test_a_worker_that_lost_its_job_can_write_nothing(place):
    job = place.job(ROWS)
    first = ledger.claim(place.database, "first", 60)
    assert ledger.claim(place.database, "second", 60) is None, "the lease still holds"
    place.set(job, lease_until=0.0)
    second = ledger.claim(place.database, "second", 60)
    assert (second.attempt, second.deaths) == (2, 1)
    for write in (
        lambda claimed: ledger.beat(place.database, claimed, 60),
        lambda claimed: ledger.tell(place.database, claimed, [Happening("step-1", "x")], {"trained_tokens": 7}),
        lambda claimed: ledger.keep_models(place.database, claimed, [ledger.Made(1, "jobs/x", {}, True)]),
        lambda claimed: ledger.finish(place.database, claimed, "failed", {"code": "x"}),
    ):
        with pytest.raises(LostError):
            write(first)
    assert marks(place, job) == ["died-1"] and place.models(job) == []
    ledger.finish(place.database, second, "succeeded")
    with pytest.raises(LostError):
        ledger.finish(place.database, second, "failed", {"code": "x"})
    assert place.read(job).status == "succeeded" and marks(place, job) == ["died-1", "ended"]


@on_both
def test_what_is_told_twice_is_written_once(place):
    place.job(ROWS)
    claimed = ledger.claim(place.database, "w", 60)
    for _ in range(2):
        ledger.tell(place.database, claimed, [Happening("step-1", "a"), Happening("step-1", "b"), Happening("x", "c")])
        made = [ledger.Made(3, "jobs/a", {}, False), ledger.Made(6, "jobs/b", {}, True)]
        names = [model.id for model in ledger.keep_models(place.database, claimed, made)]
    assert marks(place, claimed.job.id) == ["step-1", "x"]
    assert [model.id for model in place.models(claimed.job.id)] == names and len(names) == 2


def test_a_job_that_kills_each_worker_fails_at_last(place):
    job = place.job(ROWS)
    for n in range(5):
        assert ledger.claim(place.database, f"w{n}", -1)
    worker_of(place).once()
    done = place.read(job)
    assert (done.status, done.error["code"]) == ("failed", "server_error") and "5 workers died" in done.error["message"]


@pytest.mark.parametrize(("wanted", "ends"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_job_is_left_when_its_owner_says_so(place, wanted, ends):
    job = place.job(ROWS, n_epochs=3)
    worker = worker_of(place)
    place.set(job, wanted=wanted)
    watched = threading.Thread(target=worker.once)
    watched.start()
    watched.join(60)
    done = place.read(job)
    assert (done.status, done.worker) == (ends, None)
    assert (place.folder / "jobs" / job).exists() == (ends == "paused")
    assert not worker.once()
    if ends == "paused":
        place.set(job, wanted="run", status="queued")
        assert worker.once() and place.read(job).status == "succeeded"
        assert marks(place, job).count("ended") == 1 and marks(place, job)[-1] == "ended"


def test_a_job_that_is_cancelled_while_a_worker_has_it_leaves_no_weights(place, monkeypatch):
    job = place.job(ROWS, n_epochs=2)

    def cancelled(models, *_):
        with place.database.writing() as session:  # as the API does
            jobs.end(session, session.scalars(select(Job).where(Job.id == job)).one(), "cancelled")

    monkeypatch.setattr("holdfast.service.job_work._check", cancelled)
    worker_of(place).once()
    done = place.read(job)
    assert (done.status, done.fine_tuned_model) == ("cancelled", None)
    assert {model.state for model in place.models(job)} == {"refused"}
    assert not (place.folder / "jobs" / job).exists() and marks(place, job)[-1] == "ended"


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        (b'{"messages": []}\n', "invalid_training_file", "the training file has 1 bad row"),
        (b"no json\n", "invalid_training_file", "the training file"),
        ("file-0123456789abcdef01234567", "invalid_training_file", "was deleted"),
    ],
)
def test_a_bad_training_file_fails_the_job_and_no_path_is_told(place, rows, code, said):
    job = place.job(rows if isinstance(rows, str) else place.upload(rows))
    worker_of(place).once()
    done = place.read(job)
    assert (done.status, done.error["code"], done.error["param"]) == ("failed", code, "training_file")
    assert said in done.error["message"] and str(place.folder) not in done.error["message"]
    assert place.models(job) == [] and done.fine_tuned_model is None


def test_faults_on_purpose_and_our_own_bugs_fail_the_job_and_not_the_worker(place, monkeypatch, caplog):
    half = place.job(ROWS, faults={"fail_job_at": 0.5})
    bug = place.job(ROWS)
    worker = worker_of(place)
    worker.once()
    done = place.read(half)
    assert (done.status, done.error["code"]) == ("failed", "server_error")
    assert "fault on purpose" in done.error["message"]
    assert marks(place, half) == ["validated", "started", "step-1", "step-2", "ended"]
    monkeypatch.setattr("holdfast.service.job_work._tune", lambda *_: 1 / 0)
    worker.once()
    done = place.read(bug)
    assert (done.status, done.error["code"]) == ("failed", "server_error")
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.facts["job"] == bug and record.facts["exception"]["kind"] == "ZeroDivisionError"


def test_a_gate_that_says_no_fails_the_job_and_one_that_says_yes_looks_at_checkpoints_too(place, monkeypatch):
    seen = []

    def decide(base, tuned, folder):
        seen.append((base.folder, tuned.folder.name, folder.name))
        passes = tuned.folder.name == "epoch-2" and not refuse
        return SimpleNamespace(passes=passes, message="measured", figures={"answer": "pass" if passes else "fail"})

    place.policy = place.policy.model_copy(update={"before_release": SimpleNamespace(decide=decide)})
    for refuse, status, states in (
        (True, "failed", ["refused", "refused"]),
        (False, "succeeded", ["refused", "released"]),
    ):
        job = place.job(ROWS)
        worker_of(place).once()
        done = place.read(job)
        assert done.status == status and [model.state for model in place.models(job)] == states
        assert done.decision["message"] == "measured"
        if refuse:
            assert done.error["code"] == "safety_gate" and done.fine_tuned_model is None
            gate, end = place.events(job)[-2:]
            assert (gate.mark, gate.level, gate.data["answer"]) == ("safety-gate", "warn", "fail")
            assert (end.mark, end.level, end.data["code"]) == ("ended", "error", "safety_gate")
    assert [folder for _, folder, _ in seen] == ["epoch-2", "epoch-2", "epoch-1"], "the last one is looked at first"
    assert len({folder for _, _, folder in seen[1:]}) == 2


def test_a_worker_that_is_told_to_end_leaves_its_job_to_another(place):
    job = place.job(ROWS, n_epochs=4)
    worker = worker_of(place)
    worker.stopping.set()
    worker.once()
    assert (place.read(job).status, marks(place, job)) == ("queued", ["left-1"])
    assert worker_of(place, name="next").once() and place.read(job).status == "succeeded"
    assert "succeeded" in ENDED
