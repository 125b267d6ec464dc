"""What must be so before a study sends rows to a provider. All of it is checked before anything is uploaded."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.core.errors import DataError, StudyError
from holdfast.core.types import Example
from holdfast.models.hub import SERVED
from holdfast.study.eval_setting import eval_setting_of
from holdfast.study.schema import ConditionSettings, Study

WHY = (
    "Providers forbid such data unless they have agreed to it, and somebody must answer for sending them. Say by what "
    "right in one line of the study, e.g. `authorisation: agreed with the provider's safety team on …` (with `holdfast "
    "reproduce`: --authorisation TEXT). It is kept in the run's record. Nothing was uploaded."
)


def check(study: Study) -> None:
    """Refuse a study that would send attack data without saying by what right, or that a provider cannot do.

    Raises:
        StudyError: every such condition, and how to mend it.
    """
    hosted = {name: each for name, each in study.conditions.items() if each.data and each.tune.base_url}
    if not hosted:
        return
    if not study.model.startswith(SERVED):
        raise StudyError(
            f"`tune: {{kind: hosted}}` tunes a model that the provider has: write `model: {SERVED}NAME` with the "
            f"provider's name for it in place of {study.model!r}."
        )
    problems = [f"{name}: {why}" for name, each in hosted.items() if (why := _problem(study, each))]
    if problems:
        raise StudyError("this study cannot be tuned by a provider:\n  " + "\n  ".join(problems))
    attacks = {name: str(each.tune.base_url) for name, each in hosted.items() if each.data and each.data.attack}
    if attacks and not (study.authorisation or "").strip():
        places = ", ".join(dict.fromkeys(attacks.values()))
        raise StudyError(f"these conditions would send attack data to {places}: {', '.join(attacks)}. {WHY}")


def check_cap(study: Study, max_usd: float | None) -> None:
    """Refuse a cap that could not be kept, because nothing says what a provider charges.

    Raises:
        StudyError: naming what has no price.
    """
    hosted = [each for each in study.conditions.values() if each.data and each.tune.base_url]
    if max_usd is None or not hosted:
        return
    asked = [eval_setting_of(study, each).generator(study) for each in hosted]
    unpriced = {
        "tune": "--tuning-price" if any("price" not in _given(each.tune) for each in hosted) else "",
        "generate": "--input-price and --output-price" if any("price" not in _given(each) for each in asked) else "",
    }
    if missing := [name for name, option in unpriced.items() if option]:
        options = ", ".join(unpriced[name] for name in missing)
        raise StudyError(
            f"a cap of ${max_usd:g} cannot be kept, because there is no `price` in {' and '.join(missing)}. Give the "
            f"prices of {hosted[0].tune.base_url}, or 0 where nothing is paid (with `holdfast reproduce`: {options})."
        )


def _given(settings: object) -> set[str]:
    """The names of the settings that somebody gave."""
    return set(getattr(settings, "model_fields_set", ()))


def _problem(study: Study, settings: ConditionSettings) -> str:
    """Why a condition cannot be tuned by a provider, or ""."""
    acting = [each.kind for each in settings.defence if each.places & {"base", "tuning", "weights"}]
    if acting:
        return f"the defence {acting[0]} acts on weights, and a provider lets nobody do that"
    if settings.then or settings.held_out:
        idle = "then" if settings.then else "held_out"
        return f"`{idle}` needs the weights on this machine, and a provider keeps them"
    generator = eval_setting_of(study, settings).generator(study)
    if generator.kind != "server":
        return (
            f"the weights stay with the provider, but `generate: {{kind: {generator.kind}}}` asks a model on this "
            f"machine; use `generate: {{kind: server, base_url: {settings.tune.base_url}}}`"
        )
    return ""


def check_rows(name: str, settings: ConditionSettings, rows: Sequence[Example]) -> None:
    """Refuse rows that a provider would refuse.

    Raises:
        DataError: naming the rows and why.
    """
    if problems := settings.tune.row_faults(rows):
        listed = "\n  ".join(problems)
        raise DataError(
            f"{name}: {settings.tune.base_url} would refuse these rows, so nothing is uploaded:\n  {listed}"
        )
