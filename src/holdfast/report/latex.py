"""Tables for LaTeX, with all text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "≤": r"$\leq$", "×": r"$\times$",
}  # fmt: skip


def text(content: str) -> str:
    """A text that LaTeX shows as it is."""
    return "".join(SPECIAL.get(character, character) for character in content)


def table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """A table (package: booktabs). The first column is left-aligned, the others right."""

    def row(cells: Sequence[str]) -> str:
        return " & ".join(map(text, cells)) + r" \\"

    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{text(title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            row(head),
            r"\midrule",
            *map(row, rows),
            r"\bottomrule",
            r"\end{tabular}",
            *map(text, notes),
            r"\end{table}",
            "",
        ]
    )
