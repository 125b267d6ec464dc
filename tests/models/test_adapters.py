"""An adapter on another base than its own: refused where the weights show it, doubted where only names differ."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from support.families import build

from holdfast.core.errors import ModelError
from holdfast.core.types import Checkpoint
from holdfast.models import adapters, hub, loading


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two models of one shape, and an adapter of the first."""
    import peft

    root = tmp_path_factory.mktemp("adapters")
    build("llama-3", root / "base")
    build("llama-3", root / "other", seed=1)
    model = loading.load(Checkpoint(str(root / "base"))).model
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    tuned.save_pretrained(root / "adapter")
    return root


def adapter_of(made, folder, base):
    """A copy of the adapter whose configuration names a base."""
    shutil.copytree(made / "adapter", folder)
    path = folder / hub.ADAPTER
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": base}))
    return folder


def test_an_adapter_on_the_base_that_it_names_is_loaded(made, tmp_path):
    for number, name in enumerate((str(made / "base"), f"{made / 'base'}/", None, "")):
        adapter = adapter_of(made, tmp_path / str(number), name)
        assert adapters.check_base(adapter, made / "base") == ""
    loading.load(Checkpoint(str(made / "base"), folder=adapter))


def test_an_adapter_of_a_model_with_other_weights_is_refused_though_it_would_fit(made, tmp_path):
    adapter = adapter_of(made, tmp_path / "adapter", str(made / "base"))
    with pytest.raises(ModelError, match=r"was made for .*base, and the weights of .*other are others.*`model`"):
        loading.load(Checkpoint(str(made / "other"), folder=adapter))


def test_a_copy_of_the_base_in_another_folder_is_the_base(made, tmp_path):
    shutil.copytree(made / "base", tmp_path / "copy")
    adapter = adapter_of(made, tmp_path / "adapter", str(made / "base"))
    assert adapters.check_base(adapter, tmp_path / "copy") == ""


def test_the_base_in_another_precision_is_doubtful_and_no_error(made, tmp_path):
    shutil.copytree(made / "base", tmp_path / "half")
    weights = {name: tensor.bfloat16() for name, tensor in load_file(made / "base" / "model.safetensors").items()}
    save_file(weights, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    adapter = adapter_of(made, tmp_path / "adapter", str(made / "base"))
    assert "is put on" in adapters.check_base(adapter, tmp_path / "half")


@pytest.mark.parametrize(
    ("recorded", "folder", "doubtful"),
    [
        ("meta-llama/Some-Chat-7b", "models--meta-llama--Some-Chat-7b/snapshots/0a1b", False),
        ("meta-llama/Some-Chat-7b", "models--mirror--some-chat-7b/snapshots/0a1b", False),
        ("meta-llama/Some-Chat-7b/", "Some-Chat-7b", False),
        ("/home/somebody/models/some-chat-7b/", "Some-Chat-7b", False),
        ("C:\\models\\Some-Chat-7b", "Some-Chat-7b", False),
        ("meta-llama/Some-7b", "models--meta-llama--Some-Chat-7b/snapshots/0a1b", True),
        ("/home/somebody/checkpoint-100", "Some-Chat-7b", True),
    ],
)
def test_names_tell_where_the_named_base_is_not_on_this_machine(made, tmp_path, recorded, folder, doubtful):
    base = shutil.copytree(made / "base", tmp_path / folder)
    doubt = adapters.check_base(adapter_of(made, tmp_path / "adapter", recorded), base)
    assert bool(doubt) == doubtful
    if doubtful:
        assert recorded in doubt and "Some-Chat-7b" in doubt


def test_a_base_in_the_hubs_cache_is_compared_by_its_weights(made, tmp_path, monkeypatch):
    import huggingface_hub

    cached = {"somebody/base": str(made / "base" / "config.json")}
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, _: cached.get(name))
    adapter = adapter_of(made, tmp_path / "adapter", "somebody/base")
    assert adapters.check_base(adapter, made / "base") == ""
    with pytest.raises(ModelError, match="was made for somebody/base"):
        adapters.check_base(adapter, made / "other")
