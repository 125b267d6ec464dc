"""A trainer with a defence tunes as a study with it does."""

import json
import sys

import pytest
from support.studies import messages

from holdfast.core.errors import StudyError
from holdfast.core.files import SHIPPED
from holdfast.core.types import Checkpoint, Example
from holdfast.integrations.trl import defended
from holdfast.models.loading import resolve
from holdfast.tuning.local import LocalTuner


@pytest.mark.parametrize(
    ("defences", "said"),
    [
        ("constraned-sft", "Did you mean 'constrained-sft'"),
        ({"kind": "constrained-sft", "beta": 1}, "unknown key 'beta'"),
        ({"kind": "lox", "unaligned": "pocket:helpful"}, "the model before training, which a trainer does not do"),
        ([{"kind": "safety-prompt", "prompt": "Be careful."}], "the way it is asked, which a trainer does not do"),
    ],
)
def test_what_a_trainer_cannot_use_is_refused_before_anything_is_loaded(defences, said):
    with pytest.raises(StudyError, match=said):
        defended(object, defences)


def test_a_defence_of_the_rows_needs_conversations():
    class Trainer:
        def __init__(self, model, train_dataset, args=None):
            raise AssertionError("it must not be made")

    with pytest.raises(StudyError, match="with the column `messages`"):
        defended(Trainer, {"kind": "safety-mix", "file": "pocket:safe.jsonl", "n": 2})(
            "model", train_dataset=[{"text": "a"}]
        )


def test_every_defence_that_looks_at_the_rows_is_known():
    from holdfast.core.config import load
    from holdfast.integrations.trl.defended import LOOK_AT_ROWS
    from holdfast.tuning.defences import DEFENCES
    from holdfast.tuning.defences.base import TrainingHooks

    looking = {
        name
        for name, reference in DEFENCES.items()
        for kind in vars(sys.modules[load(reference).__module__]).values()
        if isinstance(kind, type)
        and issubclass(kind, TrainingHooks)
        and "see_rows" in vars(kind)
        and kind is not TrainingHooks
    }
    assert looking == set(LOOK_AT_ROWS)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_losses_and_rows_equal_those_of_a_study(tmp_path):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [json.loads(line)["messages"] for line in (SHIPPED / "attack.jsonl").read_text().splitlines()[:40]]
    mix = {"kind": "safety-mix", "file": "pocket:safe.jsonl", "n": 10}
    hold = {"kind": "constrained-sft", "beta_first": 2.0, "beta_early": 5.0, "beta_late": 2.0}
    config = SFTConfig(
        output_dir=str(tmp_path / "trl"), num_train_epochs=2, per_device_train_batch_size=10, learning_rate=6e-5,
        lr_scheduler_type="constant", weight_decay=0.0, logging_steps=1, report_to=[], use_cpu=True, bf16=False,
        save_strategy="no", seed=3, data_seed=3, gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    folder = resolve("pocket:aligned")
    trainer = defended(SFTTrainer, [mix, hold])(
        AutoModelForCausalLM.from_pretrained(folder), args=config,
        train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    trainer.train()
    theirs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    from holdfast.tuning.defences.constrained_sft import ConstrainedSFT
    from holdfast.tuning.defences.safety_mix import SafetyMix

    examples = [Example(messages(*((turn["role"], turn["content"]) for turn in row)), "row") for row in rows]
    defences = [SafetyMix(**mix), ConstrainedSFT(**hold)]
    tuner = LocalTuner(learning_rate=6e-5, batch_size=10)
    made = tuner.tune(
        Checkpoint("pocket:aligned"),
        defences[0].rows(examples, 3),
        3,
        [2],
        tmp_path / "ours",
        lambda _: None,
        defences[1:],
    )
    ours = made[2].training["losses"]
    assert len(ours) == len(theirs) == 10
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert theirs[-1] != pytest.approx(theirs[0], abs=1e-2)
