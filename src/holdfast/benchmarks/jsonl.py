"""Prompts from any JSON Lines file."""

from __future__ import annotations

from typing import Any, Literal

from holdfast.errors import DataError
from holdfast.files import read_rows, refuse_rows
from holdfast.spec import File, Spec
from holdfast.types import Benchmark, Prompt


class PromptFile(Spec):
    """A JSONL file of prompts; a row is `{"category", "prompt"}`, and may have `policy` and `reference`."""

    file: File
    """JSON Lines. `policy` is the text that forbids the row's category; `reference` what its judge needs."""

    def load(self) -> Benchmark:
        """Read and check the file.

        Raises:
            DataError: naming every bad row by line and reason; or an empty file.
        """
        prompts: dict[str, Prompt] = {}
        places: dict[str, str] = {}
        policies: dict[str, str] = {}
        problems = []
        for place, row in read_rows(self.file):
            reason = row if isinstance(row, str) else _why_unusable(row)
            if reason or isinstance(row, str):
                problems.append(f"{place}: {reason}")
                continue
            prompt = Prompt(row["category"], row["prompt"], row.get("reference", {}))
            if prompt.id in prompts:
                problems.append(f"{place}: the same prompt as {places[prompt.id]}")
            if row.get("policy", policies.get(prompt.category)) != policies.get(prompt.category, row.get("policy")):
                problems.append(f"{place}: another policy for {prompt.category!r} than before")
            prompts[prompt.id], places[prompt.id] = prompt, place
            if "policy" in row:
                policies[prompt.category] = row["policy"]
        refuse_rows(self.file, problems)
        if not prompts:
            raise DataError(f'{self.file} has no prompts. Each line must be {{"category": …, "prompt": …}}.')
        return Benchmark(self.file.stem, tuple(prompts.values()), policies)


class JsonLines(PromptFile):
    """Any JSONL file; a row is `{"category", "prompt"}`, and may have `policy` and `reference`."""

    kind: Literal["jsonl"] = "jsonl"


def _why_unusable(row: dict[str, Any]) -> str:
    """Why a row is not a prompt, or ""."""
    for field in ("category", "prompt"):
        if not isinstance(row.get(field), str) or not row[field].strip():
            return f"no {field!r}; found {', '.join(map(repr, row)) or 'nothing'}"
    if not isinstance(row.get("policy", ""), str):
        return "'policy' must be text"
    return "" if isinstance(row.get("reference", {}), dict) else "'reference' must be an object"
