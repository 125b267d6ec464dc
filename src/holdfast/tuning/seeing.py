"""What comes before a model that sees is tuned on pictures: a tower that it sees with, and a projector of its own.

As LLaVA is made (Liu et al. 2023, arXiv 2304.08485): an aligned language model and a vision tower, which stay as they
are while the projector between them is tuned; then the projector and the language model are tuned together.

<folder>/eyes/joined/    the language model joined to the tower, with a projector that has learnt nothing
<folder>/eyes/epoch-1/   the same with a tuned projector, until it is <folder>/base/
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import PositiveFloat, PositiveInt

from holdfast.core import durable
from holdfast.core.config import Config
from holdfast.core.errors import TuningError
from holdfast.core.files import is_folder, locate
from holdfast.core.progress import OnStep, TuningStep
from holdfast.core.protocols import Defence
from holdfast.core.types import Checkpoint, Example, content_hash
from holdfast.models import hub, joined, visual
from holdfast.tuning import checkpoints, defended
from holdfast.tuning.launch import TuningJob


class Projector(Config):
    """The first stage: the projector alone, on the same rows. Other settings are those of `tune`."""

    epochs: PositiveInt = 1
    learning_rate: PositiveFloat = 1e-3
    batch_size: PositiveInt | None = None
    """That of `tune` if not given."""
    second_learning_rate: PositiveFloat | None = None
    """The projector's learning rate in the second stage, beside the language model (LLaVA's `mm_projector_lr`); that of
    `tune` if not given."""


def has_first_stage(tuner: Any) -> bool:
    """Whether something comes before the tuning of a `LocalTuner` itself."""
    return tuner.vision is not None or tuner.projector is not None


def prepare(
    tuner: Any, base: Checkpoint, defences: Sequence[Defence], rows: Sequence[Example], seed: int, folder: Path,
    on_step: OnStep,
) -> Checkpoint:  # fmt: skip
    """The base that is tuned: one that sees, with a tuned projector; made once, and kept in the folder.

    Raises:
        TuningError: there is a first stage, but no row with a picture, or no model that sees.
    """
    prepared = checkpoints.base_in(folder, base)
    if prepared != base:
        return prepared
    own = checkpoints.eyes_in(folder)
    begun = defended.prepare_base(base, defences, seed, own)
    begun = _joined(tuner, begun, seed, own)
    made = _with_projector(tuner, begun, rows, seed, own, on_step) if tuner.projector else Path(begun.base)
    if made == hub.resolve(base.base, base.revision):
        return base
    shutil.rmtree(checkpoints.draft_base(folder), ignore_errors=True)
    shutil.copytree(made, checkpoints.draft_base(folder))
    checkpoints.publish_base(folder)
    shutil.rmtree(own, ignore_errors=True)
    return checkpoints.base_in(folder, base)


def weights(tuner: Any, model: Any) -> list[dict[str, Any]]:
    """The weights that are tuned; those of the projector apart where they have a learning rate of their own."""
    family = visual.family_of(model)
    rate = tuner.projector.second_learning_rate if tuner.projector and family else None
    tuned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if family is None or rate is None:
        return [{"params": list(tuned.values())}]
    projector = {name: weight for name, weight in tuned.items() if family.projects(name)}
    language = [weight for name, weight in tuned.items() if name not in projector]
    return [{"params": language}, {"params": list(projector.values()), "lr": rate}]


def record(tuner: Any, base: Checkpoint) -> Mapping[str, Any]:
    """What the training record says of the first stage."""
    path = Path(base.base) / checkpoints.RECORD
    if tuner.projector is None or not path.is_file():
        return {}
    made = json.loads(path.read_text(encoding="utf-8"))
    return {"projector": {name: made[name] for name in ("steps", "losses", "seconds")}}


def tower_key(name: str) -> str:
    """What tells one vision tower from another: its content where it is on this machine."""
    folder = locate(name)
    return hub.fingerprint(folder) if is_folder(folder) else content_hash(name)


def _joined(tuner: Any, base: Checkpoint, seed: int, own: Path) -> Checkpoint:
    """The base itself where it sees; else joined to the tower."""
    text = hub.resolve(base.base, base.revision)
    if tuner.vision is None or visual.sees(text):
        return base
    folder, draft = own / "joined", own / ".joined"
    if not folder.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
        joined.join(text, hub.resolve(tuner.vision), draft, seed)
        durable.rename(draft, folder)
    return replace(base, base=str(folder), revision=None)


def _with_projector(
    tuner: Any, base: Checkpoint, rows: Sequence[Example], seed: int, own: Path, on_step: OnStep
) -> Path:  # fmt: skip
    """The folder of the base with a projector that was tuned alone."""
    stage = tuner.projector
    if stage is None:
        raise TuningError("there is no first stage.")
    shown = tuple(row for row in rows if any(message.pictures for message in row.messages))
    if not shown:
        raise TuningError("`projector` is tuned on pictures, and no row has one. Leave it out.")
    changes = {
        "method": "full", "parts": "projector", "vision": None, "projector": None, "epochs": stage.epochs,
        "learning_rate": stage.learning_rate, "batch_size": stage.batch_size or tuner.batch_size,
    }  # fmt: skip
    alone = tuner.model_copy(update=changes)

    def tell(step: TuningStep) -> None:
        if not step.done:
            note = f"first the projector alone, {step.total} steps. {step.note}".strip()
            on_step(TuningStep(0, tuner.steps(len(rows)), note=note))

    epochs = [stage.epochs]
    if not checkpoints.read(base, own, epochs):
        alone.do(TuningJob(base, shown, seed, tuple(epochs), own), (), tell)
    folder = checkpoints.read(base, own, epochs)[stage.epochs].checkpoint.folder
    if folder is None:
        raise TuningError("the projector was not kept.")
    return folder
