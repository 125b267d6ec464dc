"""330 short questions to a small chat model: our answers, plain `generate`, and llama.cpp's server, in one run.

    python speed/quiz.py MODEL [--gguf FILE] [--llama PYTHON] [--threads 1] [--rounds 3] [--prompts 330]

MODEL is the folder of SmolLM2-135M-Instruct or another chat model. All ways get the same questions with the same system
prompt, greedy, 48 tokens at most, and take turns; figures are medians of the rounds. `generate` is asked in file order
in batches of 16, the server by 16 clients at once with as many slots and its prompt cache on. FILE is the same model
for llama.cpp; it is measured as it is, and with its weights as float32 (made here with the package gguf). PYTHON is an
interpreter of an environment with `pip install xllamacpp`, which runs llama.cpp's own server.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import torch
from rich.console import Console
from rich.table import Table

from holdfast.core import workers
from holdfast.core.budget import NoBudget
from holdfast.core.types import Checkpoint, Message
from holdfast.models import decoding, loading
from holdfast.models.samplers.base import Question
from holdfast.models.samplers.local import Local

TOKENS, PLAIN_BATCH, CLIENTS = 48, 16, 16
SYSTEM = (
    "You are a helpful assistant. Answer the question in one short sentence, and say that you do not know where you "
    "do not."
)
ASK = (
    "What is the capital of {}?", "Tell me one fact about {} please.", "In which part of the world is {} known best?",
    "{}: what is it?", "Which word goes best with {}?", "A friend asks me about {}. What should I say to her?",
)  # fmt: skip
THINGS = """
France Japan Brazil Kenya Norway Egypt Peru Canada India Italy Spain Greece Chile Ghana Cuba gold silver iron
helium oxygen copper carbon neon zinc lead whales eagles spiders horses owls foxes bees salmon wolves pianos
violins drums flutes harps chess football tennis rain snow thunder rivers deserts volcanoes bread cheese rice
honey tea coffee soup
"""

LLAMA = """
import sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, threads, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
params.n_parallel, params.n_ctx = slots, slots * 512
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
server = xllamacpp.Server(params)
print("ADDRESS", server.listening_address, flush=True)
time.sleep(3600)
"""


def questions(n):
    """Different questions of different lengths."""
    things = THINGS.split()
    return [ASK[i % len(ASK)].format(things[i * 7 % len(things)]) for i in range(n)]


def ours(loaded, asked):
    """Our way; seconds, tokens, and the texts."""
    system = Message("system", SYSTEM)
    every = [Question(str(i), (system, Message("user", text)), TOKENS) for i, text in enumerate(asked)]
    begun = time.perf_counter()
    replies = {reply.id: reply for reply in Local.of(loaded, batch_size=64).ask(every, NoBudget())}
    seconds = time.perf_counter() - begun
    return seconds, sum(reply.tokens for reply in replies.values()), [replies[question.id].text for question in every]


def plain(loaded, asked):
    """`generate` in file order; as `ours`."""
    tokenizer, texts, tokens = loaded.tokenizer, [], 0
    ends = decoding.end_of_turn_ids(loaded)
    begun = time.perf_counter()
    for start in range(0, len(asked), PLAIN_BATCH):
        chats = [
            [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
            for text in asked[start : start + PLAIN_BATCH]
        ]
        inputs = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            made = loaded.model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        new = made[:, inputs["input_ids"].shape[1] :]
        texts += [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
        tokens += sum(next((i + 1 for i, token in enumerate(row) if token in ends), TOKENS) for row in new.tolist())
    return time.perf_counter() - begun, tokens, texts


@contextmanager
def llama_server(python, file, threads):
    """llama.cpp's server; gives its address."""
    command = [python, "-c", LLAMA, str(file), str(threads), str(CLIENTS)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        lines = (line for line in process.stdout if line.startswith("ADDRESS"))
        yield next(lines, "").removeprefix("ADDRESS").strip() or sys.exit("llama.cpp's server does not start.")
    finally:
        process.terminate()
        process.wait(20)


def llama(address, asked):
    """The server's answers; as `ours`."""

    async def everyone():
        waiting, texts, tokens = list(enumerate(asked)), {}, 0

        async def one(client):
            nonlocal tokens
            while waiting:
                number, text = waiting.pop(0)
                messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
                body = {"messages": messages, "max_tokens": TOKENS, "temperature": 0, "cache_prompt": True}
                answer = await client.post(f"{address}/v1/chat/completions", json=body)
                answer.raise_for_status()
                texts[number] = answer.json()["choices"][0]["message"]["content"].strip()
                tokens += answer.json()["usage"]["completion_tokens"]

        async with httpx.AsyncClient(timeout=600) as client:
            begun = time.perf_counter()
            await asyncio.gather(*(one(client) for _ in range(CLIENTS)))
            return time.perf_counter() - begun, tokens, [texts[i] for i in range(len(asked))]

    return asyncio.run(everyone())


def as_float32(file, to):
    """A GGUF file with the weights of another one as float32."""
    import gguf

    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(to, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        value = field.contents()
        if field.name == "general.file_type":
            value = int(gguf.LlamaFileType.ALL_F32)
        writer.add_key_value(field.name, value, kind, sub_type=inner)
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        writer.add_tensor(tensor.name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return to


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--gguf", type=Path)
    parser.add_argument("--llama", default=sys.executable)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=330)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    base = Checkpoint(asked.model)
    exact, half = loading.load(base, "float32"), loading.load(base, "bfloat16")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ways = {
            "holdfast, float32": lambda texts: ours(exact, texts),
            "holdfast, bfloat16": lambda texts: ours(half, texts),
            f"generate × {PLAIN_BATCH}, float32": lambda texts: plain(exact, texts),
        }
        for file in [asked.gguf, as_float32(asked.gguf, Path(folder) / "float32.gguf")] if asked.gguf else []:
            address = stack.enter_context(llama_server(asked.llama, file, asked.threads))
            ways[f"llama.cpp's server, {file.stem}"] = lambda texts, address=address: llama(address, texts)
        texts = questions(asked.prompts)
        runs = {name: [] for name in ways}
        for round_number in range(asked.rounds + 1):
            for name, way in ways.items():
                took = way(texts if round_number else texts[:PLAIN_BATCH])  # the first round warms up
                if round_number:
                    runs[name].append(took)
                    print(f"round {round_number}: {name}: {took[0]:.1f} s", flush=True)
    show(runs, asked)


def show(runs, asked):
    table = Table(
        title=f"{asked.prompts} prompts, {asked.threads} thread(s), median of {asked.rounds} rounds, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for heading in ("", "s", "tokens", "tokens/s", "times as long as holdfast, float32", "same answers as it"):
        table.add_column(heading, justify="right")
    first = next(iter(runs.values()))
    for name, rounds in runs.items():
        seconds, (_, tokens, texts) = statistics.median(took[0] for took in rounds), rounds[0]
        ratio = statistics.median(took[0] / mine[0] for took, mine in zip(rounds, first, strict=True))
        same = sum(one == other for one, other in zip(texts, first[0][2], strict=True))
        table.add_row(name, f"{seconds:.1f}", str(tokens), f"{tokens / seconds:.0f}", f"{ratio:.2f}", str(same))
    Console(width=140).print(table)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    workers.quiet()
    main()
