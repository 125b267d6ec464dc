"""What all routes of one service share."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from holdfast.core.types import Checkpoint
from holdfast.service.asking import Engine
from holdfast.service.database import Database, Model
from holdfast.service.limits import Rates
from holdfast.service.logs import Metrics
from holdfast.service.policy import ServicePolicy
from holdfast.service.sessions import Sessions
from holdfast.service.store import FileStore


@dataclass
class Service:
    """What a service is made of."""

    database: Database
    store: FileStore
    folder: Path
    """Where tuned models lie, on this machine."""
    policy: ServicePolicy
    engine: Engine
    metrics: Metrics = field(default_factory=Metrics)
    rates: Rates = field(init=False)
    chats: asyncio.Semaphore = field(init=False)
    checks: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, 1))
    """One file at a time is checked: two at once would take twice the memory, and not half the time."""
    sessions: Sessions = field(default_factory=Sessions)
    """Of the console page."""
    waiting: int = 0
    """Chat completions that are answered or wait."""
    uploads: Counter[str] = field(default_factory=Counter)
    """Uploads under way, by the id of their key."""
    stopping: bool = False

    def __post_init__(self) -> None:
        """Make what the limits of the policy determine."""
        self.rates = Rates(self.policy.limits.requests_per_minute)
        self.chats = asyncio.Semaphore(self.policy.limits.concurrent_chats)

    def checkpoint(self, base: str, model: Model | None = None) -> Checkpoint:
        """A base of the policy, or a model that a job made of it."""
        of = self.policy.bases[base]
        folder = self.folder / model.folder if model else None
        return Checkpoint(of.model, of.revision, folder, thinking=of.thinking)
