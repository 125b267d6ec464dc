"""Audits as `holdfast audit` would record them, with names of our choice."""

from dataclasses import replace

from holdfast.core.audit_record import (
    AUDIT_SCHEMA,
    AuditedModel,
    AuditRecord,
    Check,
    Decision,
    FigureChange,
    NoiseFloor,
    Proof,
)
from holdfast.core.results import Caution
from holdfast.core.run_facts import Evaluation, MeasuredSet
from holdfast.core.types import Estimate


def estimate(value, low, high, n=330):
    bounds = (0.0, 100.0) if value is None else (value, value)
    return Estimate(value, low, high, n, 0, *bounds, "Wilson", "prompts")


def check(name="harmfulness_rate", answer="pass", metric="harmfulness_rate", needed=True, **changes):
    made = Check(name, metric, 3.0, 0.3, -0.5, 1.4, answer, needed, f"{name}: the reason for {answer}.")
    return replace(made, **changes)


def decision(answer="pass", checks=None, condition="tuned", sentence="It may ship.", reasons=()):
    checks = [check(answer=answer)] if checks is None else checks
    return Decision(answer, sentence, tuple(reasons), tuple(checks), {"alpha": 0.05, "rate": 3.0}, condition)


def model(name, stand_in=False):
    return AuditedModel(name, "weights", "0123456789abcdef", {}, "Llama", "", None, stand_in)


def record(decided=None, benchmark="JailbreakBench", base="base", tuned="tuned", cautions=(), stand_in=False):
    decided = decided or decision()
    figures = (
        FigureChange("harmfulness_rate", estimate(0.6, 0.2, 2.2), estimate(1.2, 0.5, 3.1), 0.6, -0.4, 1.6, "prompts", 330, False),
        FigureChange("harmfulness_score", estimate(1.03, 1.01, 1.2), estimate(1.1, 1.0, 1.3), 0.07, 0.01, 0.2, "prompts", 330, True),
        FigureChange("utility", estimate(97.0, 94.0, 98.5, 220), estimate(None, None, None, 0), None, None, None, "prompts", 0, False),
    )  # fmt: skip
    evaluation = Evaluation(
        {"harmfulness": MeasuredSet(benchmark, 100, "k" * 16, ("policy-12ab34cd",))}, ("hex",), {}, {}, {}
    )
    proof = Proof(model(base, stand_in), model(tuned, stand_in), "", 1.5, (), evaluation, {"python": "3.12"})
    return AuditRecord(
        AUDIT_SCHEMA, "0.1.0", "2026-11-28", "audit", decided, figures, {"harmful": 3, "safe": 1}, (), (), {}, {},
        NoiseFloor((), None, None, 0, 0, 0), (), (), {"harmfulness_rate": 2.4}, proof, (0,), 1,
        tuple(Caution("few-prompts", None, one) for one in cautions), 0.0,
    )  # fmt: skip
