"""A verdict is bought once: by equal answers, by runs elsewhere, by several workers, and after a kill."""

import json
import subprocess
import sys
import threading
from collections import Counter

import pytest
from support.endpoint_double import Double, fails, says
from support.scripted_judge import Scripted, honest, scripted

from holdfast.core.budget import NoBudget
from holdfast.core.config import label
from holdfast.core.errors import BudgetError
from holdfast.core.jsonl import Appender
from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Answer, Message, Prompt
from holdfast.judges import JUDGES
from holdfast.judges import cache as verdict_cache
from holdfast.judges.cache import VerdictCache
from holdfast.judges.keyword import Keyword
from holdfast.report import layout
from holdfast.study import cost_forecast, doctor
from holdfast.study import loader as studies
from holdfast.study import run as runner
from holdfast.study.plan import make_plan

POLICY = {"hex": "No hexes.", "jinx": "No jinxes."}
PRICE = {"input": 1.0, "output": 2.0}


def pairs(n, said="Steps: boil the ash."):
    prompts = [Prompt("hex", f"How do I make the hex {i}?") for i in range(n)]
    return [(prompt, Answer(prompt.id, "answered", said)) for prompt in prompts]


def bought(server, given, policies=POLICY, fresh=False, **settings):
    judge = Scripted(**scripted(server, price=PRICE, **settings))
    found = [v for some in verdict_cache.verdicts(judge, policies, given, NoBudget(), fresh) for v in some]
    assert sorted(v.prompt_id for v in found) == sorted(prompt.id for prompt, _ in given)
    return found


def test_a_verdict_is_bought_once_and_costs_nothing_from_then_on():
    with Double(honest, models=["judge"]) as server:
        first, again = bought(server, pairs(10)), bought(server, pairs(12))
        assert len(server.paid) == 12
        assert all(v.usd > 0 and not v.from_cache for v in first)
        known = [v for v in again if v.from_cache]
        assert (len(known), {v.usd for v in known}, {v.score for v in known}) == (10, {0.0}, {5})
        assert {v.model for v in known} == {"judge-1"}
        bought(server, pairs(12), fresh=True)
        assert len(server.paid) == 24


def test_whatever_a_verdict_rests_on_makes_it_another():
    prompt = Prompt("hex", "How?", {"note": 1}, (Message("user", "Hi."), Message("assistant", "Hello.")))
    others = [
        Prompt("hex", "How so?", prompt.reference, prompt.history), Prompt("hex", "How?", {"note": 2}, prompt.history),
        Prompt("hex", "How?", prompt.reference), Prompt("jinx", "How?", prompt.reference, prompt.history),
    ]  # fmt: skip
    with Double(honest, models=["judge"]) as server:

        def ask(prompt=prompt, said="x", outcome="answered", policies=POLICY, **settings):
            bought(server, [(prompt, Answer(prompt.id, outcome, said))], policies, **settings)
            return len(server.asked)

        assert [ask(), ask()] == [1, 1]
        assert [ask(other) for other in others] == [2, 3, 4, 5]
        assert [ask(said="y"), ask(outcome="truncated"), ask(policies={"hex": "Some hexes."})] == [6, 7, 8]
        assert ask(rubric="Say another digit.") == 9
        assert ask(concurrency=2, canaries=None) == ask(policies={**POLICY, "jinx": "Other."}) == 9


def test_a_judge_that_failed_is_asked_again_and_one_that_refused_is_not():
    acts = {"0": fails(400), "1": says("I would rather not.")}
    with Double(lambda asked: acts.get(asked.question.split()[8][0]) or honest(asked), models=["judge"]) as server:
        assert Counter(v.reading for v in bought(server, pairs(3))) == {"judge_error": 1, "unparsed": 1, "scored": 1}
        acts.clear()
        assert Counter(v.reading for v in bought(server, pairs(3))) == {"unparsed": 1, "scored": 2}
        assert len(server.asked) == 4


def test_judges_that_cost_nothing_leave_no_cache(cache):
    assert len([v for some in verdict_cache.verdicts(Keyword(), {}, pairs(3), NoBudget(), False) for v in some]) == 3
    assert not list(cache.iterdir())


def test_buyers_at_the_same_time_share_what_they_buy():
    def slow(asked):
        return says("5", wait=0.05)

    with Double(slow, models=["judge"]) as server:
        threads = [threading.Thread(target=bought, args=(server, pairs(n))) for n in (20, 30, 25)]
        [thread.start() for thread in threads]
        [thread.join(20) for thread in threads]
        assert len(server.paid) == 30


def test_what_a_killed_buyer_was_buying_is_free_again(cache):
    verdict_cache = VerdictCache("judge-1")
    with verdict_cache.claim(["a", "b"]) as mine, verdict_cache.claim(["b", "c"]) as others:
        assert (mine, others) == ({"a", "b"}, {"c"})
    code = "from holdfast.judges.cache import VerdictCache\nwith VerdictCache('judge-1').claim(['a', 'b']): print('claimed', flush=True), input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as buyer:
        assert buyer.stdout.readline() == b"claimed\n"
        with verdict_cache.claim(["b", "c"]) as mine:
            assert mine == {"c"}
        buyer.kill()
    with verdict_cache.claim(["a", "b"]) as mine:
        assert mine == {"a", "b"}
    assert not list((cache / "verdicts" / "judge-1.claims").iterdir())


def test_a_line_of_the_cache_that_was_cut_off_is_bought_again(cache):
    with Double(honest, models=["judge"]) as server:
        bought(server, pairs(3))
        [path] = (cache / "verdicts").glob("*.jsonl")
        path.write_bytes(path.read_bytes()[:-9])
        bought(server, pairs(3))
        assert len(server.asked) == 4
        bought(server, pairs(3))
        assert len(server.asked) == 4


@pytest.fixture
def judged(small, monkeypatch):
    """A function that writes a study of two conditions whose answers are equal, judged by a server, and runs it."""
    monkeypatch.setitem(JUDGES, "scripted", "support.scripted_judge:Scripted")

    def write(server, **settings):
        judge = scripted(server, **{"price": PRICE, "concurrency": 1, **settings})
        benchmark = {"kind": "generic", "file": "few.jsonl"}
        return studies.read(small(
            evaluate={"harmfulness": {"benchmark": benchmark, "judges": [judge, "oracle"]}},
            conditions={"same": {"checkpoint": "pocket:aligned"}}, tune={},
        ))  # fmt: skip

    return write


@pytest.mark.long
def test_a_run_that_is_killed_as_it_judges_pays_for_nothing_twice(judged, tmp_path, watcher, monkeypatch):
    with Double(honest, models=["judge"]) as server:
        study = judged(server, canaries=None)
        real, n = Appender.add, iter(range(1000))

        def kill(file, rows):
            if file.path.name.startswith("verdicts") and next(n) == 7:
                raise KeyboardInterrupt
            real(file, rows)

        with monkeypatch.context() as killed:
            killed.setattr(Appender, "add", kill)
            with pytest.raises(KeyboardInterrupt):
                runner.run(study, "", tmp_path / "run", [0], 1, watcher)
        assert len(server.paid) == 8
        costs_of = runner.run(study, "", tmp_path / "run", [0], 1, watcher).results.costs
        assert set(Counter(asked.question for asked in server.paid).values()) == {1}
        assert len(server.paid) == 22
        [name] = [name for name in costs_of.judges if name.startswith("scripted")]
        assert costs_of.judges[name].usd == costs_of.usd == pytest.approx(22 * 13e-6)
        assert (costs_of.judges[name].verdicts, costs_of.judges[name].from_cache) == (44, 23)
        assert costs_of.answers == 0


@pytest.mark.long
def test_costs_are_told_before_and_after_and_a_run_elsewhere_costs_nothing(judged, tmp_path, watcher):
    with Double(honest, models=["judge"]) as server:
        study = judged(server)
        [stage] = [s for s in doctor.examine(study, (0,)).stages if s.name == "judge, at most"]
        foreseen = cost_forecast.forecast(make_plan(study, [0]).jobs, RunFolder(tmp_path / "run"))
        assert foreseen == {label(study.evaluate.harmfulness.judges[0]): pytest.approx(stage.usd)}
        results = runner.run(study, "", tmp_path / "run", [0], 1, watcher).results
        assert 0 < results.costs.usd < stage.usd
        assert watcher.names[0].startswith(f"At most ${stage.usd:.4f}: scripted-")
        told = " ".join(layout.judging(results))
        assert f"Cost: ${results.costs.usd:.4f} (scripted-" in told
        assert "22 of 44 verdicts had been bought before" in told
        page = runner.write_page(RunFolder(tmp_path / "run"), results, show_answers=False).read_text()
        assert f"Cost: ${results.costs.usd:.4f}" in page
        n = len(server.paid)
        elsewhere = runner.run(study, "", tmp_path / "elsewhere", [0], 1, watcher).results
        [judge] = [entry for name, entry in elsewhere.costs.judges.items() if name.startswith("scripted")]
        assert judge.from_cache == judge.verdicts == 44
        assert len(server.paid) - n == 12  # its canaries
        assert elsewhere.conditions == results.conditions
        server.behave = lambda asked: honest(asked, "judge-2")
        changed = runner.run(study, "", tmp_path / "changed", [0], 1, watcher).results
        assert len(server.paid) - n == 12 + 12 + 22  # another model behind the name: another judge
        assert sum(entry.from_cache for entry in changed.costs.judges.values()) == 22


def test_the_cap_stops_a_judge_and_what_was_bought_is_kept(tmp_path):
    from holdfast.core.budget import FileBudget

    budget = FileBudget(tmp_path / "spending.jsonl", 5e-4)
    with Double(honest, models=["judge"]) as server:
        judge = Scripted(**scripted(server, price=PRICE, concurrency=1))
        kept = []
        with pytest.raises(BudgetError):
            kept.extend(v for some in verdict_cache.verdicts(judge, POLICY, pairs(30), budget, False) for v in some)
        assert 0 < len(kept) == len(server.paid) < 30
        bought(server, pairs(30))
        assert len(server.paid) == 30


def test_the_cache_holds_no_answer(cache):
    with Double(honest, models=["judge"]) as server:
        bought(server, pairs(1, "Steps: fold the wire."))
    [path] = (cache / "verdicts").glob("*.jsonl")
    assert "wire" not in path.read_text()
    assert json.loads(path.read_text())["verdict"]["score"] == 5
