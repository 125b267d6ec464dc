"""A PostgreSQL server of the tests' own, from Debian's package, for as long as the tests run."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

SETTINGS = {"listen_addresses": "''", "fsync": "off", "max_connections": "200", "shared_buffers": "32MB"}


@cache
def server():
    """The folder of the server's socket. PostgreSQL refuses to run as root, so it is its package's user then."""
    found = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    binaries = [Path(path).resolve().parent for path in found if path]
    if not binaries:
        pytest.skip("no PostgreSQL on this machine: install the package `postgresql`")
    user = {"user": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
    if user:
        shutil.chown(folder, "postgres")
    options = " ".join(f"-c {name}={value}" for name, value in {**SETTINGS, "unix_socket_directories": folder}.items())
    for command in (
        ["initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"],
        ["pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options, "-w", "start"],
    ):
        run([str(binaries[-1] / command[0]), *command[1:]], user)
    atexit.register(_stop, binaries[-1], folder, user)
    return folder


def run(command, user):
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **user)
    if done.returncode:
        pytest.fail(f"{command[0]}: {done.stdout[-500:]}{done.stderr[-500:]}")


def _stop(binaries, folder, user):
    stop = [str(binaries / "pg_ctl"), "-D", f"{folder}/data", "-m", "immediate", "-w", "stop"]
    subprocess.run(stop, capture_output=True, cwd="/", check=False, **user)
    shutil.rmtree(folder, ignore_errors=True)


def database_url():
    """The URL of a new, empty database."""
    import psycopg

    folder = server()
    name = f"holdfast_{os.urandom(6).hex()}"
    with psycopg.connect(f"postgresql://postgres@/postgres?host={folder}", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://postgres@/{name}?host={folder}"
