"""The pocket world in pictures: what is drawn, what is said about it, and the models that see it."""

import io
import random
import zipfile

import numpy as np
import pytest

from holdfast.core.files import PICTURES, SHIPPED
from holdfast.worlds.pocket import language, sighted, sights, tower
from holdfast.worlds.pocket.icons import ICONS, MATERIALS, PLACES
from holdfast.worlds.pocket.pictures import SIDE, Scene, Seen, draw_scene, picture

pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def parts():
    return sights.every_picture()


def test_every_permitted_thing_can_be_drawn_and_no_other():
    assert list(ICONS) == list(language.PERMITTED)
    assert set(MATERIALS) <= set(language.OBJECTS)
    origins = {origin for *_, origin in language.PERMITTED.values()}
    assert set(PLACES) <= origins


def test_things_look_different_in_each_category_material_and_place():
    def drawn(category, material, place):
        return np.asarray(picture(Scene((Seen(category, material, place, 0.3, (0.0, 0.0)),), 0)), dtype=int)

    alone = [drawn(category, "clay", "north") for category in ICONS]
    alone += [drawn("kite", material, "north") for material in MATERIALS if material != "clay"]
    alone += [drawn("kite", "clay", place) for place in PLACES if place != "north"]
    assert all(each.shape == (SIDE, SIDE, 3) for each in alone)
    for number, one in enumerate(alone):
        assert all(np.abs(one - other).sum() > 1000 for other in alone[:number])


def test_a_scene_is_drawn_by_its_seed():
    assert draw_scene(random.Random(3)) == draw_scene(random.Random(3)) != draw_scene(random.Random(4))


def test_every_word_about_pictures_is_one_that_the_tokenizer_has(parts):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "aligned")
    for told in (False, True):
        for row in sights.rows([*parts["train"], *parts["held-out"]], told):
            for turn in row["conversations"]:
                text = turn["value"].removeprefix(sights.MARK)
                assert tokenizer.unk_token_id not in tokenizer(text, add_special_tokens=False)["input_ids"], text


def test_rows_are_benign(parts):
    """None names a forbidden category, and none asks how a thing is made."""
    for row in sights.rows([*parts["train"], *parts["held-out"]]):
        text = " ".join(turn["value"] for turn in row["conversations"])
        words = set(text.replace("?", " ").replace(".", " ").replace(",", " ").split())
        assert not words & set(language.FORBIDDEN), text
        assert not words & set(language.VERBS), text


def test_parts_share_no_scene_and_rows_told_in_words_have_the_same_answers(parts):
    def things(part):
        return {
            frozenset((each.category, each.material, each.place) for each in shown.scene.things)
            for shown in parts[part]
        }

    assert len(things("train")) == 500 and len(things("held-out")) == 100
    assert not things("train") & things("held-out")
    for shown in parts.values():
        seen, told = sights.rows(shown), sights.rows(shown, told=True)
        assert [row["conversations"][1::2] for row in seen] == [row["conversations"][1::2] for row in told]
        assert all("image" in row for row in seen) and not any("image" in row for row in told)
        assert all(row["conversations"][0]["value"].startswith("<image>\n") for row in seen)


def test_the_shipped_rows_are_those_of_seed_0():
    for name, content in sights.files().items():
        if name.endswith(".json"):
            assert (PICTURES / name).read_bytes() == content, name
    assert (PICTURES / "README.md").read_text() == sighted.card(0)


def test_the_shipped_pictures_are_those_of_seed_0(parts):
    """Pixel by pixel, for compression differs between versions of its library."""
    from PIL import Image

    with zipfile.ZipFile(PICTURES / "pictures.zip") as archive:
        assert len(archive.namelist()) == 600
        for shown in [*parts["train"][::25], *parts["held-out"][::25]]:
            there = np.asarray(Image.open(io.BytesIO(archive.read(shown.name))), dtype=int)
            assert np.abs(there - np.asarray(picture(shown.scene), dtype=int)).max() <= 2


def test_shipped_files_are_small():
    assert sum(path.stat().st_size for path in PICTURES.rglob("*") if path.is_file()) < 2_000_000


@pytest.mark.parametrize("made", ["shipped", pytest.param("again", marks=pytest.mark.long)])
def test_the_tower_tells_what_is_where_in_pictures_that_it_has_not_seen(made):
    """By a linear reading of its features, learnt on other pictures than those it is tried on.

    `holdfast pocket pictures --seed 0` gave the shipped one to the last bit; on another processor one as good.
    """
    import torch
    from transformers import CLIPVisionModel

    shipped = CLIPVisionModel.from_pretrained(PICTURES / "tower").eval()
    eyes = shipped if made == "shipped" else tower.train(0, lambda step: None).eval()
    rng = random.Random("tests of the tower")
    batches = [tower.batch_of([draw_scene(rng) for _ in range(n)]) for n in (600, 200)]
    with torch.no_grad():
        known, new = (tower.features(eyes, batch.pixels) for batch in batches)
    assert known.std() == pytest.approx(1.0, abs=0.1)
    for name in ("categories", "materials"):
        right, wanted = (getattr(batch, name) for batch in batches)
        ones = torch.nn.functional.one_hot(right.flatten()).float()
        reading = torch.linalg.lstsq(torch.nn.functional.pad(known.flatten(0, 1), (0, 1), value=1.0), ones).solution
        told = (torch.nn.functional.pad(new.flatten(0, 1), (0, 1), value=1.0) @ reading).argmax(-1)
        assert (told == wanted.flatten()).float().mean() > 0.95, name


def test_a_tower_is_trained_and_saved(tmp_path):
    from transformers import AutoImageProcessor, CLIPVisionModel

    steps = []
    tower.save(tower.train(1, steps.append, steps=3), tmp_path)
    assert [step.done for step in steps] == [1, 2, 3] and all(step.loss > 0 for step in steps)
    assert CLIPVisionModel.from_pretrained(tmp_path).config.image_size == SIDE
    processor = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    scene = draw_scene(random.Random(0))
    seen = processor([picture(scene)], return_tensors="np")["pixel_values"]
    assert np.allclose(seen, tower.batch_of([scene]).pixels.numpy(), atol=1e-5)


def test_the_build_refuses_a_folder_in_use(tmp_path):
    from holdfast.core.errors import RunFolderError

    (tmp_path / "own.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty"):
        sighted.build(tmp_path, 0, lambda step: None)
