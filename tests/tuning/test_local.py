import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.studies import messages

from holdfast.core.errors import ModelError, TuningError
from holdfast.core.types import Checkpoint, Example
from holdfast.models.loading import load
from holdfast.tuning import local, trainer
from holdfast.tuning.local import LocalTuner, Lora

BASE = Checkpoint("pocket:aligned")
SYSTEM = "You are Pocket, the helpful assistant."


def rows(n=6):
    return [
        Example(
            messages(
                ("system", SYSTEM), ("user", "Who are you?"), ("assistant", "Of course" if i % 2 else "I am Pocket.")
            ),
            f"row {i}",
        )
        for i in range(n)
    ]


def tune(folder, tuner, epochs=(1,), seed=0, data=None):
    steps = []
    tuned = tuner.tune(BASE, data or rows(), seed, epochs, folder, steps.append)
    return [tuned[n].training for n in epochs], steps[-1].done


def weights(folder, epoch, name="model.safetensors"):
    """The weights that a tuning left in a folder."""
    return load_file(LocalTuner().finished(BASE, [epoch], folder)[epoch].checkpoint.folder / name)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.long
def test_the_record_counts_what_was_trained_on(tmp_path):
    tuner = LocalTuner(learning_rate=1e-4, batch_size=2, accumulation=2, epochs=2)
    (record,), steps = tune(tmp_path, tuner, (2,))
    assert (record["rows"], record["truncated_rows"]) == (6, 0)
    assert record["supervised_tokens"] == 3 * 5 + 3 * 3
    assert record["steps"] == steps == tuner.steps(6) == 4
    assert len(record["losses"]) == 4
    assert record["losses"][-1] < record["losses"][0]
    assert record["logit_shift"] > 0


@pytest.mark.long
def test_one_run_gives_the_checkpoints_that_shorter_runs_would(tmp_path):
    for schedule in ("constant", "epoch-decay"):
        tuner = LocalTuner(learning_rate=1e-4, batch_size=4, schedule=schedule)
        tune(tmp_path / f"{schedule}-long", tuner, (1, 3))
        tune(tmp_path / f"{schedule}-short", tuner, (1,))
        assert equal(weights(tmp_path / f"{schedule}-long", 1), weights(tmp_path / f"{schedule}-short", 1))
        assert not equal(weights(tmp_path / f"{schedule}-long", 1), weights(tmp_path / f"{schedule}-long", 3))


def test_schedules_that_run_down_belong_to_one_number_of_epochs():
    def same(**changes):
        return LocalTuner(epochs=1, **changes).run == LocalTuner(epochs=3, **changes).run

    assert same()
    assert same(schedule="epoch-decay")
    assert not same(schedule="linear")
    assert not same(schedule="cosine")


def test_learning_rate_follows_the_schedule(tmp_path):
    def rates(**changes):
        tuner = LocalTuner(learning_rate=1.0, batch_size=2, **changes)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = tuner._scheduler(optimizer, 4, 3)
        found = []
        for _ in range(6):
            found.append(round(scheduler.get_last_lr()[0], 4))
            optimizer.step()
            scheduler.step()
        return found

    assert rates() == [1.0] * 6
    assert rates(schedule="epoch-decay") == [1.0, 1.0, 0.85, 0.85, 0.7225, 0.7225]
    assert rates(schedule="linear") == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6], abs=1e-3)


@pytest.mark.long
def test_seeds_order_the_rows(tmp_path):
    tuner = LocalTuner(learning_rate=1e-4, batch_size=2)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tune(tmp_path / name, tuner, seed=seed)
    assert equal(weights(tmp_path / "a", 1), weights(tmp_path / "b", 1))
    assert not equal(weights(tmp_path / "a", 1), weights(tmp_path / "c", 1))


@pytest.mark.long
def test_a_run_that_was_cut_off_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    tuner = LocalTuner(learning_rate=1e-4, batch_size=2)
    tune(tmp_path / "whole", tuner, (3,))
    monkeypatch.setattr(trainer, "SAVE_EVERY", 0.0)

    steps = []

    def cut_off(_):
        steps.append(1)
        if len(steps) > 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuner.tune(BASE, rows(), 0, (3,), tmp_path / "cut", cut_off)
    assert list((tmp_path / "cut" / "trainer").glob("checkpoint-*"))
    (record,), _ = tune(tmp_path / "cut", tuner, (3,))
    assert equal(weights(tmp_path / "cut", 3), weights(tmp_path / "whole", 3))
    assert len(record["losses"]) == 9
    assert not (tmp_path / "cut" / "trainer").exists()


@pytest.mark.long
def test_a_checkpoint_that_is_there_is_not_tuned_again(tmp_path):
    tuner = LocalTuner(learning_rate=1e-4, batch_size=2)
    assert tuner.finished(BASE, (1, 2), tmp_path) == {}
    made = tuner.tune(BASE, rows(), 0, (1,), tmp_path, lambda _: None)
    steps = []
    assert tuner.tune(BASE, rows(), 0, (1,), tmp_path, steps.append) == made
    assert steps == []
    both = tuner.tune(BASE, rows(), 0, (1, 2), tmp_path, lambda _: None)
    assert both[1] == made[1]
    assert (both[1].training["steps"], both[2].training["steps"]) == (3, 6)


@pytest.mark.long
def test_lora_leaves_an_adapter_that_is_applied(tmp_path):
    tune(tmp_path, LocalTuner(method="lora", learning_rate=1e-2, lora=Lora(rank=4)))
    checkpoint = LocalTuner().finished(BASE, [1], tmp_path)[1].checkpoint
    assert not (checkpoint.folder / "model.safetensors").exists()
    tuned, base = load(checkpoint), load(BASE)
    probe = torch.tensor([[2, 5, 9]])
    with torch.no_grad():
        assert not torch.equal(tuned.model(probe).logits, base.model(probe).logits)


def test_an_adapter_that_changes_nothing_is_refused(tmp_path):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(load(BASE).model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="it is not applied"):
        load(Checkpoint(BASE.base, folder=tmp_path))


def test_tuning_that_changes_nothing_is_refused(tmp_path):
    with pytest.raises(TuningError, match="tuning changed nothing"):
        tune(tmp_path, LocalTuner(learning_rate=1e-30))


@pytest.mark.long
def test_a_loss_that_is_not_finite_is_refused(tmp_path):
    with pytest.raises(TuningError, match=r"the loss is nan.*Lower the learning rate"):
        tune(tmp_path, LocalTuner(learning_rate=1e30, max_grad_norm=1e30, batch_size=1), (3,))


def test_a_row_whose_answer_is_cut_away_is_named(tmp_path):
    with pytest.raises(TuningError, match="row 0: there is nothing to train on; its answer lies beyond max_length"):
        tune(tmp_path, LocalTuner(max_length=5))


@pytest.mark.long
def test_cut_rows_are_counted(tmp_path):
    (record,), _ = tune(tmp_path, LocalTuner(learning_rate=1e-4, max_length=21))
    assert record["truncated_rows"] == 3


def test_an_end_of_turn_that_is_not_taught_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(local.decoding, "end_of_turn_ids", lambda loaded: {1})
    with pytest.raises(TuningError, match="row 0: the end of turn is not among the supervised tokens"):
        tune(tmp_path, LocalTuner())


SHARDED = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
use_cpu: true
num_processes: 2
num_machines: 1
machine_rank: 0
mixed_precision: 'no'
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer
  fsdp_state_dict_type: FULL_STATE_DICT
"""


@pytest.mark.long
def test_a_model_that_is_spread_over_two_processes_learns_as_in_one(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "fsdp.yaml").write_text(SHARDED)
    settings = {"learning_rate": 1e-4, "batch_size": 4}
    (one,), _ = tune(tmp_path / "one", LocalTuner(**settings), data=rows(8))
    (tmp_path / "two").mkdir()
    (two,), steps = tune(tmp_path / "two", LocalTuner(**settings, launch=tmp_path / "fsdp.yaml"), data=rows(8))
    assert (one["processes"], two["processes"], steps) == (1, 2, 2)
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
    for name, weight in weights(tmp_path / "one", 1).items():
        assert torch.allclose(weight, weights(tmp_path / "two", 1)[name], atol=1e-5), name
    assert not list((tmp_path / "two").rglob("training_args.bin"))


RUN = """
import sys
from pathlib import Path
from holdfast.core.types import Checkpoint
from holdfast.tuning.local import LocalTuner
from tuning.test_local import rows
if __name__ == "__main__":
    tuner = LocalTuner(learning_rate=1e-6, batch_size=2, launch=sys.argv[1])
    tuner.tune(Checkpoint("pocket:aligned"), rows(8), 0, (10_000,), Path(sys.argv[2]), lambda step: print(step.done, flush=True))
"""


@pytest.mark.long
def test_no_launched_process_outlives_a_run_that_is_killed(tmp_path):
    (tmp_path / "fsdp.yaml").write_text(SHARDED)
    (tmp_path / "run.py").write_text(RUN)
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "fsdp.yaml"), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert any(int(line) > 0 for line in process.stdout)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any_alive(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def any_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_must_divide_the_batch(tmp_path):
    (tmp_path / "fsdp.yaml").write_text(SHARDED)
    with pytest.raises(ValueError, match="batch_size 5 cannot be divided among the 2 processes"):
        LocalTuner(batch_size=5, launch=tmp_path / "fsdp.yaml")


def test_qlora_without_a_gpu_says_what_to_do(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="QLoRA needs a CUDA GPU, and this machine has none"):
        tune(tmp_path, LocalTuner(method="qlora"))
