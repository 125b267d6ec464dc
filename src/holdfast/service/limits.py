"""How often a key may ask, and how many requests may wait."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

MOST_BUCKETS = 10_000
"""Keys whose buckets are remembered; the one that asked longest ago is forgotten first."""


@dataclass
class _Bucket:
    tokens: float
    at: float


@dataclass(frozen=True)
class Taken:
    """What a key has left."""

    limit: int
    remaining: int
    retry_after: float | None
    """Seconds after which the next request is allowed; None where this one is."""


class Rates:
    """A token bucket for each key: it holds a minute's requests, and fills evenly."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> Taken:
        """Take one request from a key's bucket."""
        now, each = time.monotonic(), self.per_minute / 60
        with self._lock:
            bucket = self._buckets.setdefault(key, _Bucket(self.per_minute, now))
            self._buckets.move_to_end(key)
            if len(self._buckets) > MOST_BUCKETS:
                self._buckets.popitem(last=False)
            bucket.tokens = min(self.per_minute, bucket.tokens + (now - bucket.at) * each)
            bucket.at = now
            if bucket.tokens < 1:
                return Taken(self.per_minute, 0, (1 - bucket.tokens) / each)
            bucket.tokens -= 1
            return Taken(self.per_minute, int(bucket.tokens), None)
