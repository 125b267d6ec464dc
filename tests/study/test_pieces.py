"""Jobs as pieces for a cluster, told and counted without one: what is divided is whole again, and failures are named."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.studies import Silent, messages

from holdfast.core.budget import FileBudget, NoBudget
from holdfast.core.errors import HoldfastError, ModelError
from holdfast.core.files import SHIPPED
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Answer, Checkpoint
from holdfast.models.generate.local import LocalGenerator
from holdfast.study import loader
from holdfast.study.cluster import pieces, places, pool, task, workers_of
from holdfast.study.cluster.desk import Desk, Told
from holdfast.study.plan import make_plan


@pytest.fixture
def jobs(small):
    """The jobs of the small study: the initial model, and one tuning with two conditions of 33 prompts."""
    plan = make_plan(loader.read(small()), [0])
    initial, tuned = sorted(plan.jobs, key=lambda job: job.training is not None)
    return initial, tuned


def test_small_jobs_are_one_piece(jobs):
    assert [[piece.part for piece in pieces.pieces_of(job)] for job in jobs] == [["whole"], ["whole"]]


def test_a_large_job_is_tuned_then_answered_in_parts_then_judged_each_prompt_once(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "ANSWERS_A_PIECE", 20)
    _, job = jobs
    n = len(job.suite.prompts)
    [first] = pieces.pieces_of(job)
    answering = pieces.following(first, RunFolder(tmp_path))
    assert first.part == "tune"
    assert [piece.share for piece in answering] == [(i, -(-2 * n // 20)) for i in range(-(-2 * n // 20))]
    for condition in job.conditions:
        RunFolder(tmp_path).condition(condition.key).add_answers(
            Answer(name, "answered", "x", 1) for name in job.suite.prompts
        )
    judging = pieces.following(answering[0], RunFolder(tmp_path))
    judged = [name for piece in judging for name in piece.job.suite.prompts]
    assert {piece.part for piece in judging} == {"judge"}
    assert sorted(judged) == sorted(job.suite.prompts)
    assert pieces.following(judging[0], RunFolder(tmp_path)) == []


def test_a_piece_needs_memory_for_its_model_and_a_gpu_where_there_are_some(jobs):
    for job in jobs:
        [piece] = pieces.pieces_of(job)
        on_cpu, on_gpu = pieces.needs_of(piece, gpus=False), pieces.needs_of(piece, gpus=True)
        assert (on_cpu.gpus, on_gpu.gpus) == (0, 1)
        assert pieces.OF_A_PROCESS < on_cpu.memory < 4 << 30


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_parts_of_the_batches_give_the_answers_of_the_whole(pocket, temperature):
    generator = LocalGenerator(max_new_tokens=12, batch_size=3, temperature=temperature)
    asked = {str(n): messages(("user", f"Tell me about number {n}{' please' * (n % 4)}")) for n in range(10)}

    def answers(part):
        return {each.prompt_id: each for batch in part.answers_of(pocket, asked, (), 7, NoBudget()) for each in batch}

    whole, parts = answers(generator), [answers(generator.part(i, 3)) for i in range(3)]
    assert sum(map(len, parts)) == len(whole) == 10
    assert {**parts[0], **parts[1], **parts[2]} == whole
    assert generator.part(1, 3).key == generator.key


def test_a_model_has_a_name_that_other_machines_know(tmp_path, monkeypatch):
    folder = tmp_path / "hub" / "models--owner--name" / "snapshots" / ("0" * 40)
    named = {
        str(SHIPPED / "aligned"): "pocket:aligned",
        str(folder): f"hub:owner/name@{'0' * 40}",
        str(tmp_path): str(tmp_path),
    }
    for path, name in named.items():
        assert places.on_any_machine(Checkpoint(path)).base == name
    adapted = places.on_any_machine(Checkpoint(str(SHIPPED / "aligned"), folder=SHIPPED / "helpful"))
    assert adapted.folder == Path("pocket:helpful")
    back = places.on_this_machine(adapted)
    assert (back.base, back.folder) == (str(SHIPPED / "aligned"), SHIPPED / "helpful")
    fetched = []
    monkeypatch.setattr(places.hub, "resolve", lambda *asked: fetched.append(asked) or tmp_path)
    places.on_this_machine(Checkpoint(f"hub:owner/name@{'0' * 40}"))
    assert fetched == [("owner/name", "0" * 40)]


def test_a_model_that_a_machine_does_not_find_is_named_with_the_machine(monkeypatch):
    monkeypatch.setattr(places.socket, "gethostname", lambda: "node-7")
    with pytest.raises(ModelError, match=r"no folder /nowhere/model on node-7.*a disk that all of them share"):
        places.on_this_machine(Checkpoint("/nowhere/model"))


def test_other_versions_on_a_machine_are_named(monkeypatch):
    monkeypatch.setattr(task.socket, "gethostname", lambda: "node-7")
    task._check_versions(task.versions())
    with pytest.raises(HoldfastError, match=r"node-7 has torch .* in place of 1\.0"):
        task._check_versions({**task.versions(), "torch": "1.0"})


def test_tasks_spend_under_one_cap(tmp_path):
    desk = Desk(str(tmp_path / "spending.jsonl"), 1.0, None)
    ticket, why_not = desk.reserve("answers", 0.6, "an answer")
    assert ticket and not why_not
    assert "of the cap of $1.00 is spent" in desk.reserve("judge", 0.6, "a verdict")[1]
    desk.settle("answers", ticket, 0.1)
    assert desk.reserve("judge", 0.6, "a verdict")[0]
    assert FileBudget(tmp_path / "spending.jsonl").by_stage() == pytest.approx({"answers": 0.1, "judge": 0.6})


def test_tasks_are_told_how_much_time_is_left_when_they_begin(monkeypatch):
    assert Desk("", None, None).tell(1, Told()) == (True, None)
    desk = Desk("", None, time.monotonic() + 60)
    goes_on, left = desk.tell(1, Told())
    assert goes_on and 59 < left <= 60
    desk.close()
    assert desk.tell(1, Told())[0] is False
    assert len(desk.take()) == 2 and desk.take() == []


def test_lines_are_told_once_and_whole(tmp_path):
    told = []
    desk = SimpleNamespace(tell=SimpleNamespace(remote=lambda number, each: told.append(each)))
    teller = task.Teller(desk, 1, tmp_path)
    teller._send = lambda each: told.append(each) or True
    path = tmp_path / "conditions" / "a" / "answers.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"0\n1\n2")
    teller.know({("a", "answers.jsonl"): b"0\n"})
    for content in (None, b"0\n1\n2\n", b"0\n1\n2\n", b"0\n2\n3\n"):  # the last one: a damaged line was taken out
        if content:
            path.write_bytes(content)
        teller._tell()
    assert [each.lines.get(("a", "answers.jsonl")) for each in told] == [b"1\n", b"2\n", None, b"3\n"]


class RayError(Exception):
    """Stands for Ray's own."""


@pytest.mark.parametrize(
    ("kind", "again", "words"),
    [("OutOfMemoryError", "killed", "ran out of memory"), ("WorkerCrashedError", "killed", "was killed"),
     ("NodeDiedError", "lost", "was lost"), ("told", "killed", "ran out of memory on node-7 (MemoryError: no room)")],
)  # fmt: skip
def test_what_becomes_of_a_task_whose_process_or_machine_ends(kind, again, words, jobs):
    names = ("RayTaskError", "OutOfMemoryError", "NodeDiedError", "WorkerCrashedError")
    errors = SimpleNamespace(RayError=RayError, **{name: type(name, (RayError,), {}) for name in names})

    def get(reference):
        if kind == "told":
            return "MemoryError: no room", "a trace"
        raise getattr(errors, kind)("it ended")

    run = object.__new__(pool._Run)
    run.ray, run.watcher, run.numbers, run._hear = (
        SimpleNamespace(exceptions=errors, get=get),
        Silent(),
        1,
        lambda: None,
    )
    attempt = pool._Attempt(1, 0, pieces.pieces_of(jobs[0])[0], units=5, machine="node-7")
    for _ in range({"killed": pool.MOST_KILLED, "lost": pool.MOST_LOST}[again]):
        run.watcher.done = 5
        attempt = run._failure(None, attempt)
        attempt.machine, attempt.units = "node-7", 5
        assert words in run.watcher.names[-1] and "begun again" in run.watcher.names[-1]
        assert run.watcher.done == 0
    reason, _ = run._failure(None, attempt)
    assert words in reason and "it was begun" in reason


def test_workers_and_a_cluster_at_once_are_refused():
    assert workers_of(3, None) == 3
    assert workers_of(None, "auto").address == "auto"
    with pytest.raises(HoldfastError, match="takes the place of workers"):
        workers_of(3, "auto")
