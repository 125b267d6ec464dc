"""`make attack`: all tests of this folder, and those on the service, with large counts, and a table of what they found.

    python tests/faults/attack.py [FILE] [--only NAME]

The table goes to the terminal and, as Markdown, to FILE (`runs/attack.md` if not given). Exits with 1 if something did
not hold. It takes an hour and a half on two cores; `--only worker_kills` takes the files with
that name alone.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
COUNTS = {"HOLDFAST_ATTACKS": "3000", "HOLDFAST_KILLS": "50", "HOLDFAST_STOPS": "20", "HOLDFAST_PROMPTS": "33000",
          "HOLDFAST_SERVICE_KILLS": "20",
          "HOLDFAST_CONDITIONS": "1000"}  # fmt: skip
"""What the tests read: files for each parser, kills, stops by each signal, prompts, kills of the service, conditions."""
OF_SERVICE = ("test_worker_kills.py", "test_attacks.py", "test_crowd.py", "test_nothing_leaks.py")
"""Tests of the service that are attacks too."""
HEAD = "| attack | count | faults | longest (s) | memory (MB) |\n| --- | ---: | ---: | ---: | ---: |\n"
FOOT = """
Count: files, kills, stops, prompts or, where an attack is a test without a count, tests. Longest: for one of them; the
processor time of the whole run for prompts. Memory: for files, what one of them takes beside what the process has
already; else that of the largest process.
"""


@dataclass(frozen=True)
class Row:
    """What one attack found."""

    attack: str
    count: int
    faults: int
    seconds: float
    bytes: int

    def line(self):
        """A line of the table."""
        return f"| {self.attack} | {self.count:,} | {self.faults:,} | {self.seconds:.2f} | {self.bytes / 1e6:,.0f} |\n"


def rows_of(report, name, n_bytes):
    """The rows of one file's tests, from pytest's XML report, in a process that took so many bytes.

    A test that tells a count (the fixture `found`) has a row of its own; all others of the file share one.
    """
    others = []
    for case in ElementTree.fromstring(report).iter("testcase"):
        told = {each.get("name"): each.get("value") for each in case.iter("property")}
        failed = case.find("failure") is not None or case.find("error") is not None
        if "attack" in told:
            faults, taken = max(int(told["faults"]), int(failed)), told.get("bytes")
            yield Row(told["attack"], int(told["count"]), faults, float(told["seconds"]), int(taken or n_bytes))
        elif case.find("skipped") is None:
            others.append((float(case.get("time")), failed))
    if others:
        yield Row(name, len(others), sum(failed for _, failed in others), max(others)[0], n_bytes)


def run(path):
    """The rows of one file of tests; pytest writes to the terminal what fails."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command += ["-o", "junit_family=xunit1", f"--junitxml={report}", str(path)]
        process = subprocess.Popen(command, env={**os.environ, **COUNTS}, stdout=sys.stderr, cwd=HERE.parents[1])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        name = path.stem.removeprefix("test_").replace("_", " ")
        if process.returncode not in (0, 1) or not report.exists():
            return [Row(f"{name}: pytest ended with {process.returncode}", 0, 1, 0.0, 0)]
        return list(rows_of(report.read_text(encoding="utf-8"), name, usage.ru_maxrss * 1024))


def table_of(rows, minutes):
    """What was found so far, as Markdown."""
    n_faults = sum(row.faults for row in rows)
    summary = f"\n{len(rows)} attacks, {n_faults} faults, {minutes:.0f} minutes.\n"
    return HEAD + "".join(row.line() for row in rows) + summary + FOOT


def main():
    """Run all attacks."""
    options = argparse.ArgumentParser()
    options.add_argument("file", nargs="?", default=HERE.parents[1] / "runs" / "attack.md")
    options.add_argument("--only", default="")
    asked = options.parse_args()
    out = Path(asked.file)
    out.parent.mkdir(parents=True, exist_ok=True)
    begun, rows = time.monotonic(), []
    for path in (*sorted(HERE.glob("test_*.py")), *(HERE.parent / "service" / name for name in OF_SERVICE)):
        if asked.only not in path.name:
            continue
        rows += run(path)
        out.write_text(table_of(rows, (time.monotonic() - begun) / 60), encoding="utf-8")
    sys.stdout.write(f"\n{out.read_text(encoding='utf-8')}\nwritten to {out}\n")
    sys.exit(1 if any(row.faults for row in rows) else 0)


if __name__ == "__main__":
    main()
