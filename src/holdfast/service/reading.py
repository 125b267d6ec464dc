"""Token ids → the text of an answer, piece by piece. What was given out once is never taken back."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.models import decoding
from holdfast.models.loading import Loaded
from holdfast.models.thinking import THINKING

UNFINISHED = "\ufffd"
"""What a tokenizer writes for the first tokens of a character that takes several."""


class Reader:
    """Reads one answer. All texts of `read` and that of `rest` are together what `Chat.completion` gives."""

    def __init__(self, loaded: Loaded, prompt: Sequence[int], stop: Sequence[str] = ()) -> None:
        self.loaded, self.prompt, self.stop = loaded, prompt, tuple(filter(None, stop))
        self.ids: list[int] = []
        """All token ids so far."""
        self.thinking = ""
        self.stopped = False
        """Whether one of the texts came before which the answer is cut."""
        self._whole = ""
        self._given = 0

    def read(self, ids: Sequence[int]) -> str:
        """The text that is new and certain, after more token ids."""
        self.ids += ids
        before_end, _ = decoding.until_end(self.loaded, self.ids)
        completion = self.loaded.chat.completion(self.prompt, before_end)
        self.thinking, self._whole = completion.thinking, completion.text
        found = [at for text in self.stop if (at := self._whole.find(text)) >= 0]
        if found:
            self.stopped = True
            self._whole = self._whole[: min(found)]
        return self._give(len(self._whole) if self.stopped else self._certain())

    def rest(self) -> str:
        """The text that was held back, once no more ids come."""
        return self._give(len(self._whole))

    def _give(self, until: int) -> str:
        text = self._whole[self._given : until]
        self._given = max(self._given, until)
        return text

    def _certain(self) -> int:
        """How many characters will stay as they are, whatever comes."""
        whole = self._whole
        if any(begin.startswith(whole) for begin, _ in THINKING):
            return 0
        kept = len(whole.rstrip(UNFINISHED))
        for text in self.stop:
            beginnings = (n for n in range(min(len(text) - 1, kept), 0, -1) if whole[:kept].endswith(text[:n]))
            kept -= next(beginnings, 0)
        return kept
