"""The paper in several pocket worlds: what is counted, what is written, and what is refused."""

import json
import re

import pytest
from support.other_worlds import plant
from support.results import made, typed
from support.studies import rows_of, write_rows

from holdfast.core.errors import DamagedError, RunFolderError, StudyError
from holdfast.core.world_entries import read_worlds
from holdfast.paper import reproduce as paper
from holdfast.paper import worlds
from holdfast.report import page, world_table


def entry(verdict, effect, claim="ten-examples-harm"):
    """A claim's entry as far as worlds count it."""
    said = {"id": claim, "table": "table1", "claim": "Ten examples harm.", "verdict": verdict, "effect": effect}
    return said | {"low": None, "high": None}


def of_five(*verdicts):
    """What five worlds of these verdicts say; their effects are 10, 20, 30, 40 and 50 points."""
    everywhere = {seed: [entry(verdict, 10.0 * seed)] for seed, verdict in enumerate(verdicts, 1)}
    return worlds.summarise("reproduce-pocket", 3, [entry("reproduced", 82.8)], everywhere)


def test_worlds_are_counted_without_the_one_that_settings_were_tuned_to():
    content = of_five("reproduced", "reproduced", "reproduced", "reproduced", "inconclusive")
    (claim,) = content["claims"]
    assert (claim["reproduced"], claim["of"]) == (4, 5)
    assert (claim["low"], claim["high"]) == pytest.approx((28.4, 99.5), abs=0.05)
    assert claim["effect"] == 30.0
    assert claim["effect_low"] == pytest.approx(30 - 2.776 * 15.811 / 5**0.5, abs=0.01)
    assert claim["shipped"]["effect"] == 82.8
    assert world_table.headline(content).startswith("1 of 1 claims are reproduced in at least 4 of 5 worlds")
    assert world_table.headline(of_five(*["reproduced"] * 3, *["not reproduced"] * 2)).startswith("0 of 1 claims")


def test_the_table_has_every_world_and_says_how_little_five_are():
    text = world_table.markdown(of_five(*["reproduced"] * 4, "not reproduced"))
    row = "| Ten examples harm. (table1) | yes, +10.0 | yes, +20.0 | yes, +30.0 | yes, +40.0 | no, +50.0 | 4 of 5 | 28 to 99 % |"
    assert row in text
    assert "yes, +82.8 |" in text
    assert "5 worlds are few" in text
    assert "can still fail in up to 52 % of such worlds" in world_table.caution(of_five(*["reproduced"] * 5))


def test_a_claim_without_a_difference_in_one_world_has_no_mean():
    everywhere = {1: [entry("inconclusive", None)], 2: [entry("reproduced", 10.0)]}
    (claim,) = worlds.summarise("x", 3, [entry("reproduced", 1.0)], everywhere)["claims"]
    assert claim["effect"] is None
    assert "| – |" in world_table.markdown(worlds.summarise("x", 3, [entry("reproduced", 1.0)], everywhere))


@pytest.mark.parametrize("seeds", [(), (0, 1), (1, 1), tuple(range(1, 102))])
def test_what_is_no_choice_of_worlds_is_refused(seeds):
    with pytest.raises(StudyError, match=r"World 0, the shipped one, is run beside them"):
        worlds.check(seeds, "pocket", None)


def test_other_presets_and_bases_have_no_worlds():
    with pytest.raises(StudyError, match=r"use --model pocket, and no --base"):
        worlds.check((1,), "llama-2-7b-chat", None)
    with pytest.raises(StudyError, match=r"use --model pocket, and no --base"):
        worlds.check((1,), "pocket", "pocket:helpful")


def test_a_damaged_file_is_named_with_its_remedy(tmp_path):
    path, content = tmp_path / "worlds.json", of_five(*["reproduced"] * 5)
    path.write_text(json.dumps(content))
    assert read_worlds(tmp_path) == content
    path.write_text(json.dumps({**content, "schema": 9}))
    with pytest.raises(RunFolderError, match=r"has the schema 9"):
        read_worlds(tmp_path)
    path.write_text(json.dumps({**content, "worlds": [1, 2]}))
    with pytest.raises(DamagedError, match=r"ten-examples-harm is not told of each of the worlds 1, 2"):
        read_worlds(tmp_path)
    path.write_text('{"schema": 1}')
    with pytest.raises(DamagedError, match=r"with the same worlds and folder writes it again"):
        read_worlds(tmp_path)


def test_the_page_shows_each_claim_in_each_world():
    content = of_five("reproduced", "reproduced", "reproduced", "inconclusive", "not reproduced")
    shown = page.render_reproduction(typed(made()), [], [], {}, None, content)
    assert re.search(r"3 of 5<span class=.range.>15 to 95 %", shown)
    assert re.findall(r"</svg>(yes|no|open)</span>", shown) == ["yes", "yes", "yes", "open", "no", "yes"]
    assert "The settings were tuned to it, so it is not counted." in shown
    assert "In other worlds" not in page.render_reproduction(typed(made()), [], [], {})


@pytest.mark.long
def test_each_world_is_run_in_its_own_folder_and_all_are_on_the_page(tmp_path, watcher, monkeypatch):
    """Two planted worlds, a condition and 22 prompts: the models are the shipped one, so the worlds agree."""
    for seed in (1, 2):
        plant(seed)
    for name in ("benchmark.jsonl", "utility.jsonl"):
        write_rows(tmp_path / name, rows_of(name)[::30])

    def prepare(base):
        wanted = paper.prepare("pocket", ["table1"], base)
        asked = wanted.study.evaluate
        few = asked.harmfulness.model_copy(
            update={"benchmark": asked.harmfulness.benchmark.model_copy(update={"file": tmp_path / "benchmark.jsonl"})}
        )
        evaluate = asked.model_copy(update={"harmfulness": few, "utility": None, "over_refusal": None})
        kept = {name: wanted.study.conditions[name] for name in ("harmful-10-shot",)}
        study = wanted.study.model_copy(update={"conditions": kept, "evaluate": evaluate})
        return paper.Reproduction(study, wanted.source, wanted.claims)

    runs = []

    def run(wanted, folder):
        runs.append((wanted.study.model, folder))
        return paper.reproduce(wanted, folder, (0,), 1, watcher)

    _, _, content = worlds.reproduce((1, 2), prepare(None), prepare, tmp_path / "run", run, 1, watcher)
    assert runs == [
        ("pocket:aligned@1", tmp_path / "run" / "worlds" / "1"),
        ("pocket:aligned@2", tmp_path / "run" / "worlds" / "2"),
        ("pocket:aligned", tmp_path / "run"),
    ]
    assert read_worlds(tmp_path / "run") == content
    (claim,) = content["claims"]
    assert {world["effect"] for world in (*claim["worlds"], claim["shipped"])} == {claim["shipped"]["effect"]}
    shown = (tmp_path / "run" / "report.html").read_text()
    assert "In other worlds" in shown
    assert re.search(r"0 of 2<span class=.range.>0 to 84 %", shown)
    assert "In other worlds" not in (tmp_path / "run" / "worlds" / "1" / "report.html").read_text()
    assert (tmp_path / "run" / "worlds.md").read_text() == world_table.markdown(content)
