"""Batches that are under way, as they are written down in the cache."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from holdfast.core.errors import ModelError
from holdfast.core.files import write_atomically

ID = re.compile(r"(?!\.+$)[A-Za-z0-9_.:=+@~-]{1,300}")
"""What an id of a provider, a name of a request or a ticket can be; it becomes part of an address."""


@dataclass(frozen=True)
class Order:
    """A batch as it is written down."""

    path: Path
    """Where it is written down; the file itself does not say so, and cannot name another."""
    file: str
    """The id of the file with its requests, which is known before the batch is ordered."""
    batch: str | None
    """Its id; None if the run was killed while it ordered the batch."""
    names: tuple[str, ...]
    """The names of its requests."""
    ticket: str
    """The reservation for it in the budget of the run that ordered it."""

    def write(self) -> None:
        """Write it down."""
        content = {"file": self.file, "batch": self.batch, "names": self.names, "ticket": self.ticket}
        write_atomically(self.path, json.dumps(content) + "\n")

    @classmethod
    def read(cls, path: Path) -> Order:
        """The batch that a file is about.

        Raises:
            ModelError: it is about none.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            file, batch, names, ticket = (content[name] for name in ("file", "batch", "names", "ticket"))
            ids = [file, *names, *([ticket] if ticket != "" else []), *([batch] if batch is not None else [])]
            if not all(map(ID.fullmatch, ids)):
                raise ValueError("an id is none")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ModelError(
                f"{path} should hold what is known of a batch that is under way, but cannot be read ({error}). If no "
                "batch of yours is under way, delete it; else take its replies from the provider first."
            ) from None
        return cls(path, file, batch, tuple(names), ticket)

    def delete(self) -> None:
        """Delete what was written down."""
        self.path.unlink(missing_ok=True)
