"""A thousand requests at once: all are answered, nothing is lost, and the memory stays bounded."""

import asyncio
import multiprocessing
import time
from pathlib import Path

import httpx
import pytest
from support.service_double import ROWS, serving, url_of

CROWD = 1000
LIMITS = {"requests_per_minute": 1_000_000, "open_jobs": 10_000, "concurrent_uploads": 1000, "idle_seconds": 120}
PAD = (
    b'{"messages": [{"role": "user", "content": "' + b"a" * 1_000_000 + b'"}, {"role": "assistant", "content": "b"}]}\n'
)


def serve(folder, url, pipe):
    """A service in a process of its own, so that its memory can be told from the test's."""
    with serving(Path(folder), {"limits": LIMITS}, url) as served:
        served.engine.pause = 0.01
        pipe.send((served.url, served.client("tune", "ask").api_key))
        pipe.recv()


def peak(pid):
    """The most memory that a process had so far, in MiB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


async def crowd(url, key):
    """What a thousand clients get: uploads of 1 MB, jobs, answers and lists, in turn."""
    limits = httpx.Limits(max_connections=CROWD, max_keepalive_connections=CROWD)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=f"{url}/v1", headers=headers, limits=limits, timeout=240, verify=False
    ) as client:
        form = {"files": {"file": ("rows.jsonl", ROWS)}, "data": {"purpose": "fine-tune"}}
        file = (await client.post("/files", **form)).json()["id"]
        asked = {"model": "pocket", "messages": [{"role": "user", "content": "word " * 100}], "stream": True}

        async def one(number):
            if number % 4 == 0:
                content = PAD[:-1] + b" " * number + b"\n"
                return await client.post(
                    "/files", files={"file": (f"{number}", content)}, data={"purpose": "fine-tune"}
                )
            if number % 4 == 1:
                job = {"model": "pocket", "training_file": file, "metadata": {"number": str(number)}}
                return await client.post("/fine_tuning/jobs", json=job)
            if number % 4 == 2:
                return await client.post("/chat/completions", json=asked)
            return await client.get("/files", params={"limit": 10})

        answers = await asyncio.gather(*map(one, range(CROWD)))
        sizes = [entry["bytes"] for entry in (await client.get("/files")).json()["data"]]
        pages, after = [], None
        while True:
            page = (
                await client.get("/fine_tuning/jobs", params={"limit": 100, **({"after": after} if after else {})})
            ).json()
            pages += page["data"]
            if not page["has_more"]:
                return answers, sizes, pages
            after = page["last_id"]


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_thousand_requests_at_once_are_all_answered_within_bounded_memory(tmp_path, database, found):
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(str(tmp_path / "service"), url_of(database), theirs))
    process.start()
    try:
        url, key = ours.recv()
        before = peak(process.pid)
        begun = time.monotonic()
        answers, sizes, jobs = asyncio.run(crowd(url, key))
        spent = time.monotonic() - begun
        grown = peak(process.pid) - before
    finally:
        ours.send("end")
        process.join(30)
        process.kill()
    assert [answer.status_code for answer in answers] == [200] * CROWD
    streams = [answer.text for answer in answers if answer.headers["content-type"].startswith("text/event-stream")]
    assert len(streams) == 250 and all(text.endswith("data: [DONE]\n\n") for text in streams)
    assert sorted(sizes) == sorted([len(ROWS), *(len(PAD) + number for number in range(0, CROWD, 4))])
    assert sorted(int(job["metadata"]["number"]) for job in jobs) == list(range(1, CROWD, 4))
    assert grown < 500, f"{grown:.0f} MiB"
    found(f"{CROWD} requests at once, {database}", CROWD, spent, int(grown * 2**20))
