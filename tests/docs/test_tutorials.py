"""Each tutorial runs from its own text, and prints what it shows."""

from pathlib import Path

import pytest
from support.tutorials import Command, agrees, parts, run

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ["index", "law", *sorted(f"tutorials/{path.stem}" for path in (DOCS / "tutorials").glob("*.md"))]
RUN = [page for page in PAGES if "```console" in (DOCS / f"{page}.md").read_text()]


def test_every_tutorial_has_commands_and_shows_what_they_print():
    assert len(RUN) >= 8
    for page in RUN:
        commands = [part for part in parts((DOCS / f"{page}.md").read_text()) if isinstance(part, Command)]
        assert any(command.shown.strip(".\n ") for command in commands), page


@pytest.mark.parametrize(
    ("shown", "printed", "agree"),
    [
        ("a\n...\nd", "a\nb\nc\nd\n", True), ("a\n...", "a\n", True), ("...\nrate 4... %", "x\nrate 47 %\n", True),
        ("a\nc", "a\nb\nc\n", False), ("rate 5... %", "rate 47 %\n", False), ("a\n...\nd", "a\nb\nc\n", False),
    ],
)  # fmt: skip
def test_what_is_shown_is_compared(shown, printed, agree):
    assert agrees(shown, printed) is agree


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory):
    """Answers of the base are asked once for all tutorials, as on a reader's machine."""
    return tmp_path_factory.mktemp("tutorials-cache")


@pytest.mark.long
@pytest.mark.parametrize("page", RUN)
def test_it_runs_and_prints_what_it_shows(page, tmp_path, shared_cache):
    for command, printed in run((DOCS / f"{page}.md").read_text(), tmp_path, shared_cache):
        assert agrees(command.shown, printed), f"$ {command.line}\n\nshown:\n{command.shown}\n\nprinted:\n{printed}"
