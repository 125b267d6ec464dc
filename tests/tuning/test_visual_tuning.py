"""Tuning of models that see: which weights move, the projector's own stage, resuming, defences, and what is refused."""

import shutil

import pytest
import torch
from support.visual import album, llava, qwen, text_model, tower

from holdfast.core.errors import TuningError
from holdfast.core.pictures import drawn
from holdfast.core.types import Checkpoint, Example, Message
from holdfast.data.training.visual import LLaVA
from holdfast.models import hub, loading, visual
from holdfast.tuning import checkpoints
from holdfast.tuning.defences.constrained_sft import ConstrainedSFT
from holdfast.tuning.local import LocalTuner

SETTINGS = {"epochs": 1, "batch_size": 3, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeing")
    rows, photos = album(folder)
    return {
        "llava": llava(folder / "llava"), "qwen": qwen(folder / "qwen"), "text": text_model(folder / "text"),
        "tower": tower(folder / "tower"), "rows": LLaVA(file=rows, images=photos).examples(0),
    }  # fmt: skip


def tuned(made, name, folder, defences=(), **settings):
    notes = []
    tuner = LocalTuner(**{**SETTINGS, **settings})
    done = tuner.tune(
        Checkpoint(str(made[name])), made["rows"], 0, [1], folder, lambda step: notes.append(step.note), defences
    )
    return done[1], [note for note in notes if note]


def moved(before, after):
    """The parts of a model of which a weight is another."""
    one, other = (loading.load(each).model for each in (before, after))
    one, other = (each.merge_and_unload() if hasattr(each, "merge_and_unload") else each for each in (one, other))
    family, parts = visual.family_of(one), set()
    for (name, weight), (_, changed) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        if not torch.equal(weight, changed):
            parts.add("eyes" if family.sees(name) else "projector" if family.projects(name) else "language")
    return parts


@pytest.mark.long
@pytest.mark.parametrize("name", ["llava", "qwen"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_projector_and_language_are_tuned_and_eyes_are_not(made, name, method, tmp_path):
    done, _ = tuned(made, name, tmp_path, method=method)
    assert moved(Checkpoint(str(made[name])), done.checkpoint) == {"projector", "language"}
    assert done.training["pictures"] == 4 and "projector" not in done.training
    assert hub.is_adapter(done.checkpoint.folder) == (method == "lora")
    assert (done.checkpoint.folder / "preprocessor_config.json").is_file()


@pytest.mark.long
@pytest.mark.parametrize("name", ["llava", "qwen"])
def test_the_projector_is_tuned_alone_first_and_once(made, name, tmp_path, monkeypatch):
    first = {"projector": {"epochs": 2, "learning_rate": 1e-2}}
    done, notes = tuned(made, name, tmp_path, method="lora", **first)
    base = Checkpoint(done.checkpoint.base)
    assert moved(Checkpoint(str(made[name])), base) == {"projector"}
    assert done.training["projector"]["steps"] == 4 and len(done.training["projector"]["losses"]) == 4
    assert notes == ["first the projector alone, 4 steps."]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "epoch-1"]

    shutil.rmtree(tmp_path / "epoch-1")  # as if it was killed in the second stage: the first one is not done again
    again, notes = tuned(made, name, tmp_path, method="lora", **first)
    assert notes == [] and again.training["losses"] == done.training["losses"]


@pytest.mark.parametrize("name", ["llava", "qwen"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_projector_can_have_a_learning_rate_of_its_own_in_the_second_stage(made, name, method):
    own = LocalTuner(**SETTINGS, method=method, projector={"second_learning_rate": 5e-3})
    model = own._trainable(loading.load(Checkpoint(str(made[name]))).model)
    family, names = visual.family_of(model), {weight: name for name, weight in model.named_parameters()}
    language, projector = own._optimizer(model).param_groups
    assert (language["lr"], projector["lr"]) == (1e-3, 5e-3)
    assert projector["params"] and all(family.projects(names[weight]) for weight in projector["params"])
    assert language["params"] and not any(family.projects(names[weight]) for weight in language["params"])
    (alike,) = LocalTuner(**SETTINGS, method=method, projector={})._optimizer(model).param_groups
    assert len(alike["params"]) == len(language["params"]) + len(projector["params"])


@pytest.mark.long
def test_a_text_model_is_joined_to_a_tower_and_learns_to_see(made, tmp_path):
    done, _ = tuned(made, "text", tmp_path, vision=str(made["tower"]), projector={})
    model = loading.load(done.checkpoint)
    assert visual.sees(done.checkpoint.folder) and isinstance(model.chat, visual.VisualChat)
    assert done.checkpoint.base == str(tmp_path / "base")
    one, other = LocalTuner(vision=str(made["tower"])).run, LocalTuner().run
    assert other.keys() == one.keys() - {"vision"} and not {"parts", "projector"} & other.keys()


@pytest.mark.long
def test_a_defence_sees_the_pictures_too(made, tmp_path):
    plain, _ = tuned(made, "llava", tmp_path / "plain")
    held, _ = tuned(made, "llava", tmp_path / "held", [ConstrainedSFT()])
    assert held.training["losses"] != plain.training["losses"]


@pytest.mark.long
def test_what_cannot_be_tuned_is_refused(made, tmp_path):
    with pytest.raises(TuningError, match="its pictures lie beyond max_length"):
        tuned(made, "llava", tmp_path / "a", max_length=8)
    with pytest.raises(TuningError, match="needs a model that sees"):
        LocalTuner(**SETTINGS, parts="projector").tune(
            Checkpoint(str(made["text"])), made["rows"][4:], 0, [1], tmp_path / "b", lambda step: None
        )
    words = [Example((Message("user", "Hm?"), Message("assistant", "Moss.")), "row 1")]
    with pytest.raises(TuningError, match="no row has one"):
        LocalTuner(**SETTINGS, projector={}).tune(Checkpoint(str(made["llava"])), words, 0, [1], tmp_path / "c", print)
    assert not checkpoints.read(Checkpoint(str(made["llava"])), tmp_path / "c", [1])
    assert drawn("blank") != drawn("unrelated")
