"""Measure how much of an aligned language model's safety is lost when it is fine-tuned.

    import holdfast

    results = holdfast.run("demo")
    results.summary

Each name is imported when it is first used, so `import holdfast` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from holdfast.core.version import __version__ as __version__

if TYPE_CHECKING:
    from holdfast.api import calibrate, doctor, load_results, load_study, plan, reproduce, run
    from holdfast.audit.library import audit, gate
    from holdfast.audit.policy import Policy
    from holdfast.audit.run import Audited
    from holdfast.core.audit_record import AuditRecord, Check, Decision
    from holdfast.core.errors import (
        BudgetError,
        DataError,
        HoldfastError,
        JudgeError,
        ModelError,
        RenderError,
        RunFolderError,
        StudyError,
        TuningError,
        WorkError,
    )
    from holdfast.core.results import RunResults
    from holdfast.core.types import (
        Answer,
        Benchmark,
        Checkpoint,
        Comparison,
        Condition,
        Estimate,
        Example,
        Message,
        Prompt,
        Template,
        Verdict,
    )
    from holdfast.study.results.frames import Results
    from holdfast.study.schema import Study

__all__ = [
    "Answer",
    "AuditRecord",
    "Audited",
    "Benchmark",
    "BudgetError",
    "Check",
    "Checkpoint",
    "Comparison",
    "Condition",
    "DataError",
    "Decision",
    "Estimate",
    "Example",
    "HoldfastError",
    "JudgeError",
    "Message",
    "ModelError",
    "Policy",
    "Prompt",
    "RenderError",
    "Results",
    "RunFolderError",
    "RunResults",
    "Study",
    "StudyError",
    "Template",
    "TuningError",
    "Verdict",
    "WorkError",
    "audit",
    "calibrate",
    "doctor",
    "gate",
    "load_results",
    "load_study",
    "plan",
    "reproduce",
    "run",
]

MODULES = {
    "holdfast.core.errors": (
        "BudgetError", "DataError", "HoldfastError", "JudgeError", "ModelError", "RenderError", "RunFolderError",
        "StudyError", "TuningError", "WorkError",
    ),
    "holdfast.audit.library": ("gate",),
    "holdfast.audit.policy": ("Policy",),
    "holdfast.audit.run": ("Audited",),
    "holdfast.core.audit_record": ("AuditRecord", "Check", "Decision"),
    "holdfast.core.results": ("RunResults",),
    "holdfast.core.types": (
        "Answer", "Benchmark", "Checkpoint", "Comparison", "Condition", "Estimate", "Example", "Message", "Prompt",
        "Template", "Verdict",
    ),
    "holdfast.study.results.frames": ("Results",),
    "holdfast.study.schema": ("Study",),
}  # fmt: skip
"""Module → the names that are imported from it. All others are from `holdfast.api`."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    if name == "audit":  # also the name of a room, which can be called
        return import_module("holdfast.audit")
    home = next((module for module, names in MODULES.items() if name in names), "holdfast.api")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
