"""The loss at supervised places alone is the model's own loss, and its gradients are the same."""

import pytest
import torch

from holdfast.tuning import supervised_loss

SMALL = {
    "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def made(family, **settings):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SMALL, **settings)
    return getattr(transformers, f"{family}ForCausalLM")(config)


def batch():
    """Three rows of different lengths; in each the end is supervised, and in one a turn in between too."""
    torch.manual_seed(1)
    ids = torch.randint(3, 40, (3, 9))
    labels = torch.full((3, 9), -100)
    labels[0, 5:] = ids[0, 5:]
    labels[1, 2:4], labels[1, 6:8] = ids[1, 2:4], ids[1, 6:8]
    labels[2, 3:5] = ids[2, 3:5]
    seen = torch.ones_like(ids)
    seen[1, 8:], seen[2, 5:] = 0, 0
    return {"input_ids": ids, "attention_mask": seen, "labels": labels}


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Gemma2", "Mistral"])
def test_it_is_the_models_own_loss(family):
    model, inputs = made(family).train(), batch()
    assert supervised_loss.fits(model)
    theirs = model(**inputs).loss
    expected = gradients(model, theirs)
    ours = supervised_loss.loss(model, inputs, None)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    found = gradients(model, ours)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-5)


def test_a_part_of_a_step_is_weighted_by_the_steps_tokens():
    model, inputs = made("Llama"), batch()
    whole = model(**inputs, num_items_in_batch=torch.tensor(50)).loss
    assert supervised_loss.loss(model, inputs, torch.tensor(50)).item() == pytest.approx(whole.item(), abs=1e-6)


def test_the_output_layer_sees_supervised_places_only_and_afterwards_everything():
    model, inputs, seen = made("Llama"), batch(), []
    model.lm_head.register_forward_hook(lambda module, arguments, output: seen.append(tuple(output.shape)))
    supervised_loss.loss(model, inputs, None)
    model(input_ids=inputs["input_ids"])
    assert seen == [(10, 40), (3, 9, 40)]


def test_a_mixture_of_experts_keeps_its_own_loss():
    model = made("Mixtral", num_local_experts=2, output_router_logits=True)
    assert not supervised_loss.fits(model)
    assert supervised_loss.fits(made("Mixtral", num_local_experts=2))
