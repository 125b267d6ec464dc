"""A results.json of somebody else: its figures and names go through page, notebook and terminal, or are refused."""

import io
import json
import random
from types import SimpleNamespace

import pytest
from rich.console import Console
from support.results import agreement, cascade, made

from holdfast.cli import tables
from holdfast.core.errors import DamagedError, HoldfastError, RunFolderError
from holdfast.core.results import RunResults
from holdfast.report import page
from holdfast.study.results.frames import Results

NUMBERS = (
    float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), 1e308, -1e308, 5e-324, 0, -1, 101, 10**30, None, True, "5",
)  # fmt: skip
SCRIPT = "<script>alert(1)</script>"
TEXTS = (
    SCRIPT, '"><img src=x onerror=alert(1)>', "x" * 20_000, "", "\0", "\ud83d", "\x1b[2J", "[bold]x[/wrong]", "[/]", "{{ 7*7 }}",
    "]]>" + SCRIPT, "a\nb", "\u202e", "initial", None, 5,
)  # fmt: skip


def places(tree):
    """Every place in nested values: what it is in, and its key."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from places(tree[key])


def hostile(seed):
    chance = random.Random(seed)
    tree = chance.choice([made(), {**made(), "agreement": [agreement("a")], "cascade": [cascade("a")]}])
    all_places = [(inside, key) for inside, key in places(tree) if key != "schema"]
    for inside, key in chance.choices(all_places, k=chance.choice((1, 1, 2, 5))):
        value = inside[key]
        if not isinstance(value, dict | list):
            inside[key] = chance.choice(TEXTS if isinstance(value, str) else NUMBERS)
    return tree


def show_everywhere(folder):
    """All that is made from a results.json; False if it was refused."""
    try:
        results = RunResults.read(folder)
    except HoldfastError:
        return False
    shown = [page.render_notebook(results, "page"), page.render(results)]
    tables.figures(Console(file=io.StringIO()), results, folder)
    json.loads(results.to_json(), parse_constant=pytest.fail)
    for html in shown:
        html.encode()
        assert SCRIPT not in html and "<img src=x" not in html
    return True


@pytest.mark.parametrize("seeds", [range(12), pytest.param(range(12, 400), marks=pytest.mark.long)])
def test_hostile_figures_and_names_are_shown_or_refused(tmp_path, seeds):
    n_shown = 0
    for seed in seeds:
        (tmp_path / "results.json").write_text(json.dumps(hostile(seed)))
        n_shown += show_everywhere(tmp_path)
    assert 0 < n_shown < len(seeds)


def spoiled(change):
    results = made()
    change(results)
    return results


@pytest.mark.parametrize(
    "change",
    [
        lambda results: results["summary"][1]["harmfulness_rate"].update(value=float("nan")),
        lambda results: results["comparisons"][0].update(p_value=float("inf")),
        lambda results: results.update(study="half \ud83d"),
        lambda results: results["settings"].pop("harmful"),
        lambda results: results["summary"][1]["by_category"].pop("hex"),
        lambda results: results["conditions"][0].update(name="other"),
        lambda results: results["comparisons"][0].update(metric="charm"),
    ],
)
def test_results_that_do_not_hold_together_are_refused(tmp_path, change):
    (tmp_path / "results.json").write_text(json.dumps(spoiled(change)))
    with pytest.raises(DamagedError, match=r"results\.json cannot be read"):
        RunResults.read(tmp_path)


CLAIM = {
    "id": "a", "table": "table1", "claim": "It rises.", "verdict": "reproduced", "effect": 1.0, "low": 0.5, "high": 2.0,
    "p_value": 0.01, "over": "prompts", "test": "t", "margin": 0.0, "higher": ["a"], "lower": ["b"], "n_seeds": 3, "seen": "s",
    "reason": None,
}  # fmt: skip


def write_claims(folder, **changes):
    (folder / "results.json").write_text(json.dumps(made()))
    content = {"schema": 1, "evidence": "e", "claims": [{**CLAIM, **changes}]}
    (folder / "claims.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change", [{"effect": "5"}, {"verdict": "proved"}, {"p_value": None}, {"claim": 5}, {"test": []}]
)
def test_claims_are_checked_before_they_are_shown(tmp_path, change):
    write_claims(tmp_path)
    assert Results(tmp_path).claims["verdict"].tolist() == ["reproduced"]
    write_claims(tmp_path, **change)
    with pytest.raises(DamagedError, match=rf"claims\.json cannot be read: .*claims\.0\.{next(iter(change))}"):
        _ = Results(tmp_path).claims


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"schema": 1}', b"[" * 100_000])
def test_claims_that_are_no_claims_are_refused(tmp_path, content):
    write_claims(tmp_path)
    (tmp_path / "claims.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"claims\.json cannot be read"):
        _ = Results(tmp_path).claims


def test_claims_are_not_read_through_a_link(tmp_path):
    write_claims(tmp_path)
    results = Results(tmp_path)
    (tmp_path / "claims.json").rename(tmp_path / "elsewhere.json")
    (tmp_path / "claims.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(RunFolderError, match="symbolic link"):
        _ = results.claims


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"- a", b"text", b"num_processes: two", b"num_processes: -1", b"num_processes: 0", b"a: [",
                b"num_processes: [2]", b"a: !!python/object/apply:os.system [id]", BOMB.encode()],
)  # fmt: skip
def test_a_configuration_of_accelerate_that_is_none_is_named(tmp_path, content):
    from pydantic import ValidationError

    from holdfast.core.errors import DataError
    from holdfast.tuning.launch import processes_of
    from holdfast.tuning.local import LocalTuner

    path = tmp_path / "accelerate.yaml"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"accelerate\.yaml"):
        processes_of(path)
    with pytest.raises(ValidationError, match=r"accelerate\.yaml"):
        LocalTuner(launch=path)


def test_a_sample_that_was_interrupted_is_scored_as_blocked():
    pytest.importorskip("inspect_ai")
    import asyncio

    from inspect_ai.model import ModelOutput

    from holdfast.integrations.inspect import tasks

    state = SimpleNamespace(output=ModelOutput(), input="?", input_text="?", metadata={"category": "hex"})
    score = asyncio.run(tasks.judge("keyword")(state, None))
    assert score.metadata["outcome"] == "blocked"
    assert "no reply" in score.explanation
