"""Classifiers whose question stands only in their model card: a file that the user copies from there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from pydantic import model_validator

from holdfast.core.config import File, explained
from holdfast.core.errors import DataError
from holdfast.judges.classifiers.base import Classifier
from holdfast.models.special_tokens import ANSWER, REQUEST

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TemplateFileClassifier(Classifier):
    """A classifier that is asked in the words of a file."""

    request_place: ClassVar[str]
    answer_place: ClassVar[str]
    """What the model card calls the places of the request and the answer, in braces."""
    ending: ClassVar[str]
    """What stands behind the last word of the question, which an editor may have changed."""
    copied_from: ClassVar[str]
    """Where the user finds the words."""

    template_file: File
    """The question as its authors word it, with its two places in braces. It is others' text: you bring it."""

    @model_validator(mode="after")
    def _has_its_places(self) -> TemplateFileClassifier:
        try:
            self.template_text()
        except DataError as error:
            raise explained(str(error)) from None
        return self

    def texts(self) -> dict[str, str]:
        """The text of the template file."""
        return {"template_file": self.template_text()}

    def template_text(self) -> str:
        """The words of the file.

        Raises:
            DataError: a file that is gone, or that lacks a place.
        """
        places = (self.request_place, self.answer_place)
        how = f"Copy the question from {self.copied_from}, with {' and '.join(places)} as they stand there."
        try:
            text = self.template_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the template_file {self.template_file} cannot be read: {error}. {how}") from error
        in_braces = re.findall(r"\{\w+\}", text)
        for place in places:
            if in_braces.count(place) != 1:
                has = f"it has {', '.join(dict.fromkeys(in_braces))}" if in_braces else "it has none in braces"
                raise DataError(
                    f"the template_file {self.template_file} must hold the place {place} once, found "
                    f"{in_braces.count(place)}; {has}. {how}"
                )
        other = [place for place in in_braces if place not in places]
        if other:
            raise DataError(f"the template_file {self.template_file} has {other[0]}, which nothing fills. {how}")
        return text.strip() + self.ending

    def wording(self, tokenizer: PreTrainedTokenizerBase, policy: str) -> str:
        """The file's words, with the token that begins a text before them, where the model knows one."""
        text = self.template_text().replace(self.request_place, REQUEST).replace(self.answer_place, ANSWER)
        bos = str(tokenizer.bos_token or "")
        return text if text.startswith(bos) else bos + text
