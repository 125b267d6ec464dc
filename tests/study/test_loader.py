import re

import pytest
import yaml

from holdfast.core.errors import StudyError
from holdfast.study import loader as studies

GOOD = """\
name: mine
model: pocket:aligned
templates:
  plain: {system: hello}
evaluate:
  harmfulness: {benchmark: pocket, judges: [oracle, keyword]}
tune: {learning_rate: 5e-5, epochs: 3}
conditions:
  first:
    data: {kind: explicit-harm, pool: "pocket:attack.jsonl", shots: 10}
  second:
    data: {kind: messages, file: "pocket:benign-list.jsonl", n: 5}
    tune: {epochs: 1}
"""


def problems(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError) as caught:
        studies.read(path)
    return str(caught.value)


def test_shipped_studies_read_and_say_how_to_run_them():
    for path in studies.shipped_studies():
        assert studies.read(path).name == path.stem
        assert f"holdfast run {path.stem}" in path.read_text()
        assert studies.title(path)


def test_shared_tuning_settings_reach_conditions_and_are_overridden(tmp_path):
    (tmp_path / "s.yaml").write_text(GOOD)
    study = studies.read(tmp_path / "s.yaml")
    assert study.conditions["first"].tune.learning_rate == 5e-5  # YAML 1.1 reads 5e-5 as text
    assert (study.conditions["first"].tune.epochs, study.conditions["second"].tune.epochs) == (3, 1)


FIVE = GOOD.replace("model: pocket:aligned", "model: pocket:alined").replace("tune: {epochs: 1}", "tune: {epochs: 0}")
FIVE = (
    FIVE.replace("shots: 10", "shot: 10")
    .replace("judges: [oracle", "judges: [oracel")
    .replace("list.jsonl", "lst.jsonl")
)


def test_five_mistakes_are_reported_at_once_with_line_and_remedy(tmp_path):
    said = problems(tmp_path, FIVE)
    for line, remedy in {
        2: "there is no folder",
        6: "Did you mean 'oracle'?",
        10: "Did you mean 'shots'?",
        12: "Did you mean 'benign-list.jsonl'?",
        13: "greater than 0",
    }.items():
        assert re.search(rf"^  line {line}: .*{re.escape(remedy)}", said, re.MULTILINE), (line, said)


@pytest.mark.long
def test_nothing_heavy_is_loaded_to_find_mistakes(tmp_path):
    import subprocess
    import sys

    (tmp_path / "five.yaml").write_text(FIVE)
    code = (
        "import sys\nfrom pathlib import Path\nfrom holdfast.study import loader as study\n"
        "try: study.read(Path(sys.argv[1]))\nexcept Exception: pass\n"
        "sys.exit(int('torch' in sys.modules or 'transformers' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "five.yaml"], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("name: mine", "name: my study"), "line 1: name: 'my study' cannot be a name"),
        (("name: mine\n", ""), "'name' is missing"),
        (("  second:", "  initial:"), "line 11: .*reserved for the model before tuning"),
        (("  second:", "  first:"), "line 11: 'first' is given twice"),
        (("epochs: 3}", "epoch: 3}"), "line 7: tune.epoch: unknown key 'epoch'.*Did you mean 'epochs'"),
        (
            ("    tune: {epochs: 1}", "    template: plan"),
            "line 13: .*there is no template 'plan'.*Did you mean 'plain'",
        ),
        (("{system: hello}", "{user: hello}"), "line 4: .*where the request goes"),
        (("kind: messages", "kind: mesages"), "line 12: .*Did you mean 'messages'"),
        (("benchmark: pocket", "benchmark: 7"), "line 6: .*expected a name or settings"),
        (("tune: {learning_rate: 5e-5, epochs: 3}", "tune: fast"), "line 7: tune: .*found 'fast'"),
        (("tune: {learning_rate: 5e-5", "tune: {learning_rate: fast"), "line 7: tune.learning_rate: .*found 'fast'"),
        (("judges: [oracle, keyword]", "judges: []"), "line 6: .*judges"),
    ],
)
def test_a_mistake_is_named_where_it_is(tmp_path, change, said):
    text = GOOD.replace(*change)
    assert text != GOOD
    assert re.search(said, problems(tmp_path, text)), problems(tmp_path, text)


def test_a_shared_mistake_is_said_once(tmp_path):
    assert "1 mistake(s)" in problems(tmp_path, GOOD.replace("epochs: 3}", "epoch: 3}"))


def test_broken_yaml_is_named_by_line(tmp_path):
    assert "line 4" in problems(tmp_path, "name: x\nmodel: y\nseeds: [1\nevaluate: {}\n")
    assert "must be a mapping" in problems(tmp_path, "- name\n")


def test_an_unknown_study_lists_the_shipped_ones():
    with pytest.raises(StudyError, match=r"shipped are .*demo.*Did you mean 'demo'"):
        studies.find("dmo")


def test_a_study_survives_its_own_dump(tmp_path):
    (tmp_path / "s.yaml").write_text(GOOD)
    study = studies.read(tmp_path / "s.yaml")
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
    assert studies.read(tmp_path / "t.yaml") == study


def test_a_grid_is_one_condition_for_each_combination(tmp_path):
    text = GOOD.replace("    tune: {epochs: 1}", "    grid: {learning_rate: [1e-5, 2.0e-5], epochs: [1, 2]}")
    (tmp_path / "s.yaml").write_text(text)
    conditions = studies.read(tmp_path / "s.yaml").conditions
    assert list(conditions) == ["first", *(f"second-lr-{lr}-epochs-{n}" for lr in ("1e-5", "2e-05") for n in (1, 2))]
    assert conditions["second-lr-2e-05-epochs-2"].tune.learning_rate == 2e-5
    assert conditions["second-lr-2e-05-epochs-2"].tune.epochs == 2


def test_a_mistake_in_a_grid_is_named_at_its_condition(tmp_path):
    text = GOOD.replace("    tune: {epochs: 1}", "    grid: {epochs: [1, 0]}").replace("n: 5", "m: 5")
    said = problems(tmp_path, text)
    assert re.search(r"line 12: conditions.second.data.m: unknown key 'm'", said)
    assert re.search(r"line 13: conditions.second.grid.epochs: .*greater than 0", said)


def test_decodings_share_the_other_settings_of_generate(tmp_path):
    text = GOOD + "    decoding: hot\ngenerate: {max_new_tokens: 9}\ndecodings: {hot: {temperature: 1.0}}\n"
    (tmp_path / "s.yaml").write_text(text)
    hot = studies.read(tmp_path / "s.yaml").decodings["hot"]
    assert (hot.max_new_tokens, hot.temperature) == (9, 1.0)
    assert "there is no decoding 'hat'; use one of hot. Did you mean 'hot'?" in problems(
        tmp_path, text.replace("decoding: hot", "decoding: hat")
    )


def test_factors_must_be_the_same_everywhere(tmp_path):
    text = (
        GOOD.replace("    tune: {epochs: 1}", "    factors: {style: a}")
        + "  third:\n    data: {kind: messages, file: 'pocket:benign-list.jsonl'}\n    factors: {size: b}\n"
    )
    assert "must all name the same ones; found size and style" in problems(tmp_path, text)


def test_a_system_turn_can_come_from_a_file(tmp_path):
    (tmp_path / "system.txt").write_text("Be kind.\n")
    text = GOOD.replace("{system: hello}", "{system_file: system.txt}")
    (tmp_path / "s.yaml").write_text(text)
    assert studies.read(tmp_path / "s.yaml").templates["plain"].template().system == "Be kind."
    both = GOOD.replace("{system: hello}", "{system: hello, system_file: system.txt}")
    assert "as `system` or as `system_file`, not as both" in problems(tmp_path, both)


@pytest.mark.parametrize(
    "change",
    [
        ('first:\n    data: {kind: explicit-harm, pool: "pocket:attack.jsonl", shots: 10}\n', "first: 7\n"),
        ("model: pocket:aligned", "model: pocket:alined"),
        ("benchmark: pocket", "benchmark: poket"),
        ("shots: 10", "shot: 10"),
        ("  second:", "  initial:"),
        ("name: mine\n", ""),
    ],
)
def test_a_misspelt_setting_that_conditions_share_is_reported_with_every_other_mistake(tmp_path, change):
    text = GOOD.replace("learning_rate: 5e-5", "learning_rte: 5e-5")
    assert text.replace(*change) != text
    message = problems(tmp_path, text.replace(*change))
    assert "line 7: tune.learning_rte: unknown key 'learning_rte'" in message or "line 6: tune.learning_rte" in message
    assert "Did you mean 'learning_rate'?" in message
    assert "1 mistake(s)" not in message


BROUGHT = """\
name: mine
model: pocket:aligned
evaluate:
  harmfulness: {benchmark: poket, judges: oracle}
tune: {learning_rte: 5e-5}
conditions:
  brought: {checkpoint: "pocket:helpful"}
"""


def test_a_misspelt_setting_that_no_condition_uses_is_reported_too(tmp_path):
    message = problems(tmp_path, BROUGHT)
    assert "2 mistake(s)" in message
    assert "line 5: tune.learning_rte: unknown key" in message


def test_a_study_from_a_dict_is_the_study_of_the_file(tmp_path):
    (tmp_path / "s.yaml").write_text(GOOD)
    settings = yaml.safe_load(GOOD)
    assert studies.from_dict(settings) == studies.read(tmp_path / "s.yaml")
    assert settings == yaml.safe_load(GOOD), "the dict is left as it was"


def test_mistakes_in_a_dict_are_named_without_lines():
    settings = yaml.safe_load(FIVE)
    with pytest.raises(StudyError) as caught:
        studies.from_dict(settings)
    message = str(caught.value)
    assert message.startswith("the study has 6 mistake(s):\n  ")
    assert "\n  conditions.first.data.shot: unknown key 'shot'" in message
    assert "line " not in message


def test_files_of_a_dict_are_looked_for_in_the_folder_that_is_given(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"messages": []}')
    settings = yaml.safe_load(GOOD)
    settings["conditions"]["second"]["data"]["file"] = "rows.jsonl"
    assert studies.from_dict(settings, tmp_path).conditions["second"].data.file == tmp_path / "rows.jsonl"
    with pytest.raises(StudyError, match=r"there is no file rows.jsonl"):
        studies.from_dict(settings)
