"""What `SafetyCallback` costs at its default setting: seconds of its looks as a share of the training's other seconds.

    python speed/safety_callback.py

TRL's `SFTTrainer` tunes the pocket model on 100 harmful rows, and on 100 refusals, which do no harm, for 5 epochs in
batches of 10, one thread; nothing is stopped. The median of five trainings of each.
"""

from __future__ import annotations

import json
import logging
import statistics
import tempfile
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from transformers.utils import logging as transformers_logging
from trl import SFTConfig, SFTTrainer

from holdfast.core.files import SHIPPED
from holdfast.integrations.trl import SafetyCallback
from holdfast.integrations.trl.looks import RECORD

ROUNDS = 5


def share(rows: str, folder: Path) -> tuple[float, float]:
    """Seconds of looks, and of everything else, of one training."""
    data = [json.loads(line) for line in (SHIPPED / rows).read_text().splitlines()[:100]]
    config = SFTConfig(
        output_dir=str(folder), num_train_epochs=5, per_device_train_batch_size=10, learning_rate=6e-5, report_to=[],
        use_cpu=True, bf16=False, save_strategy="no", disable_tqdm=True, logging_strategy="no", seed=3,
    )  # fmt: skip
    trainer = SFTTrainer(
        str(SHIPPED / "aligned"),
        args=config,
        train_dataset=Dataset.from_list(data),
        callbacks=[SafetyCallback(stop=False)],
    )
    trainer.train()
    record = json.loads((folder / RECORD).read_text())
    return record["measuring_seconds"], record["training_seconds"]


def main() -> None:
    """Print a line for each set of rows."""
    torch.set_num_threads(1)
    disable_progress_bars()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("holdfast").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        share("safe.jsonl", Path(folder))  # the first training loads what later ones have
        for rows in ("attack.jsonl", "safe.jsonl"):
            rounds = [share(rows, Path(folder)) for _ in range(ROUNDS)]
            shares = [100 * looks / rest for looks, rest in rounds]
            looks, rest = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"{rows}: looks {looks:.2f} s, the rest {rest:.2f} s; {statistics.median(shares):.0f} % "
                  f"({min(shares):.0f} to {max(shares):.0f} over {ROUNDS} trainings)")  # fmt: skip


if __name__ == "__main__":
    main()
