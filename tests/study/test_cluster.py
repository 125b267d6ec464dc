"""A run on a Ray cluster: the figures of one process, whatever becomes of its machines."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from support.object_store import object_store
from support.studies import SMALL, Silent, figures, rows_of, write_rows

from holdfast.core import mirror
from holdfast.core.errors import WorkError
from holdfast.study import loader, run
from holdfast.study.cluster import pieces, pool

ray = pytest.importorskip("ray")
pytest.importorskip("moto")
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:.*:FutureWarning", "ignore::ResourceWarning")]

ARGUMENTS = {"object_store_memory": 100 << 20, "memory": 4 << 30, "include_dashboard": False}
SLOW = """
import os, time
from holdfast.models.generate.local import LocalGenerator
whole = LocalGenerator.answers

def slowly(self, *arguments):
    for answers in whole(self, *arguments):
        time.sleep(float(os.environ.get("SLOWLY", "0")))
        yield answers

LocalGenerator.answers = slowly
"""
"""Loaded by every process of the cluster: an answer takes as long as with a large model."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The small study, and its undisturbed run in one process."""
    folder = tmp_path_factory.mktemp("study")
    write_rows(folder / "few.jsonl", rows_of("benchmark.jsonl")[::15])
    write_rows(folder / "useful.jsonl", rows_of("utility.jsonl")[::20])
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    run.run(loader.read(folder / "small.yaml"), "as given", folder / "one", [0], 1, Silent())
    return folder


class Nodes:
    """A cluster on this machine: a head that does no tasks, and two nodes of one core each."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **ARGUMENTS})
        self.nodes = []

    def fill(self):
        """Have two nodes again."""
        while len(self.nodes) < 2:
            self.nodes.append(self.cluster.add_node(num_cpus=1, **ARGUMENTS))

    def kill(self):
        """Kill one of them, which is at work: the head does nothing."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    hooks = tmp_path_factory.mktemp("hooks")
    (hooks / "sitecustomize.py").write_text(SLOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(hooks), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("SLOWLY", "0.1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "1800")  # on a machine that does much else
        with object_store(patch):  # before the nodes, which inherit its address
            made = Nodes()
            made.fill()
            yield made
        made.cluster.shutdown()


@pytest.fixture
def cluster(nodes):
    nodes.fill()
    ray.init(address=nodes.cluster.address, log_to_driver=False, configure_logging=False)
    yield nodes
    ray.shutdown()


def on_the_cluster(study, folder, watcher=None):
    watcher = watcher or Silent()
    run.run(loader.read(study / "small.yaml"), "as given", folder, [0], pool.RayCluster(), watcher)
    return watcher


def once(condition, then):
    """Do something as soon as a condition holds, beside the run."""

    def wait():
        while not condition():
            time.sleep(0.05)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def n_answers(folder):
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("conditions/*/answers.jsonl"))


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != "report.html")


def test_three_nodes_give_the_figures_of_one_process(study, cluster, tmp_path):
    watcher = on_the_cluster(study, tmp_path / "run")
    assert figures(tmp_path / "run") == figures(study / "one")
    assert files_in(tmp_path / "run") == files_in(study / "one")
    assert watcher.done == watcher.total


def test_a_node_that_is_killed_half_way_changes_no_figure(study, cluster, tmp_path):
    out = tmp_path / "run"
    killed = once(lambda: n_answers(out) > 8, cluster.kill)
    watcher = on_the_cluster(study, out)
    assert not killed.is_alive()
    assert [
        name for name in watcher.names if "was lost" in name and "What it told is kept, and it is begun again" in name
    ]
    assert figures(out) == figures(study / "one")


def workers_at_work():
    """The processes that do our tasks."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and (entry / "cmdline").read_bytes().startswith(b"ray::holdfast"):
                found.append(int(entry.name))
    return found


def kill_a_worker():
    os.kill(workers_at_work()[0], signal.SIGKILL)


def test_a_task_that_is_killed_is_named_and_begun_again(study, cluster, tmp_path):
    out = tmp_path / "run"
    killed = once(lambda: n_answers(out) > 4, kill_a_worker)
    watcher = on_the_cluster(study, out)
    assert not killed.is_alive()
    [note] = [name for name in watcher.names if "begun again" in name]
    assert "its process on" in note and "was killed" in note
    assert figures(out) == figures(study / "one")


def test_a_task_that_is_killed_twice_is_reported_and_the_others_are_finished(study, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "MOST_KILLED", 0)
    out = tmp_path / "run"
    once(lambda: n_answers(out) > 4, kill_a_worker)
    with pytest.raises(
        WorkError, match=r"(?s)of 3 conditions failed; the others are finished.*was killed.*more memory"
    ):
        on_the_cluster(study, out)
    on_the_cluster(study, out)
    assert figures(out) == figures(study / "one")


def test_large_jobs_are_divided_and_give_the_same_figures(study, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "ANSWERS_A_PIECE", 16)
    watcher = on_the_cluster(study, tmp_path / "run")
    parts = {activity.task for _, activity in watcher.activities if activity and "part" in activity.task}
    assert len(parts) > 2
    assert figures(tmp_path / "run") == figures(study / "one")
    assert files_in(tmp_path / "run") == files_in(study / "one")


def test_a_run_whose_machine_is_lost_goes_on_from_what_its_tasks_told(study, cluster, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "holdfast", "run", study / "small.yaml", "--out", out, "--ray", nodes_address()]
    process = subprocess.Popen(list(map(str, command)), start_new_session=True, stdout=subprocess.DEVNULL)
    while n_answers(out) < 8 and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    told = n_answers(out)
    on_the_cluster(study, out)
    assert 8 <= told < 66
    assert figures(out) == figures(study / "one")
    assert files_in(out) == files_in(study / "one")


def nodes_address():
    return ray.get_runtime_context().gcs_address


def test_with_the_run_folder_in_a_store_a_node_that_is_killed_changes_no_figure(study, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "ANSWERS_A_PIECE", 40)  # so that nodes hand on tuned weights through the store
    url = "s3://holdfast/runs/small"
    watcher = Silent()
    with mirror.working_copy(url, watcher.note) as folder:
        killed = once(lambda: n_answers(folder) > 40, cluster.kill)
        on_the_cluster(study, folder, watcher)
        assert not killed.is_alive()
    assert [name for name in watcher.names if "was lost" in name]
    assert [activity for _, activity in watcher.activities if activity and "part 2 of 2" in activity.task]
    monkeypatch.setenv("HOLDFAST_CACHE", str(tmp_path))  # as on another machine
    with mirror.working_copy(url, print) as fetched:
        assert fetched != folder
        assert figures(fetched) == figures(study / "one")
        assert not (fetched / "checkpoints").exists()
