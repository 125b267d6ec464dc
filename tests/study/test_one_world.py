"""A study of a pocket model keeps to that model's world."""

import shutil

import pytest
from support.other_worlds import plant
from support.studies import SMALL

from holdfast.audit.setup import Request, prepare
from holdfast.core.errors import ModelError, StudyError
from holdfast.core.files import SHIPPED, locate, shown_name, world_folder
from holdfast.core.worlds import home_of, seed_of
from holdfast.models import hub
from holdfast.paper import reproduce
from holdfast.study import loader
from holdfast.study.plan import make_plan

OF_POCKET = {"harmfulness": {"benchmark": "pocket", "judges": "oracle"}}


def study(**changes):
    return loader.from_dict({**SMALL, "evaluate": OF_POCKET, **changes})


def test_everything_is_of_the_models_world():
    folder = plant(3)
    made = study(model="pocket:aligned@3")
    assert made.evaluate.harmfulness.benchmark.file == folder / "benchmark.jsonl"
    assert made.conditions["harm-2"].data.pool.file == folder / "attack.jsonl"
    resolved = made.model_dump(mode="json")
    assert resolved["conditions"]["harm-2"]["data"]["pool"]["file"] == "pocket:attack.jsonl@3"
    again = loader.from_dict(resolved)
    assert again == made
    assert make_plan(made, [0]).base.base == str(folder / "aligned")


def test_a_world_in_a_folder_of_the_users_is_found_beside_its_model(tmp_path):
    folder = plant(4, tmp_path / "mine")
    made = study(model=str(folder / "aligned"))
    assert made.evaluate.harmfulness.benchmark.file == folder / "benchmark.jsonl"
    tuned = shutil.copytree(folder / "helpful", tmp_path / "tuned")
    assert home_of(tuned) is None
    plant(4)
    assert home_of(tuned) == world_folder(4)


def test_the_shipped_world_stays_what_it_is():
    assert study().evaluate.harmfulness.benchmark.file == SHIPPED / "benchmark.jsonl"
    assert world_folder(0) == locate("pocket:aligned@0").parent == SHIPPED
    assert shown_name(SHIPPED / "aligned") == "pocket:aligned"


def test_a_mix_of_worlds_is_refused_by_name():
    plant(3)
    pool = {"data": {"kind": "explicit-harm", "pool": "pocket:attack.jsonl@0", "shots": 20}}
    with pytest.raises(
        StudyError, match=r"pocket:attack.jsonl is of the pocket world of seed 0, but the study's model"
    ):
        study(model="pocket:aligned@3", conditions={"harm": pool})
    file = {"kind": "pocket", "file": "pocket:benchmark.jsonl@3"}
    with pytest.raises(StudyError, match=r"evaluate.harmfulness.benchmark.file: pocket:benchmark.jsonl@3 is of the"):
        study(evaluate={"harmfulness": {"benchmark": file, "judges": "oracle"}})
    with pytest.raises(StudyError, match=r"checkpoint: pocket:helpful@3 is of the pocket world of seed 3"):
        study(conditions={"other": {"checkpoint": "pocket:helpful@3"}})


def test_a_world_that_is_not_built_is_named_with_its_command():
    with pytest.raises(StudyError, match=r"world of seed 5 is not built yet.*`holdfast pocket build --seed 5`"):
        study(model="pocket:aligned@5")
    with pytest.raises(ModelError, match=r"`holdfast pocket build --seed 5`"):
        hub.resolve("pocket:aligned@5")
    plant(6)
    with pytest.raises(StudyError, match=r"there is no file"):
        study(model="pocket:aligned@6", conditions={"harm": {"data": {"kind": "messages", "file": "pocket:x@6"}}})


def test_the_papers_preset_moves_to_another_world():
    folder = plant(3)
    moved = reproduce.prepare("pocket", ["table1", "table4"], base="pocket:aligned@3").study
    files = [moved.conditions["harmful-100-shot"].data.pool.file, moved.evaluate.utility.benchmark.file]
    assert {file.parent for file in files} == {folder}
    assert moved.conditions["benign-1-few-safe"].defence[0].model_dump(mode="json")["file"] == "pocket:safe.jsonl@3"


def test_what_is_of_no_world_has_no_seed(tmp_path):
    assert seed_of(tmp_path) is None
    assert seed_of(tmp_path / "absent.jsonl") is None
    (tmp_path / "aligned").mkdir()
    (tmp_path / "aligned" / "config.json").write_text('{"pocket_world": "many"}')
    (tmp_path / "rows.jsonl").write_text("")
    assert seed_of(tmp_path / "rows.jsonl") is None


def test_an_audit_asks_a_model_of_another_world_about_its_own():
    folder = plant(3)
    made = prepare(Request("pocket:aligned@3", "pocket:helpful@3")).study
    sets = [made.evaluate.harmfulness, made.evaluate.utility, made.evaluate.over_refusal]
    assert {measured.benchmark.file.parent for measured in sets} == {folder}
    with pytest.raises(StudyError, match=r"TUNED: pocket:helpful is of the pocket world of seed 0, but the study's"):
        prepare(Request("pocket:aligned@3", "pocket:helpful@0"))
