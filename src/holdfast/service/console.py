"""What the console page shows: jobs with their loss and decision, uploads, keys, as plain data for the templates."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from holdfast.core.progress import clock
from holdfast.report import layout
from holdfast.report.page import TEMPLATES as OF_REPORTS
from holdfast.service.database import ENDED, Event, File, Job, Key, Model

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from holdfast.service.keys import Caller
    from holdfast.service.policy import ServicePolicy

TEMPLATES = Path(__file__).parent / "templates"

SHOWN = 50
"""Jobs, uploads and keys that are shown; the API lists all."""
POINTS = 300
"""Steps that a loss curve shows at most."""

STATES = {
    "succeeded": ("pass", "pass"), "failed": ("fail", "fail"), "cancelled": ("unknown", "other"),
    "paused": ("unknown", "other"), "running": ("pass", "level"), "queued": ("unknown", "level"),
    "validating_files": ("unknown", "level"),
}  # fmt: skip
"""Status of a job → its state and icon in the design of the reports."""
RELEASE = {"released": ("pass", "pass"), "refused": ("fail", "fail"), "held": ("unknown", "other")}
"""State of a model → its state and icon."""


@dataclass(frozen=True)
class Curve:
    """A loss curve as an SVG path, in a box of 100 by 30."""

    path: str
    label: str
    """What it shows, in words."""
    first: str
    last: str


@dataclass(frozen=True)
class JobView:
    """One job as the page shows it."""

    job: Job
    owner: str
    """The name of its key."""
    word: str
    state: str
    icon: str
    percent: int
    """Of its steps."""
    step: str
    left: str
    """The time left, as far as it can be told."""
    curve: Curve | None
    why: str
    """Why it ended so: what was decided, or what went wrong."""

    @property
    def is_open(self) -> bool:
        """Whether it can still be cancelled."""
        return self.job.status not in ENDED


@dataclass(frozen=True)
class Page:
    """All that the page shows."""

    policy: ServicePolicy
    caller: Caller | None
    counts: Mapping[str, int] = field(default_factory=dict)
    """Status → how many jobs."""
    jobs: Sequence[JobView] = ()
    files: Sequence[tuple[File, str]] = ()
    """Uploads, each with the name of its key."""
    keys: Sequence[Key] = ()
    models: Sequence[Model] = ()
    """Of the one job that is shown."""
    events: Sequence[Event] = ()
    """Of the one job that is shown, the newest first; steps are left out."""

    @property
    def may_operate(self) -> bool:
        """Whether there are buttons."""
        return self.caller is not None and self.caller.sees_all

    @property
    def is_moving(self) -> bool:
        """Whether something on the page changes by itself."""
        return any(view.is_open for view in self.jobs)


def overview(session: Session, policy: ServicePolicy, caller: Caller | None) -> Page:
    """What the caller may see; without a key, only what `/metrics` tells too."""
    counted = select(Job.status, func.count()).group_by(Job.status)
    if caller is None:
        return Page(policy, None, {row[0]: row[1] for row in session.execute(counted)})
    mine = [] if caller.sees_all else [Job.owner == caller.id]
    counts = {row[0]: row[1] for row in session.execute(counted.where(*mine))}
    names = {row[0]: row[1] for row in session.execute(select(Key.id, Key.name))}
    found = session.scalars(select(Job).where(*mine).order_by(Job.number.desc()).limit(SHOWN)).all()
    owned = [] if caller.sees_all else [File.owner == caller.id]
    files = session.scalars(select(File).where(*owned).order_by(File.number.desc()).limit(SHOWN))
    known = [] if caller.sees_all else [Key.id == caller.id]
    return Page(
        policy, caller, counts, [view_of(session, job, names) for job in found],
        [(file, names.get(file.owner, "")) for file in files],
        session.scalars(select(Key).where(*known).order_by(Key.number.desc()).limit(SHOWN)).all(),
    )  # fmt: skip


def one_job(session: Session, policy: ServicePolicy, caller: Caller, job: Job) -> Page:
    """A job with its models and events."""
    names = {row[0]: row[1] for row in session.execute(select(Key.id, Key.name))}
    events = select(Event).where(Event.job_id == job.id, Event.type == "message")
    return Page(
        policy, caller, jobs=[view_of(session, job, names)],
        models=session.scalars(select(Model).where(Model.job_id == job.id).order_by(Model.number.desc())).all(),
        events=session.scalars(events.order_by(Event.number.desc()).limit(SHOWN)).all(),
    )  # fmt: skip


def view_of(session: Session, job: Job, names: Mapping[str, str]) -> JobView:
    """A job as the page shows it."""
    steps = select(Event.data).where(Event.job_id == job.id, Event.type == "metrics").order_by(Event.number)
    by_step = {each["step"]: each for each in session.scalars(steps) if "train_loss" in each}
    data = [by_step[step] for step in sorted(by_step)]
    done, total = (data[-1]["step"], data[-1].get("total_steps") or data[-1]["step"]) if data else (0, 0)
    state, icon = STATES.get(job.status, ("unknown", "other"))
    left = ""
    if job.estimated_finish and job.status == "running" and done < total:
        left = f"{clock(max(0.0, job.estimated_finish - time.time()))} left"
    elif job.status == "running" and done == total and total:
        left = "being checked"
    why = str(job.error.get("message") or job.decision.get("message") or "")
    percent = round(100 * done / total) if total else 0
    step = f"{done:,} of {total:,} steps" if total else ""
    word = job.status.replace("_", " ")
    return JobView(job, names.get(job.owner, ""), word, state, icon, percent, step, left, curve_of(data), why)


def curve_of(data: Sequence[Mapping[str, Any]]) -> Curve | None:
    """The losses of a job's steps; None before there are two."""
    if len(data) < 2:
        return None
    thinned = data[:: max(1, len(data) // POINTS)]
    losses, last = [float(each["train_loss"]) for each in thinned], int(thinned[-1]["step"]) or 1
    high, low = max(losses), min(0.0, *losses)
    places = [
        f"{100 * each['step'] / last:.1f} {29 - 28 * (loss - low) / ((high - low) or 1):.1f}"
        for each, loss in zip(thinned, losses, strict=True)
    ]
    label = f"Training loss from {losses[0]:.3f} at the first step to {losses[-1]:.3f} at step {last:,}"
    return Curve("M" + "L".join(places), label, f"{losses[0]:.2f}", f"{losses[-1]:.2f}")


def when(seconds: int | None) -> str:
    """A time in UTC; a dash for none."""
    return "–" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def amount(n_bytes: int) -> str:
    """Bytes as people write them."""
    for unit in ("bytes", "KB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes = n_bytes / 1000  # type: ignore[assignment]
    return f"{n_bytes:.1f} GB"


@cache
def environment() -> Any:
    """Templates in the design of the reports; all text from outside is escaped, and made visible."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    made = Environment(
        loader=FileSystemLoader([TEMPLATES, OF_REPORTS]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_finalize,
    )  # fmt: skip
    made.globals.update(
        style=Markup((OF_REPORTS / "style.css").read_text(encoding="utf-8")),
        own_style=Markup((TEMPLATES / "console.css").read_text(encoding="utf-8")),
        script=Markup((TEMPLATES / "console.js").read_text(encoding="utf-8")),
        when=when, amount=amount, release=RELEASE,
    )  # fmt: skip
    return made


def _finalize(value: Any) -> Any:
    return layout.visible(value) if type(value) is str else value
