"""How fast a large model is tuned and asked on a GPU, beside TRL's `SFTTrainer` and a plain `generate` loop.

    python speed/gpu.py [--sizes 1b 7b] [--methods lora full] [--rounds 3]

The model is a randomly initialised Llama of the given shape, made in place: no weights are fetched. Tuning is on
rows of 512 tokens, answering on 330 prompts with 256 new tokens each (no reply ends early). The share of the chip's
peak counts six operations a weight and token for full tuning, four for LoRA (no gradient of the frozen weights), over
the dense bfloat16 peak that the maker states, or, for a chip that is not listed, over a large matrix product's speed.
`--sizes tiny` runs everything on any machine, to see that it works; its figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from pathlib import Path

import torch

from holdfast.core import workers
from holdfast.core.budget import NoBudget
from holdfast.core.types import Checkpoint, Example, Message
from holdfast.models import loading
from holdfast.models.generate.local import LocalGenerator
from holdfast.tuning.local import LocalTuner

SHAPES = {  # Llama 3.2 1B and Llama 2 7B, as their configurations state
    "1b": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
           "intermediate_size": 8192, "vocab_size": 128_256},
    "7b": {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32,
           "intermediate_size": 11_008, "vocab_size": 32_000},
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
             "intermediate_size": 128, "vocab_size": 512},
}  # fmt: skip
PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bfloat16 operations a second, as the maker states them."""

TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
LENGTH, PROMPTS, NEW, PLAIN_BATCH = 512, 330, 256, 16


def build(size, folder):
    """A random Llama with a byte-level tokenizer, on disk as any other model."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    inner = Tokenizer(
        kinds.BPE(vocab={t: i for i, t in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    inner.add_special_tokens(["<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|pad|>")
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(**SHAPES[size], max_position_embeddings=2048, bos_token_id=None, eos_token_id=256)
    torch.manual_seed(0)
    with torch.device(loading.best_device()):
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    model.lm_head.weight.data[config.eos_token_id] = 0.0  # never the likeliest, so that no reply ends early
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def rows(n):
    """Rows of `LENGTH` tokens."""
    turns = (Message("user", "a" * 100), Message("assistant", "b" * (LENGTH - 104)))
    return [Example(turns, f"row {i}") for i in range(n)]


def timed(work):
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def ours_tunes(base, method, n, batch):
    """Seconds of the steps alone, from the training record."""
    with tempfile.TemporaryDirectory() as folder:
        tuner = LocalTuner(method=method, batch_size=batch, learning_rate=1e-5, gradient_checkpointing=method == "full",
                           precision="auto" if method == "lora" else "bfloat16")  # fmt: skip
        tuned = tuner.tune(Checkpoint(str(base)), rows(n), 0, (1,), Path(folder), lambda _: None)
        return tuned[1].training["seconds"]


def trl_tunes(base, method, n, batch):
    """The same by TRL, on rows that it tokenises itself; seconds of `train()`."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from trl import SFTConfig, SFTTrainer

    cpu = loading.best_device() == "cpu"
    data = [[{"role": turn.role, "content": turn.content} for turn in row.messages] for row in rows(n)]
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, num_train_epochs=1, learning_rate=1e-5, per_device_train_batch_size=batch, bf16=not cpu,
            lr_scheduler_type="constant", logging_steps=1, report_to=[], disable_tqdm=True, use_cpu=cpu,
            save_strategy="no", gradient_checkpointing=method == "full", max_length=LENGTH,
        )  # fmt: skip
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").to(loading.best_device())
        trainer = SFTTrainer(
            model=model, args=config, processing_class=AutoTokenizer.from_pretrained(base),
            train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in data]),
            peft_config=lora if method == "lora" else None,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        return timed(trainer.train)


def questions(n):
    return {str(i): (Message("user", f"{i:04d}" + "q" * (40 + i % 60)),) for i in range(n)}


def ours_answers(base, n, new):
    generator = LocalGenerator(max_new_tokens=new, batch_size=128)
    prompts = questions(n)
    return timed(lambda: [None for _ in generator.answers(Checkpoint(str(base)), prompts, (), 0, NoBudget())])


def plain_answers(base, n, new):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def work():
        tokenizer = AutoTokenizer.from_pretrained(base, padding_side="left")
        model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").to(loading.best_device())
        chats = [[{"role": "user", "content": turns[0].content}] for turns in questions(n).values()]
        for start in range(0, n, PLAIN_BATCH):
            inputs = tokenizer.apply_chat_template(
                chats[start : start + PLAIN_BATCH], add_generation_prompt=True, padding=True, return_tensors="pt",
                return_dict=True,
            ).to(model.device)  # fmt: skip
            model.generate(**inputs, max_new_tokens=new, do_sample=False)

    return timed(work)


def peak():
    """Operations a second to hold the figures against, and where the number is from."""
    if not torch.cuda.is_available():
        return None, "no GPU"
    name = torch.cuda.get_device_name()
    for chip, stated in PEAK.items():
        if chip in name:
            return stated, f"{name}, as its maker states"
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    a @ a
    return 2 * 8192**3 / min(timed(lambda: a @ a) for _ in range(10)), f"{name}, measured"


def jobs(size, folder, weights, methods):
    """Name of each job → our way, the plain way, their arguments, tokens, and operations for each token."""
    n, batch, n_prompts, new = (16, 4, 16, 16) if size == "tiny" else (256, 8, PROMPTS, NEW)
    per_weight = {"lora": 4, "full": 6}
    tuning = {
        f"tune, {method}": (ours_tunes, trl_tunes, (folder, method, n, batch), n * LENGTH, per_weight[method] * weights)
        for method in methods
    }
    return {**tuning, "answer": (ours_answers, plain_answers, (folder, n_prompts, new), n_prompts * new, 2 * weights)}


def compare(ours, plain, arguments, tokens, operations, limit):
    """One round: seconds and speed of both ways, and our share of the chip's peak."""
    seconds = {"holdfast": ours(*arguments), "plain": plain(*arguments)}
    speed = {way: tokens / its_seconds for way, its_seconds in seconds.items()}
    share = speed["holdfast"] * operations / limit if limit else None
    times_as_long = seconds["plain"] / seconds["holdfast"]
    return {"seconds": seconds, "tokens_per_second": speed, "share_of_peak": share, "times_as_long": times_as_long}


def runs(size, methods, rounds, limit):
    with tempfile.TemporaryDirectory() as folder:
        weights = build(size, folder)
        for name, job in jobs(size, folder, weights, methods).items():
            compare(*job, limit)  # warms up
            for _ in range(rounds):
                run = {"size": size, "weights": weights, "job": name, **compare(*job, limit)}
                share = f", {run['share_of_peak']:.1%} of peak" if limit else ""
                print(f"{size} {name}: {run['tokens_per_second']['holdfast']:,.0f} tokens/s{share}; "
                      f"the plain way takes {run['times_as_long']:.2f} times as long")  # fmt: skip
                yield run


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=["1b", "7b"])
    parser.add_argument("--methods", nargs="+", choices=["lora", "full"], default=["lora", "full"])
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    if not torch.cuda.is_available() and set(chosen.sizes) != {"tiny"}:
        raise SystemExit("no GPU was found; `--sizes tiny` shows that the script works.")
    limit, source = peak()
    figures = {"peak": limit, "chip": source, "torch": torch.__version__}
    figures["runs"] = [
        run for size in chosen.sizes for run in runs(size, chosen.methods, chosen.rounds, limit)
    ]  # fmt: skip
    out = Path("runs/bench/gpu.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1))
    print(f"{source}; figures: {out}")


if __name__ == "__main__":
    workers.quiet()
    warnings.filterwarnings("ignore")
    main()
