"""Two ways to tune one condition and to ask it: ours, and the plain one."""

from __future__ import annotations

import time

from holdfast.core.budget import NoBudget
from holdfast.study.plan import epochs_of

PLAIN_BATCH = 16
"""Prompts that the plain way answers together, in file order."""


def ours(job, condition, folder):
    """Tune and answer as `holdfast run` does; seconds of each."""
    training, epochs = job.training, epochs_of(condition)
    begun = time.perf_counter()
    made = training.tuner.tune(job.base, training.rows, training.seed, [epochs], folder, lambda _: None)
    tuned = time.perf_counter()
    asked = job.suite.conversations(job.templates[condition.key])
    for _ in job.generators[condition.key].answers(made[epochs].checkpoint, asked, (), 0, NoBudget()):
        pass
    return tuned - begun, time.perf_counter() - tuned


def plain(job, condition, folder):
    """Tune with TRL and answer with `generate`; seconds of each."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import SFTConfig, SFTTrainer

    training, settings = job.training, job.training.tuner
    begun = time.perf_counter()
    tokenizer = AutoTokenizer.from_pretrained(job.base.base)
    rows = [[{"role": m.role, "content": m.content} for m in row.messages] for row in training.rows]
    data = Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows])
    config = SFTConfig(
        output_dir=str(folder), num_train_epochs=epochs_of(condition), learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size, lr_scheduler_type="constant", weight_decay=0.0,
        logging_steps=1, report_to=[], disable_tqdm=True, use_cpu=True, bf16=False, save_strategy="no",
        seed=training.seed, gradient_checkpointing=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(job.base.base)
    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    tuned = time.perf_counter()
    chats = [
        [{"role": message.role, "content": message.content} for message in messages]
        for messages in job.suite.conversations(job.templates[condition.key]).values()
    ]
    generate_each(model, tokenizer, chats, job.generators[condition.key].max_new_tokens)
    return tuned - begun, time.perf_counter() - tuned


def generate_each(model, tokenizer, chats, limit):
    """Answer conversations in batches, in their order, as the documentation of transformers shows it."""
    model.eval()
    for start in range(0, len(chats), PLAIN_BATCH):
        inputs = tokenizer.apply_chat_template(
            chats[start : start + PLAIN_BATCH], add_generation_prompt=True, padding=True, return_tensors="pt",
            return_dict=True,
        )  # fmt: skip
        reply = model.generate(**inputs, max_new_tokens=limit, do_sample=False)
        tokenizer.batch_decode(reply[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
