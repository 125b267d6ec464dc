"""A stand-in for any OpenAI-compatible server: a real HTTP server on this machine whose behaviour is a function.

def behave(asked):                      # an Asked: which request it is, and what it says
    return fails(500) if asked.number == 0 else says(f"you said {asked.question}")

with Double(behave, models=["base"]) as server:
    ... Endpoint(base_url=server.url) ...
server.asked        every chat completion that was asked for, in order of arrival
server.paid         those that were answered whole, which a provider would charge for
server.most_at_once
server.posts        what else was posted: (path, body)
server.batches      the batches that were ordered; see Batches
server.answer_get   replaces what is answered to a GET of a path, where it gives an Act; answer_post to a POST
"""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """One request for a chat completion."""

    number: int
    """How many came before it."""
    body: dict[str, Any]
    at: float
    """When it came, on `time.monotonic`."""

    @property
    def model(self):
        return self.body["model"]

    @property
    def question(self):
        return self.body["messages"][-1]["content"]


@dataclass(frozen=True)
class Act:
    """What the server does about a request."""

    status: int | None = 200
    """None drops the connection."""
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0
    """Seconds before it."""
    paid: bool = False
    raw: Callable[[Callable[[float], bool]], Iterator[bytes]] | None = None
    """In place of all others: the bytes of the response, status line included. It is given a way to wait that tells
    whether the server is closing."""


def says(text, finish="stop", *, model=None, usage=(7, 3), logprobs=None, wait=0.0, **message):
    """A whole chat completion; `message` takes e.g. refusal and reasoning_content, `logprobs` one figure a token."""
    given = None if logprobs is None else {"content": [{"token": "x", "logprob": value} for value in logprobs]}
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
    body = {"object": "chat.completion", "model": model, "choices": [{**choice, "logprobs": given}]}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Act(content=json.dumps(body).encode(), paid=True, wait=wait)


def fails(status, message="out of order", code=None, wait=0.0, retry_after=None, **error):
    """An HTTP error in OpenAI's form."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    body = {"error": {"message": message, "type": "error", "code": code, **error}}
    return Act(status, json.dumps(body).encode(), headers, wait)


def filters():
    """What Azure says where its filter stops a prompt."""
    return fails(400, "The prompt was stopped by the content management policy.", "content_filter")


def drops():
    """The connection is closed without a word."""
    return Act(None)


def cuts():
    """A chat completion that ends in the middle."""
    whole = says("a text that will be cut").content
    return Act(content=whole[: len(whole) // 2])


def hangs(seconds):
    """A reply that comes too late."""
    return Act(None, wait=seconds)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def drips(seconds=0.2, headers=False):
    """One byte at a time, without an end; with `headers`, already the headers come like that."""

    def raw(wait):
        yield HEAD + (b"X-Slow: " if headers else b"Connection: close\r\n\r\n")
        while not wait(seconds):
            yield b"x" if headers else b" "

    return Act(raw=raw)


def floods(n_bytes, piece=1_000_000):
    """A whole chat completion whose text has so many bytes."""

    def raw(wait):
        start, end = says("TEXT").content.split(b"TEXT")
        yield HEAD + b"Connection: close\r\n\r\n" + start
        for _ in range(n_bytes // piece):
            yield b"0" * piece
        yield end

    return Act(raw=raw)


def bombs(n_bytes, act=None):
    """A chat completion (or the content of another act) with so many bytes more, compressed to a thousandth."""
    content = (act or says("boom")).content + b" " * n_bytes
    return Act(content=gzip.compress(content), headers={"Content-Encoding": "gzip"})


class Batches:
    """Files and batches. A batch is done at its third look; what `behave` drops is not done when it expires."""

    def __init__(self, double):
        self.double, self.files, self.made = double, {}, []
        self.looks = 2
        """How often a batch is looked at before it has ended."""
        self.fate = lambda number: "completed"
        """How the batch of a number ends; "expired" and "cancelled" leave out what was dropped."""

    def get(self, path) -> Act:
        parts = path.partition("?")[0].removeprefix("/v1/").split("/")
        if parts[0] == "files":
            return Act(content=self.files[parts[1]])
        if len(parts) == 1:
            return Act(content=json.dumps({"object": "list", "data": self.made, "has_more": False}).encode())
        batch = next((batch for batch in self.made if batch["id"] == parts[1]), None)
        if batch is None:
            return fails(404, "No batch found", 404)
        batch["looks"] += 1
        if batch["looks"] > self.looks and batch["status"] == "in_progress":
            self._end(batch)
        return Act(content=json.dumps(batch).encode())

    def post(self, path, content) -> Act:
        if path == "/v1/files":
            name = f"file-{len(self.files)}"
            self.files[name] = content.split(b"\r\n\r\n")[-1].rpartition(b"\r\n--")[0]
            return Act(content=json.dumps({"id": name, "object": "file", "purpose": "batch", "bytes": 1}).encode())
        file = json.loads(content)["input_file_id"]
        self.made.append({"id": f"batch_{len(self.made)}", "object": "batch", "status": "in_progress", "input_file_id": file,
                          "endpoint": "/v1/chat/completions", "completion_window": "24h", "created_at": 1, "looks": 0})  # fmt: skip
        return Act(content=json.dumps(self.made[-1]).encode())

    def _end(self, batch):
        batch["status"] = self.fate(self.made.index(batch))
        if batch["status"] == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "x", "message": "Enqueued token limit reached"}]}
            return
        done, failed = [], []
        for line in self.files[batch["input_file_id"]].splitlines():
            row = json.loads(line)
            act = self.double.complete(row["body"])
            if act.status is None:
                code = f"batch_{batch['status']}"
                failed.append(
                    {"custom_id": row["custom_id"], "response": None, "error": {"code": code, "message": code}}
                )
                continue
            response = {"status_code": act.status, "request_id": "r", "body": json.loads(act.content)}
            rows = done if act.status == 200 else failed
            rows.append({"id": "x", "custom_id": row["custom_id"], "response": response, "error": None})
        for field_, rows in (("output_file_id", done), ("error_file_id", failed)):
            if rows:
                batch[field_] = f"{batch['id']}-{field_}"
                self.files[batch[field_]] = b"".join(json.dumps(row).encode() + b"\n" for row in reversed(rows))


class Double:
    """The server; a context manager."""

    def __init__(self, behave: Callable[[Asked], Act], models=("base",), key=None, adapters=False):
        self.batches = Batches(self)
        self.behave, self.models, self.key = behave, list(models), key
        self.adapters = {} if adapters else None
        """Adapters by name, with their folders; None where the server has no such routes."""
        self.asked, self.paid, self.posts = [], [], []
        self.answer_get: Callable[[str], Act | None] = lambda path: None
        self.answer_post: Callable[[str, bytes], Act | None] = lambda path, content: None
        self.answer_delete: Callable[[str], Act] = lambda path: Act(404, b'{"detail": "Not Found"}')
        self.under_way = self.most_at_once = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()
        double = self

        class Handler(_Handler):
            server_of = double

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def complete(self, body) -> Act:
        known = {*self.models, *(self.adapters or ())}
        if body["model"] not in known:
            return fails(404, f"The model `{body['model']}` does not exist.", 404)
        with self.lock:
            asked = Asked(len(self.asked), body, time.monotonic())
            self.asked.append(asked)
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
        act = self.behave(asked)
        self.closing.wait(act.wait)
        with self.lock:
            self.under_way -= 1
            if act.paid:
                self.paid.append(asked)
        return act

    def post(self, path, body) -> Act:
        """The routes by which vLLM takes adapters while it runs, and what it answers there."""
        self.posts.append((path, body))
        missing = Act(404, b'{"detail": "Not Found"}')
        if self.adapters is None:
            return missing
        name = body.get("lora_name")
        if path == "/v1/load_lora_adapter":
            if name in self.adapters:
                return fails(400, f"The lora adapter '{name}' has already been loaded.", 400)
            if body["lora_path"].endswith("unseen"):
                return fails(404, f"No adapter found for {body['lora_path']}", 404)
            self.adapters[name] = body["lora_path"]
            return Act(content=b"Success", headers={"Content-Type": "text/plain"})
        if path == "/v1/unload_lora_adapter":
            gone = self.adapters.pop(name, None) is None
            return fails(404, f"The lora adapter '{name}' cannot be found.", 404) if gone else Act(content=b"Success")
        return missing


class _Handler(BaseHTTPRequestHandler):
    server_of: Double
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        double = self.server_of
        if act := double.answer_get(self.path):
            self.send(act)
            return
        if self.path.startswith(("/v1/files", "/v1/batches")):
            self.send(double.batches.get(self.path))
            return
        names = [*double.models, *(double.adapters or ())]
        self.send(Act(content=json.dumps({"object": "list", "data": [{"id": name} for name in names]}).encode()))

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if act := self.server_of.answer_post(self.path, content):
            self.send(act)
            return
        if self.path in ("/v1/files", "/v1/batches"):
            self.send(self.server_of.batches.post(self.path, content))
            return
        body = json.loads(content)
        is_chat = self.path == "/v1/chat/completions"
        self.send(self.server_of.complete(body) if is_chat else self.server_of.post(self.path, body))

    def do_DELETE(self):
        self.send(self.server_of.answer_delete(self.path))

    def send(self, act):
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server_of.key and given != self.server_of.key:
            act = fails(401, f"the key {given} is wrong", "invalid_api_key")
        if act.status is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if act.raw is not None:
            self.close_connection = True
            with suppress(OSError):  # whoever asked has gone
                for piece in act.raw(self.server_of.closing.wait):
                    self.wfile.write(piece)
                    self.wfile.flush()
            return
        headers = {"Content-Type": "application/json", "Content-Length": str(len(act.content)), **act.headers}
        try:
            self.send_response(act.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(act.content)
        except OSError:  # whoever asked has gone
            self.close_connection = True


class FakeTime:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self):
        self.now, self.slept, self.lock = 1_800_000_000.0, [], threading.Lock()

    def clock(self):
        return self.now

    def sleep(self, seconds):
        with self.lock:
            self.slept.append(seconds)
            self.now += seconds
