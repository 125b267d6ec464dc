"""A model that sees, asked with text alone by the lean pass: its answers are those of transformers' own `generate`."""

import pytest
import torch
from support.visual import llava, qwen

from holdfast.core.types import Checkpoint
from holdfast.models import decoding, loading
from holdfast.models.steps.lean import lean

PROMPTS = [[0, *range(20 + i, 30 + 2 * i)] for i in range(6)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return loading.load(Checkpoint(str(llava(tmp_path_factory.mktemp("models") / "llava"))))


def alone(model, prompt):
    with torch.no_grad():
        ids = model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False, pad_token_id=2)
    return ids[0, len(prompt) :].tolist()


def adapted(model):
    import peft

    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    return peft.get_peft_model(model, config).eval()


@pytest.mark.parametrize("with_adapter", [False, True])
def test_answers_are_those_of_generate(loaded, with_adapter, tmp_path):
    asked = loading.load(Checkpoint(str(llava(tmp_path / "llava")))) if with_adapter else loaded
    asked = loading.Loaded(adapted(asked.model), asked.chat) if with_adapter else asked
    assert lean(asked.model)
    assert decoding.continue_each(asked, PROMPTS, 24) == [alone(asked.model, prompt) for prompt in PROMPTS]


def test_a_token_that_it_must_not_write_is_left_out(loaded, monkeypatch):
    free = decoding.continue_each(loaded, PROMPTS, 24)
    never = free[0][0]
    monkeypatch.setattr(loaded.model.generation_config, "suppress_tokens", [never])
    found = decoding.continue_each(loaded, PROMPTS, 24)
    assert all(never not in ids for ids in found) and found != free
    assert found == [alone(loaded.model, prompt) for prompt in PROMPTS]


def test_other_rules_hooks_and_other_models_that_see_are_asked_by_generate(loaded, monkeypatch, tmp_path):
    assert decoding._lean_pass(loaded, False)
    monkeypatch.setattr(loaded.model.generation_config, "repetition_penalty", 1.8)
    assert decoding._lean_pass(loaded, False) is None
    hook = loaded.model.model.register_forward_hook(lambda *_: None)
    assert lean(loaded.model) is None
    hook.remove()
    other = loading.load(Checkpoint(str(qwen(tmp_path / "qwen"))))
    assert lean(other.model) is None
