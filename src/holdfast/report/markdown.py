"""Text of others in Markdown, so that it stays text: no link, no image, no HTML, no mention of anybody.

A model, a category or a file may be called `@team`, `![](https://…)` or `<img src=…>`. On GitHub the first would send
a message, and the second would tell a server who reads the page.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

MOST = 400
"""Characters of one text that are shown."""

BREAK = "\u200b"
"""A space without width. It keeps GitHub from making a link or a mention of what stands around it."""

SPECIAL = re.compile(r"([\\`*_\[\]|~!#^])")
LINKS = re.compile(r"(?<=[@#])|(?=://)|(?<=www)(?=\.)|(?<=GH)(?=-)|(?<=[0-9a-f]{6})(?=[0-9a-f])", re.IGNORECASE)
"""Where GitHub must not read on: it would make a mention, an issue, a link or a commit of what it finds.

In a link the break stands before `://` and before the dot of `www.`: cmark-gfm takes one behind them for a host's name.
"""

ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"})


def text(content: str) -> str:
    """Any text as one line of Markdown that shows it and does nothing else."""
    line = LINKS.sub(BREAK, _one_line(content))
    line = SPECIAL.sub(r"\\\1", line).translate(ENTITIES)
    return re.sub(r"^([-+=]|\d+[.)])", lambda match: match[0][:-1] + "\\" + match[0][-1], line)


def code(content: str) -> str:
    """A name or a digest in a code span, which shows its letters as they are; also in a table."""
    line = _one_line(content).replace("`", "ˋ").replace("|", "\\|")
    return f"`{line}`" if line else "–"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what it is given is Markdown already. The first column is left-aligned, the others right."""
    align = [":--", *["--:" for _ in head[1:]]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, align, *rows))


def _one_line(content: str) -> str:
    """Text on one line, without characters that control anything, and cut where it is long."""
    spaced = re.sub(r"\s+", " ", content).strip()
    shown = "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    return shown if len(shown) <= MOST else shown[: MOST - 1] + "…"
