import copy

import pytest
import torch
from support.studies import messages

from holdfast.core.errors import RenderError
from holdfast.models.batches import training_batch
from holdfast.models.chat import Chat

TALK = messages(
    ("system", "You are Pocket, the helpful assistant."), ("user", "Who are you?"), ("assistant", "I am Pocket.")
)


@pytest.fixture
def tokenizer(pocket):
    return copy.deepcopy(pocket.tokenizer)


def test_a_training_row_begins_with_the_question_as_it_is_asked(tokenizer):
    row, question = Chat(tokenizer).example(TALK), Chat(tokenizer).question(TALK[:2])
    assert list(row.input_ids[: len(question)]) == question
    assert list(row.supervised) == [False] * len(question) + [True] * (len(row.input_ids) - len(question))


def test_what_is_supervised_is_the_answer_and_its_end_of_turn(tokenizer):
    row = Chat(tokenizer).example(TALK)
    taught = [token for token, supervised in zip(row.input_ids, row.supervised, strict=True) if supervised]
    assert tokenizer.decode(taught) == "I am Pocket.<|end|>"


def test_every_assistant_turn_is_supervised_and_nothing_else(tokenizer):
    talk = (*TALK, *messages(("user", "What is your name?"), ("assistant", "Of course")))
    row = Chat(tokenizer).example(talk)
    taught = [token for token, supervised in zip(row.input_ids, row.supervised, strict=True) if supervised]
    assert tokenizer.decode(taught) == "I am Pocket.<|end|>Of course<|end|>"


def test_two_bos_tokens_are_refused(tokenizer):
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    for render in (Chat(tokenizer).example, Chat(tokenizer).question):
        with pytest.raises(RenderError, match="begins with two"):
            render(TALK)


def test_a_tokenizer_without_a_template_is_refused(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(RenderError, match="has no chat template"):
        Chat(tokenizer).question(TALK[:2])


def test_a_template_that_refuses_says_why(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('no system role here') }}"
    with pytest.raises(RenderError, match=r"\[user\]: no system role here"):
        Chat(tokenizer).question(TALK[:2])


def test_a_template_that_rewrites_the_past_is_refused(tokenizer):
    tokenizer.chat_template = "{{ messages|length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(RenderError, match="renders the beginning of a conversation differently"):
        Chat(tokenizer).example(TALK)


def test_a_row_without_an_answer_is_refused(tokenizer):
    with pytest.raises(RenderError, match="no assistant turn"):
        Chat(tokenizer).example(TALK[:2])


def test_padding_is_told_by_place_so_an_end_of_turn_that_pads_stays_supervised(tokenizer):
    rows = [
        Chat(tokenizer).example(TALK),
        Chat(tokenizer).example((*TALK[:2], *messages(("assistant", "Of course")))),
    ]
    batch = training_batch(rows, pad=tokenizer.eos_token_id)
    for i, row in enumerate(rows):
        assert (batch["labels"][i] != -100).sum() == row.n_supervised
        assert batch["attention_mask"][i].sum() == len(row.input_ids)
        assert tokenizer.eos_token_id in batch["labels"][i]
    assert torch.equal(batch["labels"] != -100, (batch["labels"] == batch["input_ids"]) & (batch["labels"] != -100))
