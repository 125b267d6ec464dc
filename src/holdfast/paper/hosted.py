"""The paper on a model that a provider tunes and answers for: the preset's settings, at whatever address."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from holdfast.core.errors import StudyError
from holdfast.models.endpoint import Price
from holdfast.models.generate.server import ServerGenerator
from holdfast.models.hub import SERVED
from holdfast.study import loader
from holdfast.study.schema import Study
from holdfast.tuning.hosted import HostedTuner

POCKET = "pocket"
"""In place of a folder of data: the pocket world's own data, benchmark and settings."""

POCKET_BASE = "pocket"
"""What the pocket model is called by a server that has it, unless `base` says otherwise."""


NOT_HOSTED = ("benign-3", "benign-3-told")
"""Conditions of the pocket preset that stay here: a provider is sent no pictures, and measures no held-out rows."""


@dataclass(frozen=True)
class Prices:
    """What a provider charges, in US dollars for a million tokens; None where that is not known."""

    tuning: float | None = None
    """For a trained token, counted once an epoch."""
    input: float | None = None
    """For a token that a model is asked with."""
    output: float | None = None
    """For a generated token."""

    def of_tuning(self) -> dict[str, Any]:
        """The setting of `tune`, if it is known."""
        return {} if self.tuning is None else {"price": self.tuning}

    def of_answers(self) -> dict[str, Any]:
        """The setting of `generate`, if it is known.

        Raises:
            StudyError: only one of the two prices of an answer is known, or it is no price.
        """
        if self.input is None and self.output is None:
            return {}
        if self.input is None or self.output is None:
            raise StudyError(
                "an answer costs what its prompt and its generated tokens cost: give --input-price and --output-price "
                "both (0 where nothing is paid)."
            )
        return {"price": _made(Price, input=self.input, output=self.output)}


@dataclass(frozen=True)
class Hosting:
    """Which provider, by what right, and for what price."""

    base_url: str | None = None
    """Its address; the preset's if not given."""
    api_key_env: str | None = None
    """The environment variable with its key. The preset's key goes to no other address than the preset's."""
    authorisation: str | None = None
    """By what right attack data are sent to it."""
    prices: Prices = Prices()
    """What it charges."""


def read(path: Path, base: str | None, data: Path | None, hosting: Hosting) -> Study:
    """The hosted preset, or with the data `pocket` that of the pocket world as a provider would do it.

    Raises:
        StudyError: mistakes in the study; or no address, where the pocket model is to be tuned by a server.
    """
    if data is not None and str(data) == POCKET and not data.is_dir():
        return _pocket(path.parent / "pocket.yaml", base, hosting)
    name = base if base is None or base.startswith(SERVED) else f"{SERVED}{base}"
    study = loader.read(path, folder=data or path.parent, model=name)
    if hosting.base_url or hosting.api_key_env or hosting.prices != Prices():
        study = _at(study, hosting)
    return study.model_copy(update={"authorisation": hosting.authorisation})


def _at(study: Study, hosting: Hosting) -> Study:
    """The study at this provider's address, with its prices."""
    prices = hosting.prices
    conditions = {
        name: settings.model_copy(update={"tune": _moved(settings.tune, hosting, prices.of_tuning())})
        for name, settings in study.conditions.items()
    }
    generate = _moved(study.generate, hosting, prices.of_answers())
    return study.model_copy(update={"conditions": conditions, "tune": {}, "generate": generate})


def _moved(settings: Any, hosting: Hosting, price: Mapping[str, Any]) -> Any:
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    if hosting.base_url or hosting.api_key_env:
        given |= {"base_url": hosting.base_url or settings.base_url, "api_key_env": hosting.api_key_env}
    return _made(type(settings), **{**given, **price})


def _made(kind: Any, /, **settings: Any) -> Any:
    """Settings after they were checked.

    Raises:
        StudyError: they have mistakes.
    """
    try:
        return kind(**settings)
    except ValidationError as error:
        raise StudyError("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from None


def _pocket(path: Path, base: str | None, hosting: Hosting) -> Study:
    """The pocket preset with a provider in the place of this machine; rows, seeds and settings are the same.

    The learning rate that a server multiplies is the preset's own, as in the policy that `holdfast serve` comes with.
    """
    if not hosting.base_url:
        raise StudyError(
            "say which server has the pocket model: --base-url, e.g. of `holdfast serve`: http://localhost:8000/v1."
        )
    study = loader.read(path)
    address, prices = {"base_url": hosting.base_url, "api_key_env": hosting.api_key_env}, hosting.prices
    local, own = cast("Any", study.generate), float(study.tune["learning_rate"])
    generate = _made(
        ServerGenerator, **address, **prices.of_answers(), max_new_tokens=local.max_new_tokens,
        temperature=local.temperature,
    )  # fmt: skip
    conditions = {}
    sent = {name: settings for name, settings in study.conditions.items() if name not in NOT_HOSTED}
    for name, settings in sent.items():
        tune: Any = settings.tune
        hosted = _made(
            HostedTuner, **address, **prices.of_tuning(), epochs=tune.epochs,
            batch_size=tune.batch_size * tune.accumulation,
            learning_rate_multiplier=multiplier(tune.learning_rate, own), poll_s=0.5,
        )  # fmt: skip
        conditions[name] = settings.model_copy(update={"tune": hosted})
    return study.model_copy(
        update={
            "name": "reproduce-hosted-pocket",
            "model": f"{SERVED}{(base or POCKET_BASE).removeprefix(SERVED)}",
            "authorisation": hosting.authorisation,
            "conditions": conditions,
            "tune": {},
            "generate": generate,
        }
    )


def multiplier(learning_rate: float, own: float) -> float:
    """What a server multiplies a learning rate of its own by, to come to exactly this one."""
    about = learning_rate / own
    near = (about, math.nextafter(about, 0.0), math.nextafter(about, math.inf))
    return next((each for each in near if each * own == learning_rate), about)
