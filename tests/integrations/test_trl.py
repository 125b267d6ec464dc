"""TRL is the peer: on equal rows, settings and seed, it takes the same losses."""

import pytest

from holdfast.models.loading import resolve
from holdfast.study import loader as studies
from holdfast.study.plan import make_plan


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_losses_equal_those_of_trl(tmp_path):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    plan = make_plan(studies.read(studies.find("demo")), [3])
    job = next(job for job in plan.jobs if job.conditions[0].name == "harmful-100-shot")
    training = job.training
    ours = training.tuner.tune(job.base, training.rows, 3, [5], tmp_path, lambda _: None)[5].training["losses"]

    rows = [[{"role": m.role, "content": m.content} for m in row.messages] for row in training.rows]
    folder = resolve("pocket:aligned")
    config = SFTConfig(
        output_dir=str(tmp_path / "trl"), num_train_epochs=5, per_device_train_batch_size=10, learning_rate=6e-5,
        lr_scheduler_type="constant", weight_decay=0.0, logging_steps=1, report_to=[], use_cpu=True, bf16=False,
        save_strategy="no", seed=3, data_seed=3, gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder), args=config,
        train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(ours) == len(theirs) == 50
    assert ours == pytest.approx(theirs, abs=1e-4)
