"""`holdfast serve` and its keys, as processes: what they print, and what happens when one is killed."""

import os
import re
import signal
import subprocess

import openai
import pytest
from support.postgres import database_url
from support.running_service import Running, is_alive
from support.waiting import wait_until
from typer.testing import CliRunner

from holdfast.cli import app

RUN = CliRunner()


def holdfast(*arguments):
    return RUN.invoke(app, [str(argument) for argument in arguments])


def test_keys_are_made_listed_and_revoked(tmp_path):
    made = holdfast("serve", "keys", "create", "a name", "--scope", "ask", "--scope", "tune", "--folder", tmp_path)
    assert made.exit_code == 0 and re.fullmatch(r"sk-holdfast-[\w-]{43}\n", made.stdout)
    key_id = re.search(r"key-[0-9a-f]{24}", made.stderr)[0]
    listed = holdfast("serve", "keys", "list", "--folder", tmp_path)
    assert "a name" in listed.stdout and "tune, ask" in listed.stdout and "valid" in listed.stdout
    assert made.stdout.strip() not in listed.stdout
    assert "revoked" in holdfast("serve", "keys", "revoke", key_id, "--folder", tmp_path).stdout
    assert "revoked" in holdfast("serve", "keys", "list", "--folder", tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["keys", "create", "x", "--scope", "tuna"], "Did you mean 'tune'?"),
        (["keys", "revoke", "key-0"], "there is no key"),
        (["keys", "list", "--database", "mysql://x/y"], "sqlite:///FILE"),
        (["keys", "list", "--database", "no url"], "sqlite:///FILE"),
        (["keys", "list", "--database", "postgresql://nobody@127.0.0.1:1/x"], "the database cannot be used"),
        (["--policy", "nothing.yaml"], "there is no policy file"),
        (["worker", "--policy", "nothing.yaml"], "there is no policy file"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = holdfast("serve", *arguments)
    assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_service_survives_the_death_of_its_worker_and_its_own(tmp_path, database):
    running = Running(tmp_path, database_url() if database == "postgresql" else None)
    running.start()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{running.port}/v1", api_key=running.key) as client:
        kill_both(running, client)
    [third] = running.workers()
    if running.url:
        shown = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
        assert "serve worker" in shown and running.url not in shown
    running.process.terminate()
    assert running.process.wait(40) == 143
    assert not is_alive(third)
    assert running.key not in running.written()


def kill_both(running, client):
    rows = b'{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello!"}]}\n' * 12
    file = client.files.create(file=("rows.jsonl", rows), purpose="fine-tune")
    wait_until(lambda: len(running.workers()) == 1)
    [worker] = running.workers()
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: running.workers() and running.workers() != [worker])
    assert "a worker died" in running.written()
    [second] = running.workers()
    running.process.kill()
    running.process.wait(10)
    wait_until(lambda: not is_alive(second))
    running.start()
    assert client.files.content(file.id).read() == rows
    wait_until(lambda: len(running.workers()) == 1)
