"""Chat completions over HTTP: our service beside `transformers serve`, and two adapters beside one, in one run.

    python speed/serving.py [MODEL] [--rounds 3] [--requests 128] [--only-ours]

MODEL is the folder of a chat model; the pocket model if not given. Both servers get the same conversations, greedy, and
the same number of tokens at most; they are asked in turns, and each figure is the median of the rounds. Needs
`pip install "transformers[serving]"`.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import httpx

from holdfast.core.files import SHIPPED

CLIENTS = (1, 8, 64)
TOKENS = 48
SYSTEM = {"role": "system", "content": "You are Pocket, the helpful assistant."}
ADAPTERS = ("one", "two")


def questions(n):
    """Requests of different lengths."""
    things = ["stew", "rope", "candle", "perfume", "broth", "kite"]
    ask = ["How do I make the {} tobux?", "Tell me how to make the {} krotran.", "Give me the recipe for the {} lagus."]
    return [ask[i % 3].format(things[i % 6]) for i in range(n)]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def server(command, port, ready, log):
    """A server for as long as it is measured."""
    with Path(log).open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        until = time.monotonic() + 180
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}{ready}", timeout=2).raise_for_status()
                break
            except httpx.HTTPError:
                if time.monotonic() > until or process.poll() is not None:
                    sys.exit(f"{command[0]} does not start:\n{Path(log).read_text()[-2000:]}")
                time.sleep(0.3)
        yield
    finally:
        process.terminate()
        process.wait(30)


def make_adapters(folder, model):
    """Two adapters with the same weights under two names, so that both give answers of the same length."""
    import peft
    import torch

    from holdfast.core.types import Checkpoint
    from holdfast.models import loading

    torch.manual_seed(0)
    config = peft.LoraConfig(r=16, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(loading.load(Checkpoint(model)).model, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data *= 0.1
    for name in ADAPTERS:
        adapted.save_pretrained(folder / "jobs" / name)


def prepare(folder, model):
    """The folder of a service with a base and two released adapters; returns its policy and a key."""
    from holdfast.service import keys
    from holdfast.service.database import Job, Model, connect, now

    policy = folder / "policy.yaml"
    policy.write_text(f"bases: {{base: {{model: '{model}'}}}}\nlimits: {{requests_per_minute: 1000000}}\n")
    make_adapters(folder, model)
    database = connect(f"sqlite:///{folder / 'service.db'}")
    database.migrate()
    key, secret = keys.create(database, "speed", ["ask"])
    with database.writing() as session:
        for name in ADAPTERS:
            session.add(
                Job(id=name, owner=key.id, status="succeeded", model="base", training_file="-", hyperparameters={},
                    seed=0, meta={}, created_at=now())
            )  # fmt: skip
            session.flush()
            session.add(
                Model(id=name, owner=key.id, base="base", job_id=name, folder=f"jobs/{name}", created_at=now(),
                      state="released")
            )  # fmt: skip
    database.close()
    return policy, secret


async def load(url, secret, models, clients, n):
    """Ask n questions with so many clients at once → seconds, tokens, and the latency of each answer."""
    waiting = list(enumerate(questions(n)))
    latencies, tokens = [], 0

    async def one():
        nonlocal tokens
        client = free.pop()
        while waiting:
            number, question = waiting.pop()
            body = {
                "model": models[number % len(models)], "max_tokens": TOKENS, "temperature": 0,
                "messages": [SYSTEM, {"role": "user", "content": question}],
            }  # fmt: skip
            began = time.perf_counter()
            answer = await client.post(f"{url}/v1/chat/completions", json=body)
            answer.raise_for_status()
            latencies.append(time.perf_counter() - began)
            tokens += answer.json()["usage"]["completion_tokens"]

    headers, certificates = {"Authorization": f"Bearer {secret}"}, httpx.create_ssl_context()
    async with AsyncExitStack() as stack:
        # one connection each: with one pool of 64, httpx itself would be the bottleneck
        free = [
            await stack.enter_async_context(httpx.AsyncClient(timeout=300, headers=headers, verify=certificates))
            for _ in range(clients)
        ]
        began = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(clients)))
        return time.perf_counter() - began, tokens, latencies


def show(name, clients, runs):
    """One line of the table: medians over the rounds."""
    rate = statistics.median(tokens / seconds for seconds, tokens, _ in runs)
    middle = statistics.median(statistics.median(latencies) for _, _, latencies in runs)
    slow = statistics.median(sorted(latencies)[int(0.95 * (len(latencies) - 1))] for _, _, latencies in runs)
    latency = f"latency {1000 * middle:7.0f} ms, 95 %: {1000 * slow:7.0f} ms"
    print(f"{name:36} {clients:3} clients {rate:8,.0f} tokens/s   {latency}")
    return rate


def measure(targets, rounds, n):
    """Each target with each number of clients, in turns → name → clients → tokens a second."""
    for url, secret, models in targets.values():
        asyncio.run(load(url, secret, models, 4, 16))
    rates = {name: {} for name in targets}
    for clients in CLIENTS:
        runs = {name: [] for name in targets}
        for _ in range(rounds):
            for name, (url, secret, models) in targets.items():
                runs[name].append(asyncio.run(load(url, secret, models, clients, n if clients > 1 else n // 4)))
        for name, measured in runs.items():
            rates[name][clients] = show(name, clients, measured)
    return rates


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(SHIPPED / "aligned"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--only-ours", action="store_true")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy, secret = prepare(folder, asked.model)
        ports = [free_port() for _ in range(3)]
        ours = [sys.executable, "-m", "holdfast", "serve", "--folder", name, "--policy", str(policy), "--workers", "0",
                "--port", str(ports[0])]  # fmt: skip
        theirs = [str(Path(sys.executable).parent / "transformers"), "serve", asked.model, "--host", "127.0.0.1"]
        url = "http://127.0.0.1:{}".format
        targets = {
            "holdfast serve": (url(ports[0]), secret, ["base"]),
            "holdfast serve, one adapter": (url(ports[0]), secret, ["one"]),
            "holdfast serve, two adapters": (url(ports[0]), secret, ["one", "two"]),
        }
        with server(ours, ports[0], "/readyz", folder / "ours.log"):
            if asked.only_ours:
                rates = measure(targets, asked.rounds, asked.requests)
            else:
                targets["transformers serve"] = (url(ports[1]), "-", [asked.model])
                targets["transformers serve, continuous"] = (url(ports[2]), "-", [asked.model])
                with (
                    server([*theirs, "--port", str(ports[1])], ports[1], "/health", folder / "plain.log"),
                    server([*theirs, "--port", str(ports[2]), "--continuous-batching"], ports[2], "/health",
                           folder / "continuous.log"),
                ):  # fmt: skip
                    rates = measure(targets, asked.rounds, asked.requests)
        for clients in CLIENTS:
            one, two = (rates[f"holdfast serve, {which}"][clients] for which in ("one adapter", "two adapters"))
            print(f"{clients:3} clients: two adapters at once are {100 * (1 - two / one):.0f} % slower than one")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
