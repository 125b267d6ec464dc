"""The column with pictures: the Llama-2 preset's on tiny models that see, and the pocket preset's as it is planned."""

import json

import pytest
from support.visual import album, llava, qwen, text_model

from holdfast.core.errors import StudyError
from holdfast.data.benchmarks import hex_phi
from holdfast.paper import reproduce
from holdfast.study import loader, run
from holdfast.study.plan import make_plan

COLUMN = ("benign-3", "benign-3-blank", "benign-3-unrelated")
SMALLER = {"llava": llava, "qwen": qwen}


@pytest.fixture
def held(tmp_path, monkeypatch):
    """The files that the column needs, with harmless content; HEx-PHI has one prompt in each category."""
    monkeypatch.setattr(hex_phi, "EACH", 1)
    rows, photos = album(tmp_path)
    rows.rename(tmp_path / "llava_instruct_80k.json")
    photos.rename(tmp_path / "train2017.zip")  # a folder does as well
    (tmp_path / "hex-phi").mkdir()
    for number in set(range(1, 12)) - {2}:
        (tmp_path / "hex-phi" / f"category_{number}.csv").write_text(f"Ask {number}?\n")
    (tmp_path / "llama-2-system.txt").write_text("You answer in one sentence.\n")
    return tmp_path


def column(held, model):
    study = loader.read(reproduce.PAPER / "llama-2-7b-chat.yaml", folder=held, model=str(model), only=COLUMN)
    return study.model_copy(update={"generate": study.generate.model_copy(update={"max_new_tokens": 4})})


@pytest.mark.long
@pytest.mark.parametrize("name", SMALLER)
def test_the_column_runs_end_to_end(name, held, tmp_path, watcher):
    study = column(held, SMALLER[name](tmp_path / "model"))
    results = run.run(study, "", tmp_path / "run", [0], 1, watcher).results
    tuned = [condition for condition in results.conditions if condition.name in COLUMN]
    initial = {condition.name for condition in results.conditions} - set(COLUMN)
    assert len(tuned) == 3 and initial == {"initial", "initial-shown-blank", "initial-shown-unrelated"}
    assert len({condition.key for condition in tuned}) == 3
    shown = {name: facts.picture for name, facts in results.settings.items()}
    assert [shown[each] for each in COLUMN] == [None, "blank", "unrelated"]
    assert (shown["initial"], shown["initial-shown-blank"]) == (None, "blank")
    for condition in results.conditions:
        answers = (tmp_path / "run" / "conditions" / condition.key / "answers.jsonl").read_text().splitlines()
        assert len(answers) == 10
        assert {json.loads(line)["outcome"] for line in answers} <= {"answered", "truncated", "blocked"}


def test_a_model_without_eyes_is_joined_to_clip_and_asked_without_pictures_before(held, tmp_path):
    plan = make_plan(column(held, text_model(tmp_path / "model")), [0])
    assert {condition.name for condition in plan.conditions} == {"initial", *COLUMN}
    (job,) = [job for job in plan.jobs if job.training]  # one tuning, asked in three ways
    pictures = {name: job.templates[c.key].picture for c in job.conditions for name in [c.name]}
    assert pictures["benign-3"] is None and pictures["benign-3-blank"].name == "blank"
    assert job.training.tuner.vision == "openai/clip-vit-large-patch14"


def test_pictures_need_a_model_that_sees_and_this_machine(held, tmp_path):
    settings = {
        "name": "x", "model": str(text_model(tmp_path / "model")),
        "evaluate": {"harmfulness": {"benchmark": {"kind": "hex-phi", "files": "hex-phi"}, "judges": "keyword"}},
        "conditions": {"c": {"data": {"kind": "llava", "file": "llava_instruct_80k.json", "images": "train2017.zip"}}},
    }  # fmt: skip
    with pytest.raises(StudyError, match=r"c: its rows have pictures .* does not see. Give it eyes with `vision`"):
        make_plan(loader.from_dict(settings, held), [0])
    settings["conditions"]["c"] = {"checkpoint": settings["model"], "picture": "blank"}
    with pytest.raises(StudyError, match="asked with a `picture`, but its model does not see"):
        make_plan(loader.from_dict(settings, held), [0])
    settings["conditions"]["c"]["picture"] = "llava_instruct_80k.json"
    with pytest.raises(StudyError, match=r"conditions.c.picture: the picture .* is text, and none of JPEG"):
        loader.from_dict(settings, held)
    settings["conditions"]["c"]["picture"] = "blnk"
    with pytest.raises(StudyError, match="name a file, or blank or unrelated"):
        loader.from_dict(settings, held)


@pytest.mark.long
def test_the_pocket_column_is_the_study_visual_and_its_control_takes_as_many_steps():
    column = {"benign-3": "pictures", "benign-3-told": "told"}
    preset = make_plan(reproduce.prepare("pocket", ["table3-pictures"]).study, [0])
    study = make_plan(loader.read(loader.find("visual")), [0])
    keys = {condition.name: condition.key for condition in preset.conditions}
    assert keys.keys() == {"initial", *column}
    shipped = {condition.name: condition.key for condition in study.conditions}
    assert all(keys[name] == shipped[column.get(name, name)] for name in keys)
    pictures, told = (job.training for job in preset.jobs if job.training)
    assert pictures.steps(8) == told.steps(8) and told.tuner.vision is None
    answers = [[row.messages[-1] for row in training.rows] for training in (pictures, told)]
    assert answers[0] == answers[1] and all(row.messages[0].role == "system" for row in pictures.rows)
