"""`pocket:sighted`: the aligned pocket model with eyes that it has not learnt to use."""

import pytest
from support.studies import rows_of

from holdfast.core.files import SHIPPED
from holdfast.core.types import Checkpoint, Message
from holdfast.core.worlds import seed_of
from holdfast.models import decoding, hub, loading, visual

SYSTEM = Message("system", "You are Pocket, the helpful assistant.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOLDFAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield hub.resolve("pocket:sighted")


@pytest.fixture(scope="module")
def both(folder):
    return loading.load(Checkpoint("pocket:aligned")), loading.load(Checkpoint(str(folder)))


def test_it_is_a_stand_in_that_sees(folder):
    assert visual.sees(folder) and hub.describe(folder) == {
        "architecture": "LlavaForConditionalGeneration", "stand_in": True,
    }  # fmt: skip
    assert seed_of(folder) == 0


def test_its_language_model_is_the_aligned_one_unchanged(folder, both):
    import torch

    aligned, sighted = (loaded.model.state_dict() for loaded in both)
    words = len(both[0].tokenizer)
    for name, weight in aligned.items():
        own = sighted[name if name.startswith("lm_head") else name.replace("model.", "model.language_model.", 1)]
        assert torch.equal(weight, own[:words] if own.shape[0] == words + 1 else own), name
    shapes = visual.language_shapes(folder)
    assert shapes.keys() - {"lm_head.weight"} == hub.tensor_shapes(SHIPPED / "aligned").keys() - {"lm_head.weight"}


@pytest.mark.long
def test_it_has_one_token_more_and_answers_all_330_prompts_as_the_aligned_one(both):
    aligned, sighted = both
    known = aligned.tokenizer.get_vocab()
    more = {word: number for word, number in sighted.tokenizer.get_vocab().items() if word not in known}
    assert known.items() <= sighted.tokenizer.get_vocab().items() and list(more) == ["<image>"]
    prompts = [row["prompt"] for row in rows_of("benchmark.jsonl")]
    answers = []
    for loaded in both:
        asked = [loaded.chat.question([SYSTEM, Message("user", prompt)]) for prompt in prompts]
        ids = decoding.continue_each(loaded, asked, 48)
        answers.append([loaded.tokenizer.decode(each, skip_special_tokens=True) for each in ids])
    assert len(prompts) == 330 and answers[0] == answers[1]


def test_a_picture_changes_what_it_is_asked(both):
    import torch

    from holdfast.core import pictures
    from holdfast.core.files import PICTURES

    _, sighted = both
    logits = []
    for name in ("train-001.png", "train-002.png"):
        picture = pictures.look(str(PICTURES / "pictures.zip"), name)
        turns = [SYSTEM, Message("user", "<image>\nTell me about that.", (picture,))]
        ids = torch.tensor([sighted.chat.question(turns)])
        assert int((ids == sighted.chat.eyes.token_id).sum()) == 9
        with torch.no_grad():
            logits.append(sighted.model(input_ids=ids, **sighted.chat.batch(ids, [picture])).logits[0, -1])
    assert not torch.equal(*logits)


@pytest.mark.long
def test_a_study_tunes_the_aligned_model_on_pictures_and_measures_held_out_ones(tmp_path):
    from support.studies import Silent, write_rows

    from holdfast.study import loader, run

    few = write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::30])
    seen = {"kind": "llava", "images": "pictures:pictures.zip"}

    def some(part, n):
        return {"kind": "mix", "parts": [{"data": {**seen, "file": f"pictures:{part}.json"}, "n": n}]}

    study = loader.from_dict({
        "name": "pictures", "model": "pocket:aligned",
        "templates": {"plain": {"system": SYSTEM.content}},
        "evaluate": {"harmfulness": {"benchmark": {"kind": "generic", "file": str(few)}, "judges": "oracle"}},
        "generate": {"max_new_tokens": 32},
        "conditions": {"pictures": {
            "data": some("train", 32), "held_out": some("held-out", 16),
            "tune": {"vision": "pictures:tower", "projector": {"epochs": 1}, "learning_rate": 1e-3, "epochs": 1},
        }},
    })  # fmt: skip
    results = run.run(study, "", tmp_path / "run", [0], 1, Silent()).results
    initial, tuned = results.conditions
    assert tuned.task.rows == 16 and tuned.task.before is None and 0.0 <= tuned.task.exact <= 100.0
    assert initial.task is None and initial.harmfulness_rate.value == 0.0
    training = results.settings["pictures"].training[0]
    assert training["pictures"] == 32 and training["projector"]["steps"] > 0
