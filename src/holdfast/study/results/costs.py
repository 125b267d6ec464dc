"""What a run did cost, in US dollars."""

from __future__ import annotations

import math
from typing import Any

from holdfast.core.budget import FileLedger
from holdfast.core.config import label
from holdfast.core.run_folder import Store
from holdfast.study.cost_forecast import ANSWERS
from holdfast.study.plan import Plan


def spent(plan: Plan, store: Store, ledger: FileLedger) -> dict[str, Any]:
    """What a run's folder has cost: in all, for answers, and for each judge, with the verdicts that the cache had.

    `usd` is all that was booked in the folder, by earlier studies too. A judge's costs include its canaries and
    anchors.
    """
    booked = ledger.by_stage()
    judges: dict[str, Any] = {}
    keys = dict.fromkeys(condition.key for condition in plan.conditions)
    for set_name, measured in plan.suite.sets.items():
        for name in map(label, measured.judges):
            counts = judges.setdefault(name, {"usd": booked.get(name, 0.0), "verdicts": 0, "from_book": 0})
            for key in keys:
                verdicts = store.condition(key).verdicts(set_name, name).values()
                counts["verdicts"] += len(verdicts)
                counts["from_book"] += sum(verdict.from_book for verdict in verdicts)
    return {"usd": math.fsum(booked.values()), ANSWERS: booked.get(ANSWERS, 0.0), "judges": judges}
