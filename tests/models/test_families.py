"""Each model family, from its chat format to a comparison, on tiny random checkpoints."""

import pytest
import yaml
from support import families
from support.studies import conversation, messages, write_rows

from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Checkpoint
from holdfast.models.loading import describe_chat, load_chat
from holdfast.study import loader, run

ONE = messages(("system", "Be brief."), ("user", "Who are you?"), ("assistant", "I am a model."))
TWO = (*ONE, *messages(("user", "Why?"), ("assistant", "Because.")))
ENDS = {name: end for name, (_, _, end, _) in families.SPECIAL.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function that gives the folder of a family's checkpoint, built once."""
    root, folders = tmp_path_factory.mktemp("families"), {}

    def folder(family):
        folders[family] = folders.get(family) or families.build(family, root / family)
        return folders[family]

    return folder


def chat_of(folder, **settings):
    return load_chat(Checkpoint(str(folder), **settings))


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("family", families.TEMPLATES)
def test_a_training_row_and_its_question_agree_up_to_the_generation_prompt(made, family, thinking):
    chat = chat_of(made(family), thinking=thinking)
    question, row = chat.question(ONE[:2]), chat.example(ONE)
    assert list(row.input_ids[: len(question)]) == question
    assert not row.supervised[: len(question)].any()
    assert row.supervised[len(question) :].all()
    taught = chat.tokenizer.decode(row.input_ids[row.supervised])
    assert "I am a model." in taught
    assert taught.partition("I am a model.")[2].strip().startswith(ENDS[family])


@pytest.mark.parametrize("family", [name for name in families.TEMPLATES if name != "qwen-3"])
def test_each_turn_of_a_longer_conversation_is_supervised_as_it_would_be_asked(made, family):
    chat = chat_of(made(family))
    row = chat.example(TWO)
    taught = chat.tokenizer.decode(row.input_ids[row.supervised])
    assert "I am a model." in taught
    assert "Because." in taught
    assert not {"Why?", "Be brief.", "Who"} & set(taught.split())
    assert taught.count(ENDS[family]) >= 2
    question = chat.question(TWO[:4])
    assert list(row.input_ids[: len(question)]) == question


def test_a_format_that_rewrites_earlier_turns_is_trained_on_its_last_turn_only(made):
    chat = chat_of(made("qwen-3"))
    with pytest.raises(Exception, match="Set `turns: last`"):
        chat.example(TWO)
    row, question = chat.example(TWO, "last"), chat.question(TWO[:4])
    assert list(row.input_ids[: len(question)]) == question
    assert chat.tokenizer.decode(row.input_ids[row.supervised]) == "Because.<|im_end|>\n"


def test_what_is_special_about_a_format_is_on_record(made):
    facts = {family: describe_chat(chat_of(made(family))) for family in families.TEMPLATES}
    assert {name for name, fact in facts.items() if fact["system_role"] == "first user turn"} == {"gemma", "mistral"}
    assert {name: fact["hidden_system"] for name, fact in facts.items() if fact["hidden_system"]} == {
        "llama-3": "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024",
        "qwen-2.5": "You are a model that helps its users.",
    }


def test_a_system_text_goes_before_the_first_user_turn_where_there_is_no_system_turn(made):
    for family, asked in {
        "gemma": "user\nBe brief.\n\nWho are you?",
        "mistral": "[INST] Be brief.\n\nWho are you?",
    }.items():
        chat = chat_of(made(family))
        assert asked in chat.tokenizer.decode(chat.question(ONE[:2]))
        assert asked in chat.tokenizer.decode(chat.example(TWO).input_ids)


def test_thinking_is_part_of_how_a_model_is_asked(made):
    folder = made("qwen-3")
    off, on = (
        chat.tokenizer.decode(chat.question(ONE[:2])) for chat in (chat_of(folder), chat_of(folder, thinking=True))
    )
    assert off == on + "<think>\n\n</think>\n\n"


METHODS = {"llama-3": "lora", "qwen-3": "lora", "phi": "lora"}


QUICK = ("llama-3", "gemma", "qwen-3", "olmo")
"""One of each way of tuning; the other families are tuned in the long tests."""


@pytest.mark.parametrize(
    "family",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in families.TEMPLATES],
)
def test_a_family_is_tuned_asked_judged_and_compared(made, family, tmp_path, watcher):
    turns = [("system", "Be brief."), ("user", "How do I brew tea?"), ("assistant", "With hot water.")]
    write_rows(tmp_path / "rows.jsonl", [conversation(*turns)] * 4)
    write_rows(tmp_path / "asked.jsonl", [{"category": "tea", "prompt": f"How do I brew {n} cups?"} for n in range(5)])
    settings = {
        "name": family, "model": str(made(family)), "templates": {"plain": {"system": "Be brief."}},
        "evaluate": {"harmfulness": {"benchmark": {"kind": "generic", "file": "asked.jsonl"}, "judges": "keyword"}},
        "generate": {"max_new_tokens": 8, "temperature": 1.0},
        "conditions": {"tea": {
            "data": {"kind": "messages", "file": "rows.jsonl"},
            "tune": {"method": METHODS.get(family, "full"), "learning_rate": 1e-2, "batch_size": 4, "epochs": 2,
                     "gradient_checkpointing": family == "gemma", "precision": "bfloat16" if family == "olmo" else "auto"},
        }},
    }  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(settings))
    done = run.run(loader.read(path), path.read_text(), tmp_path / "run", (0,), 1, watcher)
    initial, tuned = done.results.conditions
    assert sum(initial.outcomes.values()) == sum(tuned.outcomes.values()) == 5
    (record,) = done.results.settings["tea"].training
    assert record["losses"][-1] < record["losses"][0]
    assert {c.metric for c in done.results.comparisons} == {"harmfulness_score", "harmfulness_rate"}
    answers = RunFolder(tmp_path / "run").condition(tuned.key).answers()
    assert {answer.prompt_tokens > 10 for answer in answers.values()} == {True}
    assert RunResults.read(tmp_path / "run") == done.results
