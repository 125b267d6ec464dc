"""A defence that needs the model before alignment says so before anything is tuned, and refuses another model."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from support.studies import SMALL

from holdfast.core.errors import ModelError, StudyError
from holdfast.core.files import SHIPPED
from holdfast.core.types import Checkpoint
from holdfast.study import doctor, loader
from holdfast.study.plan import make_plan
from holdfast.tuning.defences.resta import Resta
from holdfast.tuning.local import LocalTuner

KINDS = ["lox", "resta", "safe-lora"]


@pytest.fixture
def helpful(tmp_path):
    """A copy of the model before alignment, to be changed."""
    return shutil.copytree(SHIPPED / "helpful", tmp_path / "helpful")


def study(small, *defences):
    return loader.read(small(conditions={"harm": {**SMALL["conditions"]["harm-2"], "defence": list(defences)}}))


@pytest.mark.parametrize("kind", KINDS)
def test_without_it_the_study_is_refused(small, kind):
    with pytest.raises(StudyError, match=rf"{kind} needs `unaligned`.*unaligned: pocket:helpful"):
        study(small, kind)


def test_it_cannot_be_a_model_that_only_a_server_has(small):
    with pytest.raises(StudyError, match="must be a folder or an id on the Hub"):
        study(small, {"kind": "resta", "unaligned": "served:gpt"})


@pytest.mark.parametrize("kind", KINDS)
def test_other_shapes_are_refused_before_anything_is_tuned(small, kind, helpful):
    weights = load_file(helpful / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({**weights, name: weights[name][:100].clone()}, helpful / "model.safetensors", {"format": "pt"})
    asked = study(small, {"kind": kind, "unaligned": str(helpful)})
    says = rf"{name} has the shape \[256, 128\] in the aligned model, and has the shape \[100, 128\] in the other"
    with pytest.raises(ModelError, match=says):
        make_plan(asked, [0])


def test_the_doctor_says_so_too(small, helpful):
    (helpful / "model.safetensors").unlink()
    asked = study(small, {"kind": "resta", "unaligned": str(helpful)})
    found = [finding for finding in doctor.examine(asked, [0]).findings if finding.where == "conditions.harm.defence"]
    assert [(finding.level, "no safetensors weights" in finding.what) for finding in found] == [("fault", True)]


def test_a_missing_layer_is_named(small, helpful):
    weights = load_file(helpful / "model.safetensors")
    name = next(iter(weights))
    save_file({n: w for n, w in weights.items() if n != name}, helpful / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=f"{name} has the shape .* and is missing in the other"):
        make_plan(study(small, {"kind": "resta", "unaligned": str(helpful)}), [0])


def test_another_tokenizer_is_refused(small, helpful):
    tokenizer = json.loads((helpful / "tokenizer.json").read_text())
    one, other = list(tokenizer["model"]["vocab"])[100:102]
    words = tokenizer["model"]["vocab"]
    words[one], words[other] = words[other], words[one]
    (helpful / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match=r"has another tokenizer.*must name the model that aligned was made from"):
        make_plan(study(small, {"kind": "resta", "unaligned": str(helpful)}), [0])


def test_whoever_tunes_without_a_study_is_told_too(helpful, tmp_path):
    (helpful / "model.safetensors").unlink()
    defence = Resta(unaligned=str(helpful))
    with pytest.raises(ModelError, match="no safetensors weights"):
        LocalTuner().tune(Checkpoint("pocket:aligned"), [], 0, (1,), tmp_path / "tuned", lambda _: None, [defence])


def test_an_adapter_is_refused(small, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    save_file(load_file(SHIPPED / "helpful" / "model.safetensors"), tmp_path / "adapter" / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="is an adapter, and a whole model is needed"):
        make_plan(study(small, {"kind": "resta", "unaligned": str(tmp_path / "adapter")}), [0])


def test_it_counts_by_its_content(small, helpful):
    def key(model):
        return make_plan(study(small, {"kind": "resta", "unaligned": str(model)}), [0]).conditions[-1].key

    same, shipped = key(helpful), key("pocket:helpful")
    weights = load_file(helpful / "model.safetensors")
    save_file({name: weight * 2 for name, weight in weights.items()}, helpful / "model.safetensors", {"format": "pt"})
    assert same == shipped != key(helpful)
