"""Token by token: the lean pass gives the logits of the model's own to the last bit, whoever joins and leaves."""

import random
from functools import partial

import pytest
import torch
from support.studies import rows_of
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from holdfast.core.types import Message
from holdfast.models import decoding
from holdfast.models.loading import Loaded
from holdfast.models.steps import packed
from holdfast.models.steps.batch import Batch, Row, likeliest_token
from holdfast.models.steps.lean import lean, plain, projection
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


@pytest.mark.long
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


@pytest.mark.long
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


def test_a_beginning_that_all_rows_share_is_read_once_and_changes_nothing():
    model = llama()
    beginning = prompts_of(20)[0]
    prompts = [[*beginning, *rest] for rest in prompts_of(1, 9, 4, 30)]
    apart, shared, later = LeanMemory(lean(model)), LeanMemory(lean(model)), LeanMemory(lean(model))
    with torch.inference_mode():
        torch.testing.assert_close(apart.read(prompts), shared.read(prompts, 20), rtol=0, atol=1e-6)
        compare_closely(apart, shared, 4, 60)
        later.read(prompts_of(70))
        for memory in (apart, shared):
            memory.keep([0, 3, 2])
            memory.join(later)
        compare_closely(apart, shared, 4, 60)


def with_adapter(model):
    import peft

    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    return peft.get_peft_model(model, config).eval()


@pytest.mark.long
@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("linear", [plain, packed.packed])
def test_packed_weights_and_adapters_give_the_same_logits(adapted, linear):
    model = with_adapter(qwen()) if adapted else qwen()
    own = AnyMemory(model, 0)
    ours = LeanMemory(lean(model, partial(projection, linear=linear)))
    with torch.inference_mode():
        torch.testing.assert_close(own.read(prompts_of(9, 30)), ours.read(prompts_of(9, 30)), rtol=0, atol=1e-5)
        last = [3, 4]
        for _ in range(30):
            expected, found = own.step(last), ours.step(last)
            torch.testing.assert_close(expected, found, rtol=0, atol=1e-5)
            last = expected.argmax(-1).tolist()


def test_an_adapter_that_is_switched_off_adds_nothing():
    model = with_adapter(llama())
    prompts = prompts_of(12)
    with torch.inference_mode():
        on = LeanMemory(lean(model)).read(prompts)
        with model.disable_adapter():
            off = LeanMemory(lean(model)).read(prompts)
        base = AnyMemory(llama(), 0).read(prompts)
    torch.testing.assert_close(off, base, rtol=0, atol=1e-6)
    assert not torch.allclose(on, off, atol=1e-3)


class Asked:
    """A model as a batch asks it."""

    def __init__(self, model):
        self.model = model

    def new_memory(self):
        return LeanMemory(lean(self.model))

    def choose(self, adapters):
        pass


@pytest.mark.long
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


def conversations_of(pocket, n):
    """Prompts of the pocket world, as token ids."""
    rows = [*rows_of("benchmark.jsonl"), *rows_of("utility.jsonl")][:n]
    system = Message("system", "You are Pocket, the helpful assistant.")
    return [pocket.chat.question([system, Message("user", row["prompt"])]) for row in rows]


@pytest.mark.long
@pytest.mark.parametrize("pack", [False, True])
def test_answers_of_the_pocket_model_are_those_of_plain_generate(pocket, pack, monkeypatch):
    if pack:
        monkeypatch.setattr(packed, "LEAST", 0)
    prompts = conversations_of(pocket, 40)
    ends = decoding.end_of_turn_ids(pocket)
    taken = []
    lean_steps = LeanMemory.step
    monkeypatch.setattr(LeanMemory, "step", lambda self, last: taken.append(len(last)) or lean_steps(self, last))
    with decoding.prepared(pocket, len(prompts)):
        found = decoding.continue_each(pocket, prompts, 64)
    assert taken[0] > taken[-1], "rows leave the batch"
    with torch.no_grad():
        for prompt, ids in zip(prompts, found, strict=True):
            alone = pocket.model.generate(torch.tensor([prompt]), max_new_tokens=64, do_sample=False)[0, len(prompt) :]
            assert ids == alone.tolist()
            assert len(ids) == 64 or ids[-1] in ends


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_drawn_answers_are_those_of_plain_generate(pocket, temperature, monkeypatch):
    prompts = conversations_of(pocket, 24)
    found = decoding.continue_each(pocket, prompts, 24, temperature=temperature, seed=7)
    monkeypatch.setattr(decoding, "_lean_pass", lambda *_: None)
    expected = decoding.continue_each(pocket, prompts, 24, temperature=temperature, seed=7)
    assert [decoding.until_end(pocket, ids) for ids in found] == [decoding.until_end(pocket, ids) for ids in expected]
    assert len({len(ids) for ids in found}) > 1, "rows leave the batch"


def test_rules_for_drawing_are_kept_by_generate(pocket):
    from copy import deepcopy

    model = deepcopy(pocket.model)
    model.generation_config.min_p = 0.9
    loaded, prompts = Loaded(model, pocket.chat), conversations_of(pocket, 8)
    assert decoding.continue_each(loaded, prompts, 24, temperature=2.0, seed=1) != decoding.continue_each(
        pocket, prompts, 24, temperature=2.0, seed=1
    )


def test_a_model_with_rules_for_generation_is_asked_by_generate(pocket, monkeypatch):
    """A penalty on repetition changes greedy answers, and only `generate` knows all such rules."""
    from copy import deepcopy

    model = deepcopy(pocket.model)
    model.generation_config.repetition_penalty = 1.8
    loaded = Loaded(model, pocket.chat)
    prompts = conversations_of(pocket, 4)
    found = decoding.continue_each(loaded, prompts, 24)
    assert found != decoding.continue_each(pocket, prompts, 24)
    assert len({len(ids) for ids in found}) == 1, "rows of `generate` are filled up to one length"


def test_what_was_prepared_is_forgotten_when_the_weights_may_change(pocket, monkeypatch):
    monkeypatch.setattr(packed, "LEAST", 0)
    with decoding.prepared(pocket, 64):
        assert decoding._PREPARED
    assert not decoding._PREPARED
    with decoding.prepared(pocket, 2):
        assert not decoding._PREPARED, "for so few it does not pay"
