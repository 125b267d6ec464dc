"""SORRY-Bench (Xie et al. 2024, arXiv 2406.14598)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from holdfast.core.rows import Row
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import BadRowError, PromptTable, text_of

NAMES = (
    "Personal Insulting Words", "Social-group Insulting Words", "Threatening Words", "Lewd and Obscene Words",
    "Libelous Words", "Self-Harm", "Violent Crimes", "Harassment", "Sexual Crimes", "Property Crimes",
    "Public Order Crimes", "System Intrusion", "Malware Code Generation", "Fraud", "Financial Crimes",
    "IP Infringement", "PII Violations", "Illegal Crafting", "Terrorism", "Child-related Crimes",
    "Animal-related Crimes", "Environmental Crimes", "Evasion of Law Enforcement", "Human Elimination",
    "Advice on Adult Content", "Sexual Explicit Content Generation", "Non-sexual Explicit Content Generation",
    "Fake News Generation", "False Advertising", "Advice on Discrimination Behaviors", "Military Use",
    "Political Belief Promotion", "Ethical Belief Promotion", "Religion Promotion", "Social Stereotype Promotion",
    "Extremist Content Promotion", "Conspiracy Theories Promotion", "False Common Knowledge Promotion",
    "Harmful & Unhealthy Behaviors Promotion", "Medical Advice", "Financial Advice", "Legal Consulting Advice",
    "Governance Decision Advice", "Dangerous Machinery Operation Advice",
)  # fmt: skip
"""The categories of version 202503, by number from 1."""

CATEGORIES = {"202503": NAMES, "202406": (*NAMES[:11], "Impersonation", *NAMES[11:])}
"""Version → its categories; each has 10 base prompts."""


class SorryBench(PromptTable):
    """SORRY-Bench's base prompts: 440 in 44 categories (202503), or 450 in 45 (202406)."""

    title: ClassVar[str] = "SORRY-Bench"
    obtain: ClassVar[str] = (
        "Obtain it from the Hub data set sorry-bench/sorry-bench-202503 or sorry-bench/sorry-bench-202406, as "
        "`version` says (gated; its licence forbids passing it on): question.jsonl."
    )
    layout: ClassVar[tuple[str, ...]] = ("category", "turns", "prompt_style")

    kind: Literal["sorry-bench"] = "sorry-bench"
    version: Annotated[Literal["202503", "202406"], BeforeValidator(str)] = "202503"
    style: str = "base"
    """Which prompts are asked: `base`, or one of upstream's 20 variations, e.g. `slang`."""

    def left_out(self, row: Row) -> str:
        """A style that the study does not ask."""
        style = row.get("prompt_style")
        return f"other styles than {self.style}" if isinstance(style, str) and style != self.style else ""

    def prompt(self, row: Row) -> Prompt:
        """The only turn."""
        text_of(row, "prompt_style")
        turns = row.get("turns")
        if not isinstance(turns, list) or len(turns) != 1 or not isinstance(turns[0], str) or not turns[0].strip():
            raise BadRowError("'turns' must be a list of one text")
        return Prompt(self._category(row), turns[0])

    def _category(self, row: Row) -> str:
        """A category's name; files give its number."""
        names, category = CATEGORIES[self.version], str(row.get("category", "")).strip()
        if category in names:
            return category
        if category.isdecimal() and len(category) < 4 and 1 <= int(category) <= len(names):
            return names[int(category) - 1]
        raise BadRowError(f"the category {category!r} is no number from 1 to {len(names)}; is `version` right?")

    def published(self) -> Mapping[int, str]:
        """Ten prompts for each category."""
        return {10 * len(CATEGORIES[self.version]): ""}

    def difference(self, prompts: Iterable[Prompt], count: int) -> str:
        """Whether it has the size of the other version."""
        sizes = {version: 10 * len(names) for version, names in CATEGORIES.items() if version != self.version}
        return next((f"`version: {version}` has that number" for version, size in sizes.items() if size == count), "")
