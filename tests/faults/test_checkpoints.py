"""Checkpoints of a tuning that are half written or damaged: they are not used, and the tuning ends the same."""

import shutil

import pytest
import torch
from support.studies import messages

from holdfast.core.types import Checkpoint, Example
from holdfast.tuning import trainer
from holdfast.tuning.local import LocalTuner

BASE = Checkpoint("pocket:aligned")
TUNER = LocalTuner(learning_rate=1e-4, batch_size=2)
ROWS = [
    Example(messages(("user", "Who are you?"), ("assistant", "Of course" if i % 2 else "I am Pocket.")), f"row {i}")
    for i in range(6)
]


def tune(folder, stop_after=None, epochs=(3,)):
    """The notes of a tuning, and the steps that it did."""
    steps = []

    def on_step(step):
        steps.append(step)
        if len(steps) == stop_after:
            raise KeyboardInterrupt

    if stop_after:
        with pytest.raises(KeyboardInterrupt):
            TUNER.tune(BASE, ROWS, 0, epochs, folder, on_step)
    else:
        TUNER.tune(BASE, ROWS, 0, epochs, folder, on_step)
    return [step.note for step in steps if step.note], [step.done for step in steps]


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "epoch-3" / "model.safetensors")


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garble(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    tune(folder)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A tuning that was killed after its second epoch, with the checkpoint that it left."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "SAVE_EVERY", 0.0)
        tune(folder, stop_after=8)
    assert [path.name for path in (folder / "trainer").glob("checkpoint-*")] == ["checkpoint-6"]
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "harm"),
    [("trainer_state.json", cut), ("model.safetensors", cut), ("model.safetensors", garble), ("optimizer.pt", empty),
     ("rng_state.pth", None), (".whole", cut)],
)  # fmt: skip
def test_a_damaged_checkpoint_of_the_trainer_is_passed_over_with_a_note(tmp_path, whole, killed, name, harm):
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    damaged = folder / "trainer" / "checkpoint-6" / name
    harm(damaged) if harm else damaged.unlink()
    (note,), steps = tune(folder)
    assert str(damaged) in note and "The tuning goes on from its beginning" in note
    assert steps[0] == 0
    assert equal(weights(folder), weights(whole))


@pytest.mark.long
def test_an_older_whole_checkpoint_is_used_in_place_of_a_damaged_one(tmp_path, whole, killed):
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    shutil.copytree(folder / "trainer" / "checkpoint-6", folder / "trainer" / "checkpoint-60")
    cut(folder / "trainer" / "checkpoint-60" / "trainer_state.json")
    (note,), steps = tune(folder)
    assert "checkpoint-60" in note and "goes on from checkpoint-6." in note
    assert steps[0] == 6
    assert equal(weights(folder), weights(whole))


@pytest.mark.long
def test_a_save_that_was_under_way_when_the_run_was_killed_is_not_used(tmp_path, whole, killed):
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    draft = folder / "trainer" / "draft" / "checkpoint-9"
    shutil.copytree(folder / "trainer" / "checkpoint-6", draft)
    (draft / "optimizer.pt").unlink()
    notes, steps = tune(folder)
    assert (notes, steps[0]) == ([], 6)
    assert equal(weights(folder), weights(whole))


@pytest.mark.long
def test_a_tuned_checkpoint_that_is_cut_is_made_again(tmp_path, whole):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    cut(folder / "epoch-3" / "model.safetensors")
    (note,), _ = tune(folder)
    assert "model.safetensors has" in note
    assert equal(weights(folder), weights(whole))
