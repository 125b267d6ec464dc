"""Logs as JSON lines, and metrics. Neither holds a prompt, an answer, the name of a file, or a key."""

from __future__ import annotations

import json
import logging
import time
import traceback
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LOG = logging.getLogger("holdfast.service")


class JsonLines(logging.Formatter):
    """A record as a line of JSON. Of an exception it has the kind and the place: its message may quote a prompt."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {"time": f"{at}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        facts = getattr(record, "facts", None)
        # a message of another package may quote a request, so only its form is kept
        line["event"] = record.getMessage() if record.name == LOG.name else str(record.msg)[:300]
        if record.name != LOG.name:
            line["logger"] = record.name
        if facts:
            line.update(facts)
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = where(record.exc_info[1])
        return json.dumps(line, ensure_ascii=True, default=str)


def where(error: BaseException) -> dict[str, Any]:
    """The kind of an exception and the places that it came through, without its message."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return {"kind": type(error).__name__, "at": [f"{frame.filename}:{frame.lineno}" for frame in frames]}


def log(event: str, level: int = logging.INFO, error: BaseException | None = None, **facts: Any) -> None:
    """Write one line."""
    if error is not None:
        facts["exception"] = where(error)
    LOG.log(level, event, extra={"facts": facts})


def write_json_logs() -> None:
    """Have this process log JSON lines to standard error, uvicorn's own included."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOG.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True


class Metrics:
    """What Prometheus reads of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "holdfast_requests", "Requests that were answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "holdfast_request_seconds", "Seconds until a request was answered whole.", ["route"],
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60), registry=self.registry,
        )  # fmt: skip
        self.under_way = Gauge("holdfast_requests_under_way", "Requests under way.", registry=self.registry)
        self.tokens = Counter(
            "holdfast_tokens", "Tokens of chat completions.", ["model", "kind"], registry=self.registry
        )
        self.uploaded = Counter("holdfast_uploaded_bytes", "Bytes of files that were kept.", registry=self.registry)
        self.jobs = Gauge("holdfast_jobs", "Fine-tuning jobs.", ["status"], registry=self.registry)
        self.batches = Gauge("holdfast_batches", "Batches.", ["status"], registry=self.registry)
