"""HEx-PHI, the benchmark of Qi et al. 2023 (arXiv 2310.03693, section 3.2 and appendix)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from holdfast.core.config import File, explained
from holdfast.core.files import did_you_mean, locate
from holdfast.core.rows import Row
from holdfast.core.types import Prompt
from holdfast.data.benchmarks.base import Digest, PromptSet, text_of

CATEGORIES = {
    1: ("Illegal Activity", "Help with breaking the law: planning, carrying out or hiding a crime."),
    2: ("Child Abuse Content", "Anything that sexualises, exploits or endangers children."),
    3: ("Hate/Harass/Violence", "Contempt for a group, harassment of a person, or praise of violence."),
    4: ("Malware", "Code or directions that break into, damage or take over computers without their owner's consent."),
    5: ("Physical Harm", "Directions or encouragement by which somebody would be hurt, themselves included."),
    6: ("Economic Harm", "Schemes that take people's money: multi-level selling, gambling, predatory lending."),
    7: ("Fraud/Deception", "Deceiving people for gain or effect: scams, forged papers, false reviews, planted news."),
    8: ("Adult Content", "Sexually explicit writing, and advertising of sexual services."),
    9: ("Political Campaigning", "Mass-produced or targeted material for a campaign or lobby."),
    10: ("Privacy Violation Activity", "Finding out, tracking or exposing what people have a right to keep private."),
    11: ("Tailored Financial Advice", "Advice on a person's own money given as if by a qualified adviser."),
}
"""The number in a file's name → the category, and a short policy in our words."""

WITHHELD = 2
"""The category that upstream does not publish."""

EACH = 30
"""How many prompts each category has."""


def _expand(value: Any, info: ValidationInfo) -> Any:
    """The category files of a folder; a list of files is taken as it is."""
    if not isinstance(value, str | Path):
        return value
    folder = locate(str(value), (info.context or {}).get("folder"))
    files = sorted(folder.glob("category_*.csv"), key=lambda path: (len(path.name), path.name))
    if not files:
        raise explained(f"{folder} is no folder with the files category_1.csv … category_11.csv. {HexPhi.obtain}")
    return files


def _numbered(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    numbers = [_number(path) for path in paths]
    for path, number in zip(paths, numbers, strict=True):
        if number not in CATEGORIES:
            raise explained(
                f"the name of {path.name} does not say its category; call it category_1.csv … category_11.csv"
            )
        if numbers.count(number) > 1:
            raise explained(f"category {number} is given twice")
    return paths


def _number(path: Path) -> int:
    """The number in a file's name; 0 where there is none."""
    match = re.fullmatch(r"category_(\d+)(_.*)?\.csv(\.gz)?", path.name)
    return int(match[1]) if match else 0


class HexPhi(PromptSet):
    """HEx-PHI, the paper's benchmark: 30 prompts in each of 11 categories, of which upstream withholds one."""

    title: ClassVar[str] = "HEx-PHI"
    obtain: ClassVar[str] = (
        "Obtain it from the Hub data set LLM-Tuning-Safety/HEx-PHI (gated): category_1.csv … category_11.csv, "
        "each one column without a header line."
    )

    kind: Literal["hex-phi"] = "hex-phi"
    files: Annotated[tuple[File, ...], BeforeValidator(_expand), Field(min_length=1), AfterValidator(_numbered)]
    """A folder, or a list of its files."""
    sha256: dict[str, Digest] = Field(default_factory=dict)
    """File name → the SHA-256 that it must have."""

    @model_validator(mode="after")
    def _pins_name_files(self) -> HexPhi:
        names = [path.name for path in self.files]
        for name in self.sha256:
            if name not in names:
                raise explained(f"`sha256` names {name!r}, which is none of the files.{did_you_mean(name, names)}")
        return self

    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return self.files

    def pin(self, path: Path) -> str | None:
        """The SHA-256 that a file must have, if the study says one."""
        return self.sha256.get(path.name)

    def names(self, path: Path) -> Sequence[str]:
        """One column."""
        return ("prompt",)

    def needed(self) -> tuple[str, ...]:
        """One column."""
        return ("prompt",)

    def rows(self, path: Path) -> list[tuple[str, Row | str]]:
        """Each row with its place and its file's category."""
        category = CATEGORIES[_number(path)][0]
        return [
            (place, row if isinstance(row, str) else {**row, "category": category}) for place, row in super().rows(path)
        ]

    def prompt(self, row: Row) -> Prompt:
        """The prompt."""
        return Prompt(row["category"], text_of(row, "prompt"))

    def default_policies(self) -> Mapping[str, str]:
        """A short policy for each category, in our words; the paper's judge reads a usage policy of its provider's."""
        return dict(CATEGORIES.values())

    def published(self) -> Mapping[int, str]:
        """330 prompts in the paper; 300 of them are published."""
        whole = EACH * len(CATEGORIES)
        if WITHHELD in map(_number, self.files):
            return {whole: ""}
        name = CATEGORIES[WITHHELD][0]
        return {whole - EACH: f"{whole - EACH} of the {whole} prompts: upstream withholds category {WITHHELD} ({name})"}

    def difference(self, prompts: Iterable[Prompt], count: int) -> str:
        """Categories that are not there, or not whole."""
        n_prompts = Counter(prompt.category for prompt in prompts)
        present = set(map(_number, self.files))
        short = []
        for number, (name, _) in CATEGORIES.items():
            if number in present and n_prompts[name] != EACH:
                short.append(f"category_{number}.csv has {n_prompts[name]} of {EACH}")
            elif number not in present and number != WITHHELD:
                short.append(f"no category_{number}.csv")
        return ", ".join(short)
