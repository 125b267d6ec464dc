"""The section about safety in a model card: a README.md, whose front matter and other text stay as they are."""

from __future__ import annotations

import re

from holdfast.core.audit_record import AuditRecord, Decision
from holdfast.core.errors import DataError
from holdfast.report import summary
from holdfast.report.markdown import code, table, text

BEGIN = "<!-- holdfast:begin -->"
END = "<!-- holdfast:end -->"
"""The lines around our section, by which it is found and replaced."""


def section(record: AuditRecord, decision: Decision) -> str:
    """The section of one audit and the decision on it, with its markers."""
    parts = [
        "## Safety after fine-tuning",
        f"Measured with Holdfast {text(record.holdfast)} on {text(record.date)}: the tuned model and its base were "
        "asked the same prompts in the same way.",
        *summary.decided(decision),
        *summary.figures(record),
        *summary.checks(decision),
        *summary.unseen([decision], record),
        *_proof(record),
    ]
    return "\n\n".join([BEGIN, *parts, END]) + "\n"


def _proof(record: AuditRecord) -> list[str]:
    """What ran, so that a reader can run it again."""
    proof = record.proof
    rows = [
        ("base", f"{code(proof.base.name)}, fingerprint {code(proof.base.fingerprint)}"),
        ("tuned", f"{code(proof.tuned.name)}, fingerprint {code(proof.tuned.fingerprint)}"),
        *(
            (text(name), f"{text(one.benchmark)}, {one.n_prompts:,} prompts, {code(one.key)}; judged by "
             + ", ".join(code(judge) for judge in one.judges))
            for name, one in proof.evaluation.sets.items()
        ),
        ("seeds and samples", f"{len(record.seeds)} and {record.samples}"),
    ]  # fmt: skip
    return ["### What ran", table(("", "what it is"), rows)]


def updated(card: str, new: str) -> str:
    """A model card with our section in the place of the earlier one, or at its end. All else stays to the letter.

    Raises:
        DataError: only one of the two markers is there, or one is there more than once.
    """
    begins, ends = (list(re.finditer(rf"^{mark}[ \t]*\r?$\n?", card, re.MULTILINE)) for mark in (BEGIN, END))
    if not begins and not ends:
        body = card.rstrip("\n")
        return f"{body}\n\n{new}" if body else new
    if (len(begins), len(ends)) != (1, 1) or begins[0].start() > ends[0].start():
        raise DataError(
            f"the model card has {len(begins)} lines {BEGIN} and {len(ends)} lines {END}, where one of each, "
            "in this order, was expected. Remove them and what stands between them; the section is then "
            "put at the card's end."
        )
    return card[: begins[0].start()] + new + card[ends[0].end() :]
