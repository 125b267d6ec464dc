"""Work that is one piece: what is told of it goes to the watcher of the whole."""

from __future__ import annotations

from holdfast.core.progress import Activity
from holdfast.core.protocols import Watcher


class OnePiece:
    """The watcher of work that is one piece, as that piece's progress."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher

    def advance(self, units: int) -> None:
        """Say that so many more units are done."""
        self.watcher.advance(units)

    def show(self, activity: Activity) -> None:
        """Say what is going on now."""
        self.watcher.show(0, activity)

    def note(self, text: str) -> None:
        """Say something that is worth a line."""
        self.watcher.note(text)
