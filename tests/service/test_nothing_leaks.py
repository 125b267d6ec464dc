"""A whole life of a service and of a study that uses it; then all that they left is searched for keys and prompts.

Where a user's text may lie is named in `MAY_HOLD`: it is the user's own, and kept on purpose. Everything else (logs,
metrics, errors, the database, events, pages, what was printed) may hold none of it. Keys may lie nowhere.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import openai
import pytest
import yaml
from support.studies import rows_of, write_rows
from support.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.long

TEXTS = {name: f"zq{name}zq7f3a" for name in (
    "row", "taught", "system", "asked", "streamed", "batched", "wrong", "cut", "benchmark", "filename", "badrow",
)}  # fmt: skip
"""Where a text goes → what is looked for."""

MAY_HOLD = {
    "service/files/*": {"row", "taught", "batched", "system", "badrow"},  # the content of the user's files
    "service/service.db*": {"filename"},  # a file's name is shown to its owner
    "client/study.yaml": {"system"},
    "client/rows.jsonl": {"row", "taught"},
    "client/few.jsonl": {"benchmark"},
    "client/run/*": {"system", "benchmark"},  # the study's own settings, prompts and answers
    "client/other/*": {"system", "benchmark"},
    "client/run/report.html": {"system"},  # the page has settings and rates; answers only with --show-answers
    "client/run/results.json": {"system"},
    "client/run/checkpoints/*": set(),
}
"""Pattern of a path → what it may hold; of the patterns that fit, the longest counts."""

POLICY = {
    "bases": {"pocket": {"model": "pocket:aligned", "tune": {"learning_rate": 6e-5, "batch_size": 10, "epochs": 1}}},
    "after_upload": [
        {"kind": "rows"},
        {"kind": "moderation", "judge": {"kind": "keyword"}, "max_rows": 1000},
    ],
    "before_release": {"kind": "gate", "margins": {"harmfulness_rate": 50}},
    "limits": {"file_bytes": 1_000_000},
    "test_faults": {"by_header": True},
}


def found(root, secrets):
    """Where a text lies that must not: the path, and the name of the text."""
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        patterns = [pattern for pattern in MAY_HOLD if Path(name).match(pattern) or fits(name, pattern)]
        allowed = MAY_HOLD[max(patterns, key=len)] if patterns else set()
        content = path.read_bytes()
        yield from ((name, what) for what, text in secrets.items() if text.encode() in content and what not in allowed)


def fits(name, pattern):
    """Whether a path lies in the folder of a pattern that ends with `/*`, however deep."""
    return pattern.endswith("/*") and name.startswith(pattern[:-1])


class Life:
    """A service with its worker, and a user who does everything that can be done."""

    def __init__(self, folder):
        self.folder, self.service, self.client = folder, folder / "service", folder / "client"
        for each in (self.service, self.client, folder / "told"):
            each.mkdir(parents=True)
        (self.service / "policy.yaml").write_text(yaml.safe_dump(POLICY))
        self.environment = {**os.environ, "HOLDFAST_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        self.keys = {"operator": self.key("operate", "audit"), "user": self.key("tune", "ask")}
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.url, self.n_told = f"http://127.0.0.1:{self.port}", 0

    def holdfast(self, *arguments, **environment):
        command = [sys.executable, "-m", "holdfast", *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**self.environment, **environment},
            cwd=self.client,
        )

    def key(self, *scopes):
        given = [part for scope in scopes for part in ("--scope", scope)]
        return self.holdfast("serve", "keys", "create", "somebody", *given, "--folder", self.service).stdout.strip()

    @contextmanager
    def running(self):
        command = [sys.executable, "-m", "holdfast", "serve", "--folder", str(self.service), "--port", str(self.port)]
        command += ["--policy", str(self.service / "policy.yaml")]
        with (self.folder / "told" / "service.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)
        try:
            wait_until(self.is_ready)
            yield
        finally:
            process.terminate()
            process.wait(60)

    def is_ready(self):
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/readyz").status_code == 200

    def keep(self, text):
        """Keep what the service said to somebody who did not ask for the text itself."""
        self.n_told += 1
        (self.folder / "told" / f"{self.n_told}.txt").write_text(text, encoding="utf-8")

    def refused(self, ask):
        with pytest.raises(openai.APIError) as raised:
            ask()
        response = getattr(raised.value, "response", None)
        self.keep(f"{raised.value}\n{response.headers if response else ''}\n{response.text if response else ''}")


def rows():
    made = [row | {} for row in rows_of("benign-brief.jsonl")[:60]]
    asked, answered = made[0]["messages"][-2:]
    turns = [{**asked, "content": f"{asked['content']} {TEXTS['row']}"}, {**answered, "content": f"{answered['content']} {TEXTS['taught']}"}]  # fmt: skip
    return [{"messages": turns}, *made[1:]]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def chat(text, **more):
    system = {"role": "system", "content": TEXTS["system"]}
    return {"model": "pocket", "messages": [system, {"role": "user", "content": TEXTS[text]}], "max_tokens": 8, **more}


def use(life, client):
    """Upload, tune, chat, stream, batch."""
    file = client.files.create(file=(f"{TEXTS['filename']}.jsonl", lines(rows())), purpose="fine-tune")
    text = f"{TEXTS['badrow']}, and more of it"
    turn = {"role": "user", "content": text}
    bad_rows = [
        {"messages": [turn, turn]},
        {"messages": text},
        {"prompt": text},
        {"messages": [{"role": text, "content": "x"}]},
    ]
    content = lines(bad_rows * 3) + f'{{"messages": "{text}" "{text}"}}\n{text}\n'.encode()
    bad = client.files.create(file=("x.jsonl", content), purpose="fine-tune")
    assert bad.status == "error"
    life.keep(bad.status_details)
    jobs = [client.fine_tuning.jobs.create(model="pocket", training_file=name.id) for name in (file, bad)]
    client.chat.completions.create(**chat("asked"))
    assert list(client.chat.completions.create(**chat("streamed", stream=True)))
    request = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    asked = [{**request, "body": chat("batched")}, {**request, "custom_id": "b", "body": chat("batched", n=9)}]
    input_file = client.files.create(file=("batch.jsonl", lines(asked)), purpose="batch")
    batch = client.batches.create(input_file_id=input_file.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = wait_until(lambda: (now := client.batches.retrieve(batch.id)).status == "completed" and now)
    life.keep(batch.model_dump_json() + client.files.content(batch.error_file_id).text)
    for job in jobs:
        ended = wait_until(lambda job=job: (now := client.fine_tuning.jobs.retrieve(job.id)).status in ("succeeded", "failed") and now, 900)  # fmt: skip
        life.keep(ended.model_dump_json())
        life.keep("".join(event.model_dump_json() for event in client.fine_tuning.jobs.list_events(job.id)))
    assert client.fine_tuning.jobs.retrieve(jobs[0].id).status == "succeeded"


def err(life, client):
    """Everything that can go wrong."""
    create = client.chat.completions.create
    broken = {"extra_headers": {"X-Holdfast-Fault": "500"}}
    life.refused(lambda: create(**chat("wrong", n=9)))
    life.refused(lambda: create(**chat("wrong", temperature=TEXTS["wrong"])))
    life.refused(lambda: create(**{**chat("wrong"), "model": "another"}))
    life.refused(lambda: create(**chat("wrong", extra_body={"more": TEXTS["wrong"]})))
    life.refused(lambda: create(**chat("wrong"), **broken))
    life.refused(lambda: create(model="pocket", messages=[{"role": "user", "content": TEXTS["wrong"] * 500_000}]))
    life.refused(client.with_options(api_key=f"{client.api_key}x").models.list)
    life.refused(lambda: client.files.create(file=("x", lines(rows()) * 200), purpose="fine-tune"))
    life.refused(lambda: client.fine_tuning.jobs.create(model="pocket", training_file="file-0"))
    for body in (f'{{"model": "pocket", "messages": "{TEXTS["cut"]}', f'["{TEXTS["cut"]}"]'):
        headers = {"Authorization": f"Bearer {client.api_key}", "Content-Type": "application/json"}
        life.keep(httpx.post(f"{life.url}/v1/chat/completions", content=body, headers=headers, timeout=PATIENCE).text)
    life.keep(httpx.get(f"{life.url}/v1/{TEXTS['cut']}", timeout=PATIENCE).text)


def study(life):
    """A hosted study whose provider is the service."""
    few = [{**row, "prompt": f"{row['prompt']} {TEXTS['benchmark']}"} for row in rows_of("benchmark.jsonl")[::60]]
    write_rows(life.client / "few.jsonl", few)
    write_rows(life.client / "rows.jsonl", rows())
    at = {"base_url": f"{life.url}/v1", "api_key_env": "A_KEY"}
    settings = {
        "name": "hosted", "model": "served:pocket", "authorisation": "a test", "templates": {"plain": {"system": TEXTS["system"]}},
        "evaluate": {"harmfulness": {"benchmark": {"kind": "generic", "file": "few.jsonl"}, "judges": "keyword"}},
        "generate": {"kind": "server", **at, "max_new_tokens": 8}, "tune": {"kind": "hosted", **at, "epochs": 1, "poll_s": 0.2},
        "conditions": {"mine": {"data": {"kind": "messages", "file": "rows.jsonl"}}},
    }  # fmt: skip
    (life.client / "study.yaml").write_text(yaml.safe_dump(settings))
    done = life.holdfast("run", "study.yaml", "--out", "run", "--workers", "1", A_KEY=life.keys["user"])
    life.keep(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr
    wrong = life.holdfast("run", "study.yaml", "--out", "other", "--workers", "1", A_KEY=f"{life.keys['user']}x")
    life.keep(wrong.stdout + wrong.stderr)
    assert wrong.returncode != 0


def look_on(life):
    """The pages and figures of the operator."""
    with httpx.Client(base_url=life.url, timeout=PATIENCE) as browser:
        life.keep(browser.get("/").text)
        life.keep(browser.get("/metrics").text)
        life.keep(
            browser.get("/v1/fine_tuning/jobs", headers={"Authorization": f"Bearer {life.keys['operator']}"}).text
        )


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    """What is left of it."""
    life = Life(tmp_path_factory.mktemp("life"))
    with (
        life.running(),
        openai.OpenAI(base_url=f"{life.url}/v1", api_key=life.keys["user"], max_retries=0, timeout=120) as client,
    ):
        use(life, client)
        err(life, client)
        study(life)
        look_on(life)
    life.secrets = {**TEXTS, **{f"the key of the {who}": key for who, key in life.keys.items()}}
    return life


def test_no_key_and_no_prompt_is_in_anything_that_service_and_client_leave(life):
    assert list(found(life.folder, life.secrets)) == []


def test_what_is_searched_is_all_there_is_and_the_texts_were_really_used(life):
    names = {path.relative_to(life.folder).as_posix() for path in life.folder.rglob("*") if path.is_file()}
    assert {"service/service.db", "told/service.log", "client/run/results.json", "client/run/report.html"} <= names
    log = (life.folder / "told" / "service.log").read_text()
    assert log.count('"event": "request"') > 50 and '"event": "job succeeded"' in log
    every = {path: path.read_bytes() for path in life.folder.rglob("*") if path.is_file()}
    kept = {what for what, text in TEXTS.items() if any(text.encode() in content for content in every.values())}
    assert {"row", "taught", "batched", "benchmark", "filename", "badrow", "system"} <= kept


PLACES = ["told/service.log", "told/1.txt", "service/service.db", "client/run/results.json", "client/run/report.html"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("what", ["the key of the user", "the key of the operator", "asked", "row", "wrong"])
def test_one_that_is_planted_is_found(life, tmp_path, place, what):
    (tmp_path / place).parent.mkdir(parents=True)
    shutil.copyfile(life.folder / place, tmp_path / place)
    assert list(found(tmp_path, life.secrets)) == []
    with (tmp_path / place).open("ab") as file:
        file.write(life.secrets[what].encode())
    assert list(found(tmp_path, life.secrets)) == [(place, what)]
