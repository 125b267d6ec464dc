"""One step of a GitHub workflow: `holdfast gate`, its summary, and what later steps read. `action.yml` runs it.

All that a workflow says comes in environment variables and goes to other programs as arguments of their own; no shell
reads any of it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from holdfast.core.audit_record import EXIT_CODES
from holdfast.core.errors import HoldfastError

DECISIONS = {**{code: answer for answer, code in EXIT_CODES.items()}, 2: "could not run"}
"""Exit code of `holdfast gate` → what the output `decision` says."""

MARK = "<!-- holdfast gate -->"
"""Begins the comment, so that a reader of the page's source knows who wrote it."""

MOST = 60_000
"""Characters of a comment; GitHub takes 65,536."""


def step(environment: Mapping[str, str]) -> int:
    """Run the gate, append the summary to the step's, set the outputs, and comment on the pull request if asked to.

    Args:
        environment: `HOLDFAST_FOLDER`, and optionally `HOLDFAST_POLICY`, `HOLDFAST_JUNIT`, `HOLDFAST_PULL_REQUEST` and
            `GH_TOKEN`; `GITHUB_STEP_SUMMARY`, `GITHUB_OUTPUT` and `RUNNER_TEMP` as GitHub sets them.

    Returns:
        The exit code of `holdfast gate`.

    Raises:
        HoldfastError: an input that cannot be.
    """
    folder, pull_request = environment.get("HOLDFAST_FOLDER", ""), environment.get("HOLDFAST_PULL_REQUEST", "")
    if not folder:
        raise HoldfastError("the input `folder` is empty. Name the folder of an audit, or of a study's run.")
    if pull_request and not re.fullmatch("[0-9]{1,10}", pull_request):
        raise HoldfastError(f"the input `pull-request` must be a number; found {pull_request[:40]!r}.")
    summary = Path(environment.get("RUNNER_TEMP") or ".") / "holdfast-summary.md"
    summary.unlink(missing_ok=True)
    code = subprocess.run(_command(environment, folder, summary), check=False).returncode
    text = summary.read_text(encoding="utf-8") if summary.is_file() else _no_summary(code)
    _append(environment.get("GITHUB_STEP_SUMMARY"), text)
    decision = DECISIONS.get(code, DECISIONS[2])
    _append(environment.get("GITHUB_OUTPUT"), f"decision={decision}\nexit-code={code}\nsummary={summary}\n")
    if pull_request and environment.get("GH_TOKEN"):
        summary.write_text(f"{MARK}\n{text[:MOST]}", encoding="utf-8")
        _comment(pull_request, summary)
    return code


def _command(environment: Mapping[str, str], folder: str, summary: Path) -> list[str]:
    """What is run. Each option and its value are one argument, so no value is taken for an option."""
    options = {"--policy": environment.get("HOLDFAST_POLICY"), "--junit": environment.get("HOLDFAST_JUNIT")}
    given = [f"{option}={value}" for option, value in options.items() if value]
    return [sys.executable, "-m", "holdfast", "gate", f"--summary={summary}", *given, "--", folder]


def _no_summary(code: int) -> str:
    return f"## Holdfast\n\nThe gate could not run (exit code {code}). The step's log says why.\n"


def _append(path: str | None, text: str) -> None:
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def _comment(pull_request: str, body: Path) -> None:
    """Write the comment, or edit the one that this token wrote last. A failure is shown and changes no exit code."""
    program = shutil.which("gh")
    if program is None:
        sys.stderr.write("::warning::the GitHub CLI (gh) is not installed, so there is no comment\n")
        return
    command = [program, "pr", "comment", pull_request, "--body-file", str(body), "--edit-last", "--create-if-none"]
    if subprocess.run(command, check=False).returncode != 0:
        sys.stderr.write("::warning::the comment was not written; does the token have `pull-requests: write`?\n")


def main() -> int:
    """The step, with its errors as GitHub shows them."""
    try:
        return step(os.environ)
    except HoldfastError as error:
        message = str(error).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        sys.stderr.write(f"::error::{message}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
