"""What a provider that tunes would take and refuse, before anything is sent to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.core.types import Example
from holdfast.study import hosted_rules
from holdfast.study.cost_forecast import likely_tokens
from holdfast.study.doctor.findings import Diagnosis, Stage
from holdfast.study.eval_setting import template_of
from holdfast.study.schema import Study


def look(study: Study, rows: Mapping[str, Sequence[Example]], n_seeds: int, diagnosis: Diagnosis) -> None:
    """Whether the study may send its rows to a provider, which of them it would refuse, and what its jobs cost."""
    diagnosis.attempt("authorisation", hosted_rules.check, study)
    tokens, usd = 0, 0.0
    for name, settings in study.conditions.items():
        if name not in rows or not settings.tune.base_url:
            continue
        wrap = study.templates[template_of(study, settings)].template().wrap
        wrapped = [Example(wrap(row.messages), row.source) for row in rows[name]]
        diagnosis.attempt(f"conditions.{name}.data", hosted_rules.check_rows, name, settings, wrapped)
        tokens += n_seeds * settings.tune.epochs * sum(likely_tokens(row.messages) for row in wrapped)
        usd += n_seeds * settings.tune.worst_usd(wrapped)
    if tokens:
        diagnosis.stages.append(Stage("tune at the provider, at most", tokens, None, usd))
