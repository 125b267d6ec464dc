"""A tutorial as its own test: its files are written, its commands are run in order, and what it shows is compared.

```yaml title="study.yaml"     a file
```console                     commands behind `$ `, and below each what it prints; `...` is whatever comes
"""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import holdfast

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)
MARK = "@@ command "
WIDTH = "100"
"""Columns of the terminal in which commands run."""


@dataclass(frozen=True)
class Command:
    """One command, and what is shown below it."""

    line: str
    shown: str


def parts(text):
    """Files and commands of a tutorial in their order: `(name, content)` or `Command`."""
    for language, title, content in BLOCK.findall(text):
        if title:
            yield title, content
        elif language == "console":
            yield from _commands(content)


def _commands(content):
    for piece in re.split(r"^\$ ", content, flags=re.M)[1:]:
        lines = piece.splitlines()
        length = next(n for n, line in enumerate(lines, start=1) if not line.endswith("\\"))
        yield Command("\n".join(lines[:length]), "\n".join(lines[length:]))


def run(text, folder, cache, timeout=1800):
    """Run a tutorial in a folder.

    Returns:
        Each command with what it printed.
    """
    commands, script = [], ["set +e"]
    for number, part in enumerate(parts(text)):
        if isinstance(part, Command):
            commands.append(part)
            script += [f"echo '{MARK}'", part.line]
        else:
            name, content = part
            (folder / f".{number}").write_text(content)
            script.append(f"mkdir -p {Path(name).parent} && cp .{number} {name}")
    (folder / ".bin").mkdir()
    for name, module in (("holdfast", "holdfast"), ("python", "")):
        program = folder / ".bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {f"-m {module}" if module else ""} "$@"\n')
        program.chmod(0o755)
    written = _written("\n".join(script), folder, cache, timeout)
    outputs = written.split(f"{MARK}\n")[1:]
    assert len(outputs) == len(commands), written[-3000:]
    return list(zip(commands, outputs, strict=True))


def _written(script, folder, cache, timeout):
    """What a script prints; whatever it started has ended afterwards."""
    house = str(Path(holdfast.__file__).parents[1])
    environment = {
        **os.environ, "PATH": f"{folder / '.bin'}:{os.environ['PATH']}", "PYTHONPATH": house, "COLUMNS": WIDTH,
        "HOLDFAST_CACHE": str(cache), "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    with (folder / ".written").open("wb") as written:
        process = subprocess.Popen(
            ["bash", "-c", script], cwd=folder, env=environment, stdout=written, stderr=written, start_new_session=True
        )
        try:
            process.wait(timeout)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
    return (folder / ".written").read_text()


def agrees(shown, printed):
    """Whether what a tutorial shows is what was printed: line by line, `...` standing for anything."""
    if not shown.strip():
        return True
    lines = [re.escape(line.rstrip()).replace(r"\.\.\.", ".*") for line in shown.strip().splitlines()]
    pattern = "".join(r"(?:.*\n)*?" if line == ".*" else line + r" *\n" for line in lines)
    return re.fullmatch(pattern, printed.strip() + "\n") is not None
