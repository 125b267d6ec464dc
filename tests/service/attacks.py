"""Attacks on `holdfast serve`, each with what its clients are told, whether others are served, and the memory it takes.

    python tests/service/attacks.py [FILE] [--only NAME]

Each attack meets a service with the shipped model, in a process of its own. The table goes to the terminal and, as
Markdown, to FILE. `test_attacks.py` makes the same attacks, smaller.
"""

import argparse
import asyncio
import gzip
import io
import json
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from holdfast.service import keys
from holdfast.service.database import File, connect, new_id, now

MIB = 1 << 20
LIMITS = {
    "file_bytes": 64 * MIB, "requests_per_minute": 1_000_000, "open_jobs": 10_000, "idle_seconds": 5, "upload_seconds": 20,
}  # fmt: skip
"""The shipped ones, but for shorter waits, and rates that would end an attack before it begins."""
PATIENCE = 150
"""Seconds in which a client that does not read must be given up: several times `idle_seconds`."""
ESTABLISHED = "01"
"""The state of a TCP connection, as Linux numbers them."""
ROW = b'{"messages": [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "Left."}]}\n'
UPLOAD = "POST /v1/files", "multipart/form-data; boundary=b"
CHAT = "POST /v1/chat/completions", "application/json"


@dataclass
class Target:
    """A service that is attacked."""

    port: int
    pid: int
    folder: Path
    mine: str
    """The key of the attacker."""
    other: str
    """The key of a client that means no harm."""
    size: float
    """1 for the full attack."""
    looked: tuple[float, str] = (0.0, "")

    def connections(self):
        """Those of this machine, as they were half a second ago at most."""
        if time.monotonic() - self.looked[0] > 0.5:
            self.looked = time.monotonic(), Path("/proc/net/tcp").read_text()
        return self.looked[1]

    def clients(self, n):
        """How many clients an attack of this size has."""
        return max(2, int(n * self.size))

    def memory(self, name):
        """MiB that the process has (VmRSS), or had at most since `forget_peak` (VmHWM)."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024

    def forget_peak(self):
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


@dataclass(frozen=True)
class Found:
    """What one attack did."""

    attack: str
    told: str
    others: int
    """Requests of another client that were answered meanwhile."""
    refused: int
    """Those that were not."""
    slowest: float
    """Seconds that the slowest of them took."""
    before: float
    """MiB."""
    peak: float
    after: float

    def line(self):
        others = f"{self.others} of {self.others + self.refused}"
        figures = f"{self.before:.0f} | {self.peak:.0f} | {self.after:.0f}"
        return f"| {self.attack} | {self.told} | {others} | {self.slowest:.1f} | {figures} |\n"


HEAD = (
    "| attack | what its clients are told | others answered | slowest (s) | memory before (MiB) | peak | after |\n"
    "| --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
)


@contextmanager
def target(folder, size=1.0):
    """A service as a process."""
    database = connect(f"sqlite:///{folder}/service.db")
    database.migrate()
    (mine_row, mine), (_, other) = (keys.create(database, name, ["tune", "ask"]) for name in ("attacker", "other"))
    with database.writing() as session:  # so that a list of files is long
        session.add_all(
            File(id=new_id("file-"), owner=mine_row.id, filename="f" * 200, purpose="batch", bytes=1, sha256="0" * 64,
                 created_at=now(), status="processed", status_details=None) for _ in range(5000)
        )  # fmt: skip
    database.close()
    policy = {"bases": {"pocket": {"model": "pocket:aligned"}}, "limits": LIMITS, "after_upload": [{"kind": "rows"}]}
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "holdfast",
        "serve",
        "--folder",
        str(folder),
        "--workers",
        "0",
        "--port",
        str(port),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--policy", str(folder / "policy.yaml")], stdout=log, stderr=log)
    try:
        of = Target(port, process.pid, folder, mine, other, size)
        _wait_for(of, process)
        yield of
    finally:
        process.kill()
        process.wait()


def _wait_for(of, process):
    until = time.monotonic() + 120
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{of.port}/readyz", timeout=60).raise_for_status()
            break
        except httpx.HTTPError:
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError((of.folder / "log").read_text()[-2000:]) from None
            time.sleep(0.2)
    for _ in range(3):  # the model is loaded, and what is needed once is there
        httpx.post(
            f"http://127.0.0.1:{of.port}/v1/chat/completions", json=asked(), headers=bearer(of.other), timeout=120
        )


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def asked(text="Where is the rope?", **more):
    return {"model": "pocket", "messages": [{"role": "user", "content": text}], "max_tokens": 4, **more}


async def send(of, what, pieces=(), length=None, read=True, pause=0.0, key=None, more=""):
    """Send a request as bytes, and say what it is told: a status, `closed`, or `no answer`.

    Args:
        of: the target.
        what: method and path, and the type of the content.
        pieces: of the body; sent in chunks, or as they are where a length is given.
        length: what the request says of its body's length.
        read: whether the answer is read; else it is waited until the service closes the connection.
        pause: seconds after each piece.
        key: the attacker's if not given.
        more: headers.
    """
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096 if not read else 65536)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", of.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=2**16)
    (line, kind), size = what, "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    head = f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key or of.mine}\r\nContent-Type: {kind}\r\n{size}\r\n{more}\r\n"
    sending = asyncio.create_task(_pour(writer, head.encode(), pieces, length is None, pause))
    try:
        if not read:
            writer.transport.pause_reading()
            return await _until_closed(of, connection)
        async with asyncio.timeout(300):
            answered = await reader.read(12)
        return answered.split()[1].decode() if answered.startswith(b"HTTP") else "closed"
    except TimeoutError:
        return "no answer"
    except ConnectionError:
        return "closed"
    finally:
        sending.cancel()
        writer.transport.abort()


async def _pour(writer, head, pieces, chunked, pause):
    try:
        writer.write(head)
        for piece in pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if chunked else piece)
            await writer.drain()
            await asyncio.sleep(pause)
        if chunked:
            writer.write(b"0\r\n\r\n")
    except OSError:
        pass  # the service closed the connection


async def _until_closed(of, connection):
    """Wait until the service has a connection no more that is not read; its client may not hear of that."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        await asyncio.sleep(1)
        if not is_held(of.port, connection, of.connections()):
            return "closed"
    return "still open"


def is_held(port, connection, table=None):
    """Whether a service on this machine has a connection still (Linux)."""
    ends = f"0100007F:{port:04X} 0100007F:{connection.getsockname()[1]:04X} {ESTABLISHED}"
    return ends in (table or Path("/proc/net/tcp").read_text())


async def many(n, one):
    """What n clients are told at once: `one` is called with the number of each."""
    return Counter(await asyncio.gather(*(one(number) for number in range(n))))


ATTACKS = {}
"""Name → the attack: a coroutine that takes the target, and says what its clients are told."""


def attack(name):
    def keep(work):
        ATTACKS[name] = work
        return work

    return keep


@attack("1,000 connections that send nothing, or half a request")
async def silent(of):
    async def one(number):
        connection = socket.socket()
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", of.port))
        with connection:
            if number % 2:
                connection.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: ")
            return await _until_closed(of, connection)

    return await many(of.clients(1000), one)


@attack("100 readers that read nothing of a streamed file of 60 MiB")
async def unread_streams(of):
    file = await upload(of, ROW * (60 * MIB // len(ROW)))
    return await many(of.clients(100), lambda _: send(of, (f"GET /v1/files/{file}/content", "x"), length=0, read=False))


@attack("300 readers that read nothing of a plain answer (the list of 5,000 files)")
async def unread_answers(of):
    return await many(of.clients(300), lambda _: send(of, ("GET /v1/files", "x"), length=0, read=False))


@attack("300 readers that read nothing of a streamed chat")
async def unread_chats(of):
    body = json.dumps(asked(stream=True) | {"max_tokens": 400}).encode()
    return await many(of.clients(300), lambda _: send(of, CHAT, [body], length=len(body), read=False))


@attack("100 uploads that never end")
async def endless(of):
    def pieces():
        yield part(b"")
        while True:
            yield ROW * 600

    return await many(of.clients(100), lambda _: send(of, UPLOAD, pieces()))


@attack("200 uploads that send a byte now and then")
async def trickled_uploads(of):
    return await many(of.clients(200), lambda _: send(of, UPLOAD, [part(b""), *[b"x"] * 1000], length=MIB, pause=0.5))


@attack("200 JSON bodies of 4 MB that stop before their last byte")
async def withheld_bodies(of):
    body = b" " * (4 * MIB - 1)
    return await many(of.clients(200), lambda _: send(of, CHAT, [body], length=len(body) + 1))


@attack("the same without an API key")
async def withheld_bodies_without_key(of):
    body = b" " * (4 * MIB - 1)
    return await many(of.clients(200), lambda _: send(of, CHAT, [body], length=len(body) + 1, key="sk-none"))


@attack("50 files of 600 MB, their length told")
async def oversize(of):
    pieces = [part(b""), *[ROW * 600] * 10_000]
    return await many(of.clients(50), lambda _: send(of, UPLOAD, pieces, length=600_000_000))


@attack("100 gzip bodies of 4 MB, 4 GB unpacked (Content-Encoding)")
async def gzip_bodies(of):
    body = gzip.compress(bytes(4 * MIB))
    what, more = (CHAT, UPLOAD), "Content-Encoding: gzip\r\n"
    return await many(
        of.clients(100), lambda n: send(of, what[n % 2], [body] * 1000, length=len(body) * 1000, more=more)
    )


@attack("100 uploads of gzip and zip bombs")
async def bombs(of):
    packed, archive = gzip.compress(bytes(100 * MIB)), io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("rows.jsonl", bytes(100 * MIB))
    bodies = [form(packed), form(archive.getvalue())]
    return await many(of.clients(100), lambda n: send(of, UPLOAD, [bodies[n % 2]], length=len(bodies[n % 2])))


@attack("300 malformed forms")
async def malformed(of):
    fields = b"".join(b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\n1\r\n' % n for n in range(10_000))
    bodies = [
        form(ROW)[:-9], form(ROW).replace(b"--b", b"--c"), fields + b"--b--\r\n", b"--b\r\n" + b"X: y\r\n" * 500_000,
        b"--b\r\n" + b"x" * 4 * MIB, b"--b\r\nContent-Disposition: form-data; name=" + b"x" * 4 * MIB, b"\r\n" * 2 * MIB,
    ]  # fmt: skip

    async def one(number):
        body = bodies[number % len(bodies)]
        return await send(of, UPLOAD, [body], length=len(body))

    return await many(of.clients(300), one)


@attack("20 JSON bodies of 1.4 million empty objects")
async def swollen_bodies(of):
    inner = b"{}," * (4 * MIB // 3 - 100)
    bodies = [b'{"model": "pocket", "messages": [' + inner + b"{}]}", b'{"model": "pocket", "x": [' + inner + b"{}]}"]
    return await many(of.clients(20), lambda n: send(of, CHAT, [bodies[n % 2]], length=len(bodies[n % 2])))


@attack("20 conversations of 4 MB")
async def long_prompts(of):
    body = json.dumps(asked("Where is the rope? " * (4 * MIB // 19 - 100))).encode()
    return await many(of.clients(20), lambda _: send(of, CHAT, [body], length=len(body)))


@attack("8 uploads of 60 MiB that are one list of 20 million empty objects")
async def lists(of):
    body = form(b"[" + b"{}," * 20 * MIB + b"{}]")
    return await many(of.clients(8), lambda _: send(of, UPLOAD, [body], length=len(body)))


@attack("8 uploads of rows of 20 MB")
async def long_rows(of):
    row = b'{"messages": [' + b"{}," * 6 * MIB + b"{}]}\n"
    body = form(row * 3)
    return await many(of.clients(8), lambda _: send(of, UPLOAD, [body], length=len(body)))


@attack("1,000 requests at once: chats, lists and uploads of 1 MB")
async def crowd(of):
    chat, file = json.dumps(asked(stream=True)).encode(), form(ROW * (MIB // len(ROW)))
    kinds = [(CHAT, chat), (UPLOAD, file), (("GET /v1/fine_tuning/jobs", "x"), b"")]

    async def one(number):
        what, body = kinds[number % 3]
        return await send(of, what, [body], length=len(body))

    return await many(of.clients(1000), one)


def part(content):
    """A form up to the end of its file's content."""
    purpose = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'
    return purpose + b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.jsonl"\r\n\r\n' + content


def form(content):
    return part(content) + b"\r\n--b--\r\n"


async def upload(of, content):
    """A file of the attacker's."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{of.port}/v1", headers=bearer(of.mine), timeout=120
    ) as client:
        given = {"files": {"file": ("x.jsonl", content)}, "data": {"purpose": "batch"}}
        return (await client.post("/files", **given)).json()["id"]


async def ask_meanwhile(of, ended, seen):
    """Be another client: a list, a conversation and an upload, twice a second."""
    form = {"files": {"file": ("x.jsonl", ROW * 12)}, "data": {"purpose": "fine-tune"}}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{of.port}/v1", headers=bearer(of.other), timeout=120
    ) as client:
        while not ended.is_set():
            begun = time.monotonic()
            try:
                answers = [
                    await client.get("/models"),
                    await client.post("/chat/completions", json=asked()),
                    await client.post("/files", **form),
                ]
                seen += [(answer.status_code, time.monotonic() - begun) for answer in answers]
            except httpx.HTTPError as error:
                seen.append((type(error).__name__, time.monotonic() - begun))
            await asyncio.sleep(0.5)


async def measure(of, name):
    """Make one attack, with another client beside it."""
    of.forget_peak()
    before, seen, ended = of.memory("VmRSS"), [], asyncio.Event()
    other = asyncio.create_task(ask_meanwhile(of, ended, seen))
    await asyncio.sleep(0.6)
    told = await ATTACKS[name](of)
    await asyncio.sleep(1)
    ended.set()
    await other
    listed = ", ".join(f"{what}: {count}" for what, count in sorted(told.items()))
    answered = sum(status == 200 for status, _ in seen)
    slowest = max(seconds for _, seconds in seen)
    return Found(name, listed, answered, len(seen) - answered, slowest, before, of.memory("VmHWM"), of.memory("VmRSS"))


def main():
    """Make all attacks."""
    options = argparse.ArgumentParser()
    options.add_argument("file", nargs="?", type=Path)
    options.add_argument("--only", default="")
    options.add_argument("--size", type=float, default=1.0)
    asked_for = options.parse_args()
    table = HEAD
    sys.stdout.write(table)
    for name in (name for name in ATTACKS if asked_for.only in name):
        with tempfile.TemporaryDirectory() as folder, target(Path(folder), asked_for.size) as of:
            line = asyncio.run(measure(of, name)).line()
        table += line
        sys.stdout.write(line)
        sys.stdout.flush()
        if asked_for.file:
            asked_for.file.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
