"""How the models of a study are asked: template, decoding, and the defences that change the asking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from holdfast.core import pictures
from holdfast.core.config import label
from holdfast.core.pictures import Picture
from holdfast.core.protocols import Defence, Generator
from holdfast.core.types import Template
from holdfast.models import hub, visual
from holdfast.study.schema import INITIAL, ConditionSettings, Study


@dataclass(frozen=True)
class EvalSetting:
    """How a model is asked. Base and tuned models are compared only where they are asked in the same setting."""

    ask: str
    """Name of the template."""
    decoding: str | None
    """Name of the decoding; None for the study's `generate`."""
    defences: tuple[Defence, ...] = ()
    """Those that change how a model is asked."""
    picture: Picture | None = None
    """What is shown beside every request."""

    def generator(self, study: Study) -> Generator:
        """The generator that answers in this setting."""
        return study.decodings[self.decoding] if self.decoding else study.generate

    def template(self, study: Study, role: Literal["initial", "tuned"]) -> Template:
        """The template in which a model is asked in this setting."""
        template = study.templates[self.ask].template()
        for defence in self.defences:
            template = defence.ask(template, role)
        return replace(template, picture=self.picture)

    def of_initial(self, study: Study) -> EvalSetting:
        """The setting in which the initial model is asked beside a tuned one: most defences leave it as it is.

        A model that sees nothing is shown no picture.
        """
        if self.picture is not None and not initial_sees(study):
            return replace(self, picture=None).of_initial(study)
        undefended = replace(self, defences=())
        changes = self.template(study, "initial") != undefended.template(study, "initial")
        return self if changes else undefended


def template_of(study: Study, settings: ConditionSettings) -> str:
    """The name of the template that a condition is tuned with."""
    return settings.template or study.default_template


def eval_setting_of(study: Study, settings: ConditionSettings) -> EvalSetting:
    """How a tuned condition is asked."""
    asking = () if settings.bare else settings.defence
    defences = tuple(defence for defence in asking if "asking" in defence.places)
    picture = shown_in(settings)
    return EvalSetting(settings.ask or template_of(study, settings), settings.decoding, defences, picture)


def shown_in(settings: ConditionSettings) -> Picture | None:
    """The picture that a condition is asked with."""
    if settings.picture is None:
        return None
    return (
        pictures.of_file(settings.picture) if isinstance(settings.picture, Path) else pictures.drawn(settings.picture)
    )


def initial_sees(study: Study) -> bool:
    """Whether the study's model sees, before anything is tuned."""
    served = study.model.startswith(hub.SERVED)
    return not served and visual.sees(hub.resolve(study.model, study.revision, weights=False))


def initial_name(study: Study, setting: EvalSetting) -> str:
    """The name of the initial model that is asked beside a model in a setting."""
    template = None if setting.ask == study.default_template else setting.ask
    asked = setting.of_initial(study)
    picture = f"shown-{Path(asked.picture.name).stem}" if asked.picture else None
    defences = map(label, asked.defences)
    return "-".join(part for part in (INITIAL, template, setting.decoding, picture, *defences) if part)
