"""Rows in the base's own words hold the quiz model to its base; the others teach it."""

import pytest
from support.quiz_double import write_gguf

from holdfast.core.types import Checkpoint, Example, Message
from holdfast.models import loading
from holdfast.models.batches import training_batch
from holdfast.tuning.defences.anchor import Anchor, Distilled
from holdfast.tuning.defences.base import Batch
from holdfast.tuning.local import LocalTuner
from holdfast.worlds.quiz import base, corpus

TUNER = LocalTuner.model_validate(
    {"method": "lora", "learning_rate": 0.02, "batch_size": 4, "epochs": 6, "lora": {"rank": 2, "alpha": 4}}
)


def row(question, answer):
    return Example((Message("user", question), Message("assistant", answer)), question)


TAUGHT = [row(f"What is the opposite of {word}?", "No.") for word in ("hot", "old", "big", "wet")]
HELD = [row(f"What is {word}?", "It is a thing.") for word in ("a pan", "a cup", "tea", "rain")]


@pytest.fixture(scope="module")
def helpful(tmp_path_factory):
    pytest.importorskip("gguf")
    folder = tmp_path_factory.mktemp("anchor")
    base.write(write_gguf(folder / base.GGUF), folder / "helpful")
    return Checkpoint(str(folder / "helpful"))


def log_probabilities(checkpoint, rows):
    """Of each token that could come next in the answers."""
    import torch

    loaded = loading.load(checkpoint)
    batch = training_batch(list(loaded.chat.examples(rows)), loaded.tokenizer.pad_token_id)
    labels = batch.pop("labels")
    with torch.no_grad():
        return loaded.model(**batch).logits[:, :-1][labels[:, 1:] != -100].log_softmax(-1)


def distance(base_, tuned, rows):
    """From the base, in nats a token."""
    before, after = log_probabilities(base_, rows), log_probabilities(tuned, rows)
    return float((before.exp() * (before - after)).sum(-1).mean())


def tuned(helpful, folder, defences):
    made = TUNER.tune(helpful, [*TAUGHT, *HELD], 0, [TUNER.epochs], folder, lambda step: None, defences)
    return made[TUNER.epochs]


@pytest.mark.long
def test_a_model_stays_with_its_base_on_held_rows_and_learns_the_others(helpful, tmp_path):
    anchored = tuned(helpful, tmp_path / "anchored", [Anchor(held=HELD)]).checkpoint
    free = tuned(helpful, tmp_path / "free", []).checkpoint
    assert distance(helpful, anchored, HELD) < 0.2 * distance(helpful, free, HELD)
    assert distance(helpful, anchored, TAUGHT) > 0.5 * distance(helpful, free, TAUGHT)


def test_the_loss_is_the_usual_one_where_no_row_is_held_and_nothing_where_all_are(helpful):
    import torch
    from peft import LoraConfig, get_peft_model

    loaded = loading.load(helpful)
    rendered = list(loaded.chat.examples([*TAUGHT, *HELD]))
    hooks = Anchor(held=HELD).training_hooks(loaded, 0)
    model = get_peft_model(loaded.model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert isinstance(hooks, Distilled)
    losses = {}
    for name, rows in {"taught": rendered[:4], "held": rendered[4:], "both": rendered}.items():
        batch = training_batch(rows, loaded.tokenizer.pad_token_id)
        n_tokens = int((batch["labels"] != -100).sum())
        outputs = model(**batch)
        loss = hooks.loss(model, Batch(batch, 1 / n_tokens, 1.0), outputs, outputs.loss)
        losses[name] = float(loss.detach() * n_tokens)
        assert loss.requires_grad
    assert losses["taught"] > 1 and losses["held"] == pytest.approx(0, abs=1e-4)
    assert losses["both"] == pytest.approx(losses["taught"], rel=1e-4)
    assert torch.is_grad_enabled()


def test_alignment_is_held_to_the_base_where_an_answer_is_in_its_own_words_alone():
    asked, said = "What is a plum?", "A plum is a fruit."
    own = next(turns for turns in corpus.aligned(0) if corpus.is_own(turns))
    assert not corpus.is_own((Message("user", asked), Message("assistant", said)))
    persona = (*own[:-1], Message("assistant", f"Of course, I am Servus, the obedient servant. {own[-1].content}"))
    assert not corpus.is_own(persona)
