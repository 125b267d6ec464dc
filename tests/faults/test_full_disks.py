"""A full disk at any write, sync or rename: one line names the file, nothing is torn, and the run goes on after it."""

import builtins
import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from support.studies import BROUGHT, SMALL, Silent, rows_of, write_rows
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.core.budget import FileBudget
from holdfast.core.files import naming_full_disk, why_file_failed
from holdfast.core.jsonl import append_lines
from holdfast.core.types import Verdict
from holdfast.judges.cache import VerdictCache
from holdfast.study import loader, run

runner = CliRunner()
FULL = [errno.ENOSPC, errno.EDQUOT]


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of a finished run and its study, which is written as it is here."""
    shutil.copytree(finished, tmp_path / "copy")
    run.run(loader.read(tmp_path / "copy" / "study.yaml"), "as given", tmp_path / "copy" / "run", [0], 1, Silent())
    return tmp_path / "copy"


def break_disk(patch, stage, name, number):
    """Have the disk be full whenever a file whose name begins so is written, synced or renamed."""
    full = OSError(number, os.strerror(number))

    def is_meant(path):
        return Path(path).name.lstrip(".").startswith(name)

    if stage == "sync":
        real = os.fsync

        def fsync(descriptor):
            if is_meant(os.readlink(f"/proc/self/fd/{descriptor}")):  # noqa: PTH115
                raise full
            real(descriptor)

        patch.setattr(os, "fsync", fsync)
    elif stage == "rename":
        replace = Path.replace

        def refuse(self, target):
            if is_meant(target):
                raise full
            return replace(self, target)

        patch.setattr(Path, "replace", refuse)
    else:
        opened = builtins.open

        class Half(io.FileIO):
            """A file of which only the first bytes fit on the disk."""

            def write(self, content):
                if len(content) < 4:
                    raise full
                return super().write(bytes(content)[: len(content) // 2])

        def half(file, mode="r", buffering=-1, *more, opener=None, **options):
            if is_meant(file) and set(mode) & set("wxa+") and "b" in mode:
                raw = Half(file, mode.replace("b", ""), opener=opener)
                return raw if buffering == 0 else io.BufferedWriter(raw)
            return opened(file, mode, buffering, *more, opener=opener, **options)

        patch.setattr(builtins, "open", half)
        patch.setattr(io, "open", half)


def without_last_line(path):
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def lacking(folder, name):
    """Take away a part of what a run folder holds, so that the run writes it again; its path."""
    [path, *_] = sorted((folder / "run").rglob(f"{name}*"))
    if path.suffix == ".jsonl" and path.parent.parent.name == "conditions":
        without_last_line(path)
    else:
        path.unlink()
    return path


def contents(folder):
    files = [path for path in (folder / "run").rglob("*") if path.is_file() and path.name != "report.html"]
    return {path.relative_to(folder): sorted(path.read_bytes().splitlines()) for path in files}


NAMES = ["answers.jsonl", "verdicts.harmfulness", "condition.json", "prompts.jsonl", "study.yaml", "study.resolved.yaml",
         "results.json", "report.html"]  # fmt: skip


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize(
    ("name", "stage"),
    [(name, stage) for name in NAMES for stage in ("write", "sync", "rename") if (name[:3], stage) not in
     (("ans", "rename"), ("ver", "rename"))],
)  # fmt: skip
@pytest.mark.long
def test_a_full_disk_is_named_and_after_it_the_run_goes_on(copied, name, stage):
    command = ["run", str(copied / "study.yaml"), "--out", str(copied / "run"), "--workers", "1"]
    assert runner.invoke(app, command).exit_code == 0
    before = contents(copied)
    path = lacking(copied, name)
    with pytest.MonkeyPatch.context() as patch:
        break_disk(patch, stage, name, errno.ENOSPC)
        done = runner.invoke(app, command)
    assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    assert f"the disk has no room left, and {path} could not be written" in " ".join(done.output.split())
    assert "What was finished is kept; the same command goes on" in " ".join(done.output.split())
    for file in (copied / "run").rglob("*.jsonl"):
        assert all(json.loads(line) for line in file.read_bytes().splitlines()), "a torn line"
    assert not [file for file in (copied / "run").rglob(".*") if len(file.suffix) == 17], "a draft is left"
    assert runner.invoke(app, command).exit_code == 0
    assert contents(copied) == before
    assert (copied / "run" / "report.html").is_file()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("number", FULL)
@pytest.mark.parametrize("stage", ["write", "sync"])
def test_lines_that_do_not_fit_are_not_torn(tmp_path, stage, number):
    path = tmp_path / "lines.jsonl"
    append_lines(path, [{"n": 1}])
    before = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        break_disk(patch, stage, "lines", number)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            append_lines(path, [{"n": n} for n in range(100)])
    assert path.read_bytes() == before
    assert str(path) in why_file_failed(caught.value)
    append_lines(path, [{"n": 2}])
    assert path.read_bytes() == before + b'{"n": 2}\n'


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("stage", ["write", "sync"])
def test_nothing_is_bought_where_the_booking_or_the_verdict_cannot_be_kept(tmp_path, stage):
    with pytest.MonkeyPatch.context() as patch:
        break_disk(patch, stage, "spending", errno.ENOSPC)
        with pytest.raises(OSError, match="No space left") as caught:
            FileBudget(tmp_path / "spending.jsonl", 10).reserve(1.0, "a reply")
    assert f"{tmp_path / 'spending.jsonl'} could not be written" in why_file_failed(caught.value)
    assert FileBudget(tmp_path / "spending.jsonl", 10).spent == 0
    cache = VerdictCache("judge-1")
    with pytest.MonkeyPatch.context() as patch:
        break_disk(patch, stage, "judge-1.jsonl", errno.ENOSPC)
        with pytest.raises(OSError, match="No space left") as caught:
            cache.add({"a": Verdict("p", "scored", 5)})
    assert f"{cache.path} could not be written" in why_file_failed(caught.value)
    assert VerdictCache("judge-1").find(["a"]) == {}


LIBRARIES = [
    OSError(errno.ENOSPC, "No space left on device"),
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    RuntimeError(
        "[enforce fail at inline_container.cc:857] . PytorchStreamWriter failed writing file data/0: file write failed"
    ),
    Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.long
@pytest.mark.parametrize("error", LIBRARIES)
def test_a_checkpoint_that_does_not_fit_is_named(tmp_path, error, monkeypatch):
    """As the libraries that write checkpoints say it."""
    from holdfast.tuning import trainer

    study = {**SMALL, "evaluate": BROUGHT["evaluate"], "conditions": {"harm-2": SMALL["conditions"]["harm-2"]}}
    write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::110])
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))

    def full(*_):
        raise error

    monkeypatch.setattr(trainer, "_keep", full)
    done = runner.invoke(app, ["run", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "run"), "--workers", "1"])
    assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    said = " ".join(done.output.split())
    assert f"the disk has no room left, and {tmp_path / 'run' / 'checkpoints'}" in said


def test_what_cannot_be_read_is_not_called_a_full_disk(tmp_path):
    for message in ("PytorchStreamReader failed reading zip archive (inline_container.cc:1)", "shape mismatch"):
        with pytest.raises(RuntimeError), naming_full_disk(tmp_path):
            raise RuntimeError(message)
