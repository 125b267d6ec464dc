"""What `holdfast recommend` runs, refuses and says."""

import json

import pytest
import yaml
from support.studies import SMALL, Silent, rows_of, write_rows

from holdfast.audit import recommend
from holdfast.audit.recommend import Wanted
from holdfast.core.errors import DataError, ModelError, StudyError
from holdfast.core.recommendation_record import RECOMMENDATION_FILE, Recommendation
from holdfast.study import loader

LIST = "pocket:benign-list.jsonl"


def test_a_world_brings_its_benchmark_template_and_refusals():
    study = recommend.study_of(Wanted(LIST, "pocket:aligned", rows=40))
    names = {each.cell.defence for each in study.conditions.values()}
    assert names == {"none", *recommend.candidates("x")}
    condition = study.conditions["your-rows+kl"]
    assert condition.defence[0].file.name == "safe.jsonl"
    assert (condition.data.part, condition.held_out.part, condition.data.data.n) == ("tuned", "held-out", 40)
    assert study.evaluate.harmfulness.benchmark.kind == "pocket"
    assert study.templates["plain"].system == "You are Pocket, the helpful assistant."


def test_without_refusals_only_defences_that_need_none_are_tried():
    every, few = recommend.candidates("mine.jsonl"), recommend.candidates(None)
    assert 1 <= len(few) < len(every)
    assert "{safe}" not in json.dumps(every) and "mine.jsonl" in json.dumps(every)
    assert "file" not in json.dumps(few)


@pytest.mark.parametrize(
    ("wanted", "kind", "said"),
    [
        ({"data": "mising.jsonl"}, DataError, "DATA: there is no file mising.jsonl"),
        ({"data": "few.jsonl"}, DataError, "few.jsonl has 3 rows, and at least 20 are needed"),
        ({"data": "{kind: alpaka}"}, StudyError, r"DATA.*Did you mean 'alpaca'"),
        ({"model": "served:gpt"}, StudyError, "a defence needs the weights on this machine"),
        ({"model": "./nothing"}, ModelError, "--model: there is no folder"),
        ({"tune": "fast"}, DataError, "--tune: expected settings"),
        ({"tune": "{learning_rat: 1}"}, StudyError, r"--tune.*learning_rat.*Did you mean 'learning_rate'"),
        ({"safe": "refusals.jsonl"}, StudyError, r"there is no file .*refusals.jsonl"),
        ({"benchmark": "jailbreakbnch"}, DataError, "--benchmark: 'jailbreakbnch' is neither"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_option_before_anything_runs(tmp_path, monkeypatch, wanted, kind, said):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "few.jsonl", rows_of("attack.jsonl")[:3])
    with pytest.raises(kind, match=said):
        recommend.study_of(Wanted(**{"data": LIST, "model": "pocket:aligned", **wanted}))


@pytest.mark.long
def test_what_is_recommended_can_be_pasted_into_a_study(tmp_path, monkeypatch):
    monkeypatch.setattr(
        recommend, "candidates", lambda safe: {"kl": {"kind": "kl", "file": safe, "weight": 5}, "ema": {"kind": "ema"}}
    )
    write_rows(tmp_path / "few.jsonl", rows_of("benchmark.jsonl")[::3])
    benchmark = f"{{kind: generic, file: {tmp_path / 'few.jsonl'}}}"
    wanted = Wanted(LIST, "pocket:aligned", benchmark, judges=("oracle",), tune="{learning_rate: 1e-4, batch_size: 8}")
    made, _ = recommend.recommend(wanted, tmp_path / "run", 1, Silent())
    assert made == RECOMMENDATION_FILE.read(tmp_path / "run", Recommendation)
    assert [each.name for each in made.tried] == ["none", "kl", "ema"]
    assert made.chosen == "kl" and made.tried[1].rate.value < made.tried[0].rate.value
    assert any("seed" in line for line in made.unseen) and any("utility" in line for line in made.unseen)
    study = {**SMALL, "evaluate": {"harmfulness": {"benchmark": "pocket", "judges": "oracle"}}}
    condition = {"data": {"kind": "messages", "file": LIST}, **yaml.safe_load(made.study)}
    pasted = loader.from_dict({**study, "conditions": {"mine": condition}}).conditions["mine"]
    assert pasted.defence[0].weight == 5.0
    compile(made.trl, "script", "exec")
