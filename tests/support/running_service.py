"""`holdfast serve` as a process, with its worker."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
from support.waiting import wait_until


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Running:
    """A service as a process; its policy is a YAML file, the shipped one if none is given."""

    def __init__(self, folder, url=None, policy=None):
        self.folder, self.port, self.url = folder, free_port(), url
        given = {"HOLDFAST_SERVE_DATABASE": url, "HOLDFAST_SERVE_POLICY": policy and str(policy)}
        self.environment = {**os.environ, **{name: value for name, value in given.items() if value}}
        done = self.command("keys", "create", "me", "--scope", "tune", "--scope", "ask")
        self.key = done.stdout.strip()
        self.process = None

    def command(self, *arguments):
        command = [sys.executable, "-m", "holdfast", "serve", *arguments, "--folder", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=self.environment)

    def start(self):
        command = [sys.executable, "-m", "holdfast", "serve", "--folder", str(self.folder), "--port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, env=self.environment)
        wait_until(self.is_ready)

    def is_ready(self):
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def workers(self):
        return [int(child) for child in children_of(self.process.pid)]

    def written(self):
        return (self.folder / "log").read_text()


def children_of(pid):
    return subprocess.run(
        ["pgrep", "-P", str(pid), "-f", "serve worker"], capture_output=True, text=True, check=False
    ).stdout.split()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0]
