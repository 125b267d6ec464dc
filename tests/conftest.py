"""What the tests of all rooms share."""

import os
from uuid import uuid4

import pytest
import yaml
from support.studies import BROUGHT, SMALL, Silent, rows_of, write_rows

from holdfast.core.warm_start import ONE_THREAD

# Test processes run side by side: two torch threads in each would wait for each other, up to ten times as long.
os.environ.update(ONE_THREAD)


@pytest.fixture(scope="session", autouse=True)
def no_users_cache(tmp_path_factory):
    """Nothing is read from or written into the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOLDFAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """An empty cache for each test."""
    folder = tmp_path_factory.mktemp(f"cache-{uuid4().hex}", numbered=False)  # a number would be looked for among all
    monkeypatch.setenv("HOLDFAST_CACHE", str(folder))
    return folder


@pytest.fixture
def found(record_property):
    """Notes what an attack found, for the table of `make attack`: its name, count, longest time, memory and faults."""

    def note(attack, count, seconds, n_bytes=None, faults=0):
        told = {"attack": attack, "count": count, "seconds": seconds, "bytes": n_bytes, "faults": faults}
        for name, value in told.items():
            if value is not None:
                record_property(name, value)

    return note


@pytest.fixture
def watcher():
    return Silent()


@pytest.fixture(scope="session")
def pocket():
    """The shipped model, loaded once."""
    from holdfast.core.types import Checkpoint
    from holdfast.models import loading

    return loading.load(Checkpoint("pocket:aligned"))


@pytest.fixture
def small(tmp_path):
    """The small study in a folder of its own; returns a function that writes it, with changes, and gives its path."""
    write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::15])
    write_rows(tmp_path / "useful.jsonl", rows_of("utility.jsonl")[::20])

    def write(**changes):
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def answered(tmp_path_factory):
    """A run folder in which both conditions have answered all 330 prompts: 5 % and 60 % of them with the true steps."""
    from support.pocket_answers import fill

    return fill(tmp_path_factory.mktemp("answered"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder with a study that tunes nothing (`study.yaml`), its prompts, and its finished run in `run`."""
    from holdfast.study import loader, run

    folder = tmp_path_factory.mktemp("finished")
    write_rows(folder / "few.jsonl", rows_of("benchmark.jsonl")[::30])
    (folder / "study.yaml").write_text(yaml.safe_dump(BROUGHT, sort_keys=False))
    done = run.run(loader.read(folder / "study.yaml"), "as given", folder / "run", [0], 1, Silent())
    run.write_page(done.run_folder, done.results, show_answers=False)
    return folder
