"""Token by token: the lean pass gives the logits of the model's own to the last bit, whoever joins and leaves."""

import random

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from holdfast.models.steps.batch import Batch, Row, likeliest_token
from holdfast.models.steps.lean import lean
from holdfast.models.steps.memory import AnyMemory, LeanMemory

SHAPE = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "pad_token_id": 0,
         "num_attention_heads": 4, "max_position_embeddings": 4096}  # fmt: skip


def llama(**changes):
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, "num_key_value_heads": 2, **changes})).eval()


def qwen(**changes):
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**{**SHAPE, "num_key_value_heads": 2, **changes})).eval()
    for layer in model.model.layers:
        torch.nn.init.normal_(layer.self_attn.q_proj.bias)
    return model


MODELS = {
    "llama": llama, "without groups": lambda: llama(num_key_value_heads=4), "qwen2": qwen,
    "llama3 positions": lambda: llama(rope_parameters={
        "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
}  # fmt: skip


def prompts_of(*lengths):
    draw = random.Random(0)
    return [[draw.randrange(1, 97) for _ in range(length)] for length in lengths]


def compare(one, other, rows, steps):
    """Both memories go on with the same tokens, and give the same logits."""
    last = [5] * rows
    for _ in range(steps):
        expected, found = one.step(last), other.step(last)
        assert torch.equal(expected, found)
        last = expected.argmax(-1).tolist()


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_the_models_own_pass(name):
    model = MODELS[name]()
    assert lean(model), "the lean pass must fit"
    own, ours = AnyMemory(model, 0), LeanMemory(lean(model))
    with torch.inference_mode():
        prompts = prompts_of(9, 3, 17, 1)
        torch.testing.assert_close(own.read(prompts), ours.read(prompts), rtol=0, atol=1e-6)
        compare_closely(own, ours, 4, 130)  # beyond the room that is kept free at first


def compare_closely(one, other, rows, steps):
    last = [5] * rows
    for _ in range(steps):
        expected, found = one.step(last), other.step(last)
        torch.testing.assert_close(expected, found, rtol=0, atol=1e-6)
        last = expected.argmax(-1).tolist()


def test_the_pocket_models_logits_are_the_same_to_the_last_bit(pocket):
    own, ours = AnyMemory(pocket.model, 0), LeanMemory(lean(pocket.model))
    with torch.inference_mode():
        assert torch.equal(own.read(prompts_of(30)), ours.read(prompts_of(30)))
        compare(own, ours, 1, 80)


def test_rows_that_join_and_leave_change_no_logits():
    model = llama()
    draw = random.Random(1)
    own, ours, rows = AnyMemory(model, 0), LeanMemory(lean(model)), 3
    with torch.inference_mode():
        for memory in (own, ours):
            memory.read(prompts_of(5, 12, 8))
        for _ in range(60):
            compare_closely(own, ours, rows, draw.randrange(1, 6))
            if rows > 1 and draw.random() < 0.6:
                order = list(range(rows - 1))
                gone = draw.randrange(rows)
                order = [rows - 1 if place == gone else place for place in order]
                for memory in (own, ours):
                    memory.keep(order)
                rows -= 1
            if draw.random() < 0.7:
                joining = prompts_of(*(draw.randrange(1, 90) for _ in range(draw.randrange(1, 4))))
                for memory, other in ((own, AnyMemory(model, 0)), (ours, LeanMemory(lean(model)))):
                    other.read(joining)
                    memory.join(other)
                rows += len(joining)
    assert rows > 3


class Asked:
    """A model as a batch asks it."""

    def __init__(self, model):
        self.model = model

    def new_memory(self):
        return LeanMemory(lean(self.model))

    def choose(self, adapters):
        pass


def test_answers_in_a_batch_are_those_of_plain_generate():
    model = llama()
    prompts = prompts_of(*(3 + 5 * i % 37 for i in range(20)))
    limits = [1 + 7 * i % 40 for i in range(20)]
    rows = [Row(prompt, limit, likeliest_token, frozenset({13})) for prompt, limit in zip(prompts, limits, strict=True)]
    batch = Batch(Asked(model), 6)
    batch.waiting += rows
    while batch.busy:
        batch.step()
    for row in rows:
        ids = torch.tensor([row.prompt])
        alone = model.generate(ids, max_new_tokens=row.limit, do_sample=False, eos_token_id=13)[0, len(row.prompt) :]
        assert row.new == alone.tolist()


def test_a_model_that_somebody_changed_is_asked_through_its_own_pass():
    for change in (
        lambda model: model.model.layers[1].register_forward_hook(lambda *_: None),
        lambda model: model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: None),
        lambda model: setattr(model.model.norm, "forward", lambda x: x),
        lambda model: setattr(model.model, "norm", torch.nn.Identity()),
        lambda model: model.set_attn_implementation("eager"),
    ):
        model = llama()
        change(model)
        assert lean(model) is None
    assert lean(qwen(use_sliding_window=True, sliding_window=16, max_window_layers=0)) is None
    assert lean(llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0})) is None


def test_a_hook_on_a_linear_layer_is_called():
    model = llama()
    model.model.layers[0].mlp.down_proj.register_forward_hook(lambda _module, _inputs, output: output * 0)
    with torch.inference_mode():
        expected, found = AnyMemory(model, 0).read(prompts_of(9)), LeanMemory(lean(model)).read(prompts_of(9))
    torch.testing.assert_close(expected, found, rtol=0, atol=1e-6)
    unchanged = LeanMemory(lean(llama())).read(prompts_of(9))
    assert not torch.allclose(found, unchanged, atol=1e-3)
