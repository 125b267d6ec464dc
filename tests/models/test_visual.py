"""Models that see: their conversations, token by token, and what they answer."""

import json
from types import SimpleNamespace

import pytest
import torch
from support.visual import album, llava, photo, qwen, text_model, tower

from holdfast.core import pictures
from holdfast.core.errors import ModelError, RenderError
from holdfast.core.looking import PictureError
from holdfast.core.types import Checkpoint, Message, Template
from holdfast.data.training.visual import LLaVA
from holdfast.models import joined, loading
from holdfast.models.samplers.base import Question
from holdfast.models.samplers.local import Local


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    (folder / "a.jpg").write_bytes(photo(1, 90, 50))
    return {"llava": llava(folder / "llava"), "qwen": qwen(folder / "qwen"), "photo": folder / "a.jpg"}


def shown(made, text="<image>\nWhat is this?"):
    return (Message("user", text, (pictures.of_file(made["photo"]),)),)


def test_a_llavas_question_is_that_of_its_processor(made):
    from transformers import AutoProcessor

    chat = loading.chat_in(made["llava"])
    processor = AutoProcessor.from_pretrained(made["llava"])
    content = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    image = pictures.of_file(made["photo"]).image()
    wanted = processor(images=[image], text=text, add_special_tokens=False, return_tensors="pt")
    ids = chat.question(shown(made))
    assert ids == wanted["input_ids"][0].tolist()
    assert ids.count(3) == 4
    assert torch.equal(
        chat.batch(torch.tensor([ids]), [pictures.of_file(made["photo"])])["pixel_values"], wanted["pixel_values"]
    )


def test_a_qwens_question_is_that_of_its_processor(made):
    from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

    chat = loading.chat_in(made["qwen"])
    picture = pictures.of_file(made["photo"])
    ids = chat.question(shown(made))
    seen = chat.batch(torch.tensor([ids]), [picture])
    itself = SimpleNamespace(image_processor=chat.eyes.processor, image_token="<|image_pad|>")
    expanded = Qwen2VLProcessor.replace_image_token(itself, seen, 0)
    text = chat.tokenizer.decode(ids)
    assert f"<|vision_start|>{expanded}<|vision_end|>What is this?" in text
    assert ids == chat.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert seen["pixel_values"].shape[0] == int(seen["image_grid_thw"].prod()) == 4 * ids.count(5)
    assert seen["mm_token_type_ids"].sum() == ids.count(5)


@pytest.mark.parametrize("name", ["llava", "qwen"])
def test_a_row_and_its_question_agree_token_by_token(made, name):
    chat = loading.chat_in(made[name])
    end = chat.tokenizer.eos_token_id
    for turns in (shown(made), (Message("user", "What grows here?"),)):
        row, question = chat.example((*turns, Message("assistant", "Moss."))), chat.question(turns)
        assert row.input_ids[: len(question)].tolist() == question
        assert (
            not row.supervised[: len(question)].any() and not row.supervised[row.input_ids == chat.eyes.token_id].any()
        )
        taught = row.input_ids[row.supervised].tolist()
        assert chat.tokenizer.decode(taught).strip().startswith("Moss.") and end in taught
        assert row.pictures == turns[0].pictures


@pytest.mark.parametrize("name", ["llava", "qwen"])
def test_image_tokens_without_a_picture_are_refused(made, name):
    chat = loading.chat_in(made[name])
    with pytest.raises(RenderError, match="the text itself holds that token"):
        chat.question((Message("user", f"What is {chat.eyes.token}?"),))
    with pytest.raises(RenderError, match="can its model see"):
        loading.load_chat(Checkpoint("pocket:aligned")).question(shown(made))


@pytest.mark.parametrize("name", ["llava", "qwen"])
def test_a_picture_changes_what_the_model_computes(made, name):
    loaded = loading.load(Checkpoint(str(made[name])))
    logits = []
    for drawn in ("blank", "unrelated"):
        messages = Template(picture=pictures.drawn(drawn)).wrap([Message("user", "What is this?")])
        ids = torch.tensor([loaded.chat.question(messages)])
        with torch.no_grad():
            logits.append(loaded.model(ids, **loaded.chat.batch(ids, [pictures.drawn(drawn)])).logits[0, -1])
    assert not torch.allclose(logits[0], logits[1])


@pytest.mark.parametrize("name", ["llava", "qwen"])
def test_questions_with_and_without_a_picture_are_asked_together_as_alone(made, name):
    loaded = loading.load(Checkpoint(str(made[name])))
    every = [
        Question("text", (Message("user", "What grows here, and what does it eat?"),), 6),
        Question("photo", shown(made), 6),
        Question("blank", Template(picture=pictures.drawn("blank")).wrap([Message("user", "Hm?")]), 6),
    ]
    together = {reply.id: reply for reply in Local.of(loaded).ask(every, None)}
    alone = {reply.id: reply for each in every for reply in Local.of(loaded).ask([each], None)}
    assert together == alone
    assert {reply.outcome for reply in together.values()} <= {"ok", "truncated", "empty"}


def test_a_joined_model_speaks_as_its_language_model_and_sees(tmp_path):
    text = text_model(tmp_path / "text")
    joined.join(text, tower(tmp_path / "tower"), tmp_path / "joined", 0)
    one, other = loading.load(Checkpoint(str(text))), loading.load(Checkpoint(str(tmp_path / "joined")))
    asked = (Message("user", "What grows here?"),)
    assert not other.chat.takes_parts and not other.chat.adds_end
    assert one.chat.question(asked) == other.chat.question(asked)
    ids = torch.tensor([one.chat.question(asked)])
    with torch.no_grad():
        plain, joint = one.model(ids).logits, other.model(ids).logits
    assert torch.allclose(plain, joint[..., : plain.shape[-1]], atol=1e-6)
    questions = [Question("q", asked, 12)]
    assert [r.text for r in Local.of(one).ask(questions, None)] == [
        r.text for r in Local.of(other).ask(questions, None)
    ]
    shown = Template(picture=pictures.drawn("blank")).wrap(asked)
    assert other.chat.question(shown).count(other.chat.eyes.token_id) == 4
    with pytest.raises(ModelError, match="cannot be joined"):
        joined.join(text, text, tmp_path / "none", 0)


def test_what_a_model_needs_to_see_is_named(made, tmp_path):
    for path in made["qwen"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="no image processor that can be read"):
        loading.chat_in(tmp_path)
    config = json.loads((made["qwen"] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "image_token_id": 10**6}))
    (tmp_path / "preprocessor_config.json").write_bytes((made["qwen"] / "preprocessor_config.json").read_bytes())
    with pytest.raises(ModelError, match="no `image_token_id` that its tokenizer knows"):
        loading.chat_in(tmp_path)


def test_pictures_are_unpacked_when_a_batch_needs_them(made, tmp_path):
    rows, photos = album(tmp_path)
    chat = loading.chat_in(made["llava"])
    rendered = list(chat.examples(LLaVA(file=rows, images=photos).examples(0)))
    batch = chat.training_batch(rendered)
    assert batch["pixel_values"].shape == (4, 3, 28, 28)
    assert not ((batch["labels"] != -100) & (batch["input_ids"] == 3)).any()
    (photos / "2.jpg").unlink()
    assert chat.training_batch(rendered[:2])["pixel_values"].shape[0] == 2
    assert "pixel_values" not in chat.training_batch(rendered[4:])
    with pytest.raises(PictureError, match=r"2\.jpg"):
        chat.training_batch(rendered)
