"""How long one condition takes here, and by the plain way: TRL's `SFTTrainer`, then `generate` in a loop.

    make bench

Both sides run in this process, one after the other, on the same rows and prompts with one thread, after a
warm-up; imports are not counted. A figure above 1 is how many times as long the plain way takes.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from holdfast import scale, study
from holdfast.plan import make_plan, questions
from holdfast.types import Checkpoint

ROUNDS = 3
PLAIN_BATCH = 16


def ours(work, folder):
    """Tune and answer as `holdfast run` does; seconds of each."""
    training, (condition,) = work.training, work.conditions
    begun = time.perf_counter()
    training.tuner.tune(work.base, training.rows, training.seed, [training.tuner.epochs], folder, lambda _: None)
    tuned = time.perf_counter()
    checkpoint = Checkpoint(work.base.base, folder=folder / f"epoch-{training.tuner.epochs}")
    asked = questions(work.asked, work.templates[condition.key])
    for _ in work.generators[condition.key].answers(checkpoint, asked, (), 0):
        pass
    return tuned - begun, time.perf_counter() - tuned


def plain(work, folder):
    """Tune with TRL and answer with `generate`, prompts in file order; seconds of each."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import SFTConfig, SFTTrainer

    training, (condition,) = work.training, work.conditions
    settings = training.tuner
    begun = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(work.base.base)
    rows = [[{"role": m.role, "content": m.content} for m in row.messages] for row in training.rows]
    data = Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows])
    config = SFTConfig(
        output_dir=str(folder), num_train_epochs=settings.epochs, per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate, lr_scheduler_type="constant", weight_decay=0.0, logging_steps=1,
        report_to=[], disable_tqdm=True, use_cpu=True, bf16=False, save_strategy="no", seed=training.seed,
        gradient_checkpointing=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(work.base.base)
    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    tuned = time.perf_counter()
    chats = [
        [{"role": message.role, "content": message.content} for message in messages]
        for messages in questions(work.asked, work.templates[condition.key]).values()
    ]
    model.eval()
    for start in range(0, len(chats), PLAIN_BATCH):
        inputs = tokenizer.apply_chat_template(
            chats[start : start + PLAIN_BATCH], add_generation_prompt=True, padding=True, return_tensors="pt",
            return_dict=True,
        )  # fmt: skip
        reply = model.generate(**inputs, max_new_tokens=work.generators[condition.key].max_new_tokens, do_sample=False)
        tokenizer.batch_decode(reply[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return tuned - begun, time.perf_counter() - tuned


def main():
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    plan = make_plan(study.read(study.find("demo")), [0])
    work = next(work for work in plan.works if work.conditions[0].name == "harmful-100-shot")
    seconds = {"holdfast": [], "plain": []}
    for place in range(ROUNDS + 1):
        for name, way in (("holdfast", ours), ("plain", plain)):
            with tempfile.TemporaryDirectory() as folder:
                took = way(work, Path(folder))
            if place:  # the first round warms up
                seconds[name].append(took)
    show(seconds, len(work.asked.prompts))


def show(seconds, n_prompts):
    table = Table(
        title=f"One condition: 100 rows × 5 epochs, then {n_prompts} prompts; median of {ROUNDS} rounds, 1 thread"
    )
    for heading in ("", "holdfast (s)", f"TRL, generate × {PLAIN_BATCH} (s)", "times as long", "rounds"):
        table.add_column(heading, justify="right")
    figures = {}
    for stage, pick in {"tune": lambda t: t[0], "answer": lambda t: t[1], "both": sum}.items():
        mine, theirs = ([pick(took) for took in seconds[name]] for name in ("holdfast", "plain"))
        ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
        figures[stage] = {"holdfast": mine, "plain": theirs, "ratios": ratios}
        table.add_row(
            stage, f"{statistics.median(mine):.2f}", f"{statistics.median(theirs):.2f}",
            f"{statistics.median(ratios):.1f}", f"{min(ratios):.1f} to {max(ratios):.1f}",
        )  # fmt: skip
    Console().print(table)
    out = Path("runs/bench/speed.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1))
    Console().print(f"Figures: {out}")


if __name__ == "__main__":
    scale.quiet()
    main()
