import json
from collections import Counter

import pytest
from support.endpoint_double import Double, FakeTime, drops, fails, filters, says

from holdfast.core.budget import FileBudget, NoBudget
from holdfast.core.errors import BudgetError, ModelError
from holdfast.core.types import Checkpoint, Message
from holdfast.models.endpoint import Endpoint, Request, Timing, batch, complete, retry
from holdfast.models.generate.server import ServerGenerator

PRICE = {"input": 1.0, "output": 2.0}


def requests(n, start=0, model="base"):
    return [Request(f"r{i}", model, [{"role": "user", "content": str(i)}], 10) for i in range(start, start + n)]


def to(asked):
    return says(f"to {asked.question}")


def replies(server, asked, budget=None, **settings):
    """An iterator, so that a test can stop in the middle."""
    fake = FakeTime()
    endpoint = Endpoint(base_url=server.url, batch=True, price=PRICE, **settings)
    return complete(endpoint, asked, budget or NoBudget(), Timing(fake.clock, fake.sleep))


def test_each_request_is_answered_once_for_half_the_price(tmp_path):
    budget = FileBudget(tmp_path / "spending.jsonl")
    with Double(to) as server:
        found = list(replies(server, requests(30), budget))
    assert {reply.id: reply.text for reply in found} == {f"r{i}": f"to {i}" for i in range(30)}
    assert [reply.usd for reply in found] == [(7 * 1.0 + 3 * 2.0) / 1e6 / 2] * 30
    assert budget.spent == pytest.approx(sum(reply.usd for reply in found))
    assert len(server.batches.made) == 1


def test_what_is_sent_in_a_batch_is_what_is_sent_alone(cache):
    asked = [
        Request("a", "base", [{"role": "user", "content": "x"}], 9, 0.7, 0.9, 5, {"type": "object"}, extra={"k": 1})
    ]
    with Double(to) as server:
        list(replies(server, asked))
        list(replies(server, asked + requests(19)))
    assert len(server.batches.made) == 1
    alone, together = (asked.body for asked in server.asked[:2])
    assert {**alone, "messages": None} == {**together, "messages": None}
    assert not list((cache / "batches").rglob("*.json"))


def test_the_same_question_asked_several_times_is_answered_as_often():
    same = [Request(f"r{i}", "base", [{"role": "user", "content": "x"}], 10, 1.0) for i in range(20)]
    with Double(lambda asked: says(str(asked.number))) as server:
        found = list(replies(server, same))
    assert len({reply.id for reply in found}) == len({reply.text for reply in found}) == 20


def test_batches_are_no_larger_than_a_provider_takes_and_hold_one_model_each(monkeypatch):
    monkeypatch.setattr(batch, "MOST_REQUESTS", 20)
    with Double(to, models=["base", "other"]) as server:
        found = list(replies(server, [*requests(50), *requests(5, 50, "other")]))
    assert len({reply.id for reply in found}) == 55
    lines = [server.batches.files[made["input_file_id"]].splitlines() for made in server.batches.made]
    assert [len(some) for some in lines] == [20, 20, 10, 5]
    assert [len({json.loads(line)["body"]["model"] for line in some}) for some in lines] == [1] * 4


def test_a_run_that_is_killed_as_it_waits_finds_its_batch_again(cache, tmp_path):
    budget = FileBudget(tmp_path / "spending.jsonl")

    class Killed(BaseException):
        pass

    def kill(seconds):
        raise Killed

    with Double(to) as server:
        endpoint = Endpoint(base_url=server.url, batch=True, price=PRICE)
        with pytest.raises(Killed):
            list(complete(endpoint, requests(30), budget, Timing(sleep=kill)))
        assert len(list((cache / "batches").rglob("*.json"))) == 1
        set_aside = budget.spent
        found = list(replies(server, requests(30), budget))
    assert len(server.batches.made) == 1
    assert len(found) == len(server.paid) == 30
    assert budget.spent < set_aside
    assert budget.spent == pytest.approx(sum(reply.usd for reply in found))


def test_a_run_that_is_killed_as_it_takes_the_replies_pays_for_none_again(cache, tmp_path):
    budget = FileBudget(tmp_path / "spending.jsonl")
    with Double(to) as server:
        first = replies(server, requests(30), budget)
        taken = [next(first).id for _ in range(7)]
        first.close()
        left = [request for request in requests(30) if request.id not in taken]
        found = list(replies(server, left, budget))
    assert sorted([*taken, *(reply.id for reply in found)]) == sorted(f"r{i}" for i in range(30))
    assert len(server.batches.made) == 1 and len(server.paid) == 30
    assert budget.spent == pytest.approx(30 * 6.5e-6)
    assert not list((cache / "batches").rglob("*.json"))


def test_a_batch_that_was_ordered_as_the_run_was_killed_is_looked_up(cache, monkeypatch):
    with Double(to) as server:
        monkeypatch.setattr(batch.Order, "write", only_first := Writes(batch.Order.write))
        with pytest.raises(KeyboardInterrupt):
            list(replies(server, requests(30)))
        monkeypatch.setattr(batch.Order, "write", only_first.real)
        assert len(list(replies(server, requests(30)))) == 30
    assert len(server.batches.made) == 1


class Writes:
    """Writes an order down once, then is killed."""

    def __init__(self, real):
        self.real, self.n = real, 0

    def __get__(self, order, _):
        def write():
            self.n += 1
            if self.n > 1:
                raise KeyboardInterrupt
            self.real(order)

        return write


def test_what_a_batch_leaves_undone_is_asked_again_and_what_it_did_is_used():
    tried = Counter()

    def behave(asked):
        tried[asked.question] += 1
        first = tried[asked.question] == 1
        place = int(asked.question)
        return drops() if place % 3 == 0 and first else fails(500) if place == 1 and first else to(asked)

    with Double(behave) as server:
        server.batches.fate = lambda number: "expired" if number == 0 else "completed"
        found = list(replies(server, requests(30)))
    assert [reply.outcome for reply in found] == ["ok"] * 30
    assert Counter(asked.question for asked in server.paid) == {str(i): 1 for i in range(30)}
    assert len(server.batches.made) == 2


def test_a_request_that_no_batch_answers_is_an_error_and_says_why():
    fates = {"3": filters(), "4": fails(400, "too long"), "5": drops(), "6": says("half", "abort")}
    with Double(lambda asked: fates.get(asked.question) or to(asked)) as server:
        server.batches.fate = lambda number: "expired"
        found = {reply.id: reply for reply in replies(server, requests(20))}
    assert len(found) == 20
    assert {name: reply.outcome for name, reply in found.items() if reply.outcome != "ok"} == {
        "r3": "filtered", "r4": "error", "r5": "error", "r6": "error",
    }  # fmt: skip
    assert found["r4"].detail == "too long (HTTP 400)"
    assert found["r5"].detail == "batch_expired (2 batches)"


def test_what_somebody_cancelled_is_not_ordered_again():
    with Double(lambda asked: drops() if asked.question == "3" else to(asked)) as server:
        server.batches.fate = lambda number: "cancelled"
        found = {reply.id: reply for reply in replies(server, requests(20))}
    assert (found["r3"].outcome, found["r3"].detail) == ("error", "cancelled")
    assert sum(reply.outcome == "ok" for reply in found.values()) == 19
    assert len(server.batches.made) == 1


def test_a_batch_that_is_refused_stops_the_run_and_costs_nothing(cache, tmp_path):
    budget = FileBudget(tmp_path / "spending.jsonl")
    with Double(to) as server:
        server.batches.fate = lambda number: "failed"
        with pytest.raises(ModelError, match=r"refuses a batch of 20 requests: Enqueued token limit reached"):
            list(replies(server, requests(20), budget))
    assert budget.spent == 0
    assert not list((cache / "batches").rglob("*.json"))


def test_the_cap_stops_a_batch_before_it_is_ordered(tmp_path):
    with Double(to) as server, pytest.raises(BudgetError, match="a batch of 20 replies of base can cost"):
        list(replies(server, requests(20), FileBudget(tmp_path / "spending.jsonl", 1e-6)))
    assert not server.batches.made


def test_answers_too_come_by_batch():
    with Double(lambda asked: says(f"to {asked.question}", model="base")) as server:
        generator = ServerGenerator(base_url=server.url, batch=True)
        asked = {f"q{i}": (Message("user", str(i)),) for i in range(25)}
        with pytest.MonkeyPatch.context() as patch:
            fake = FakeTime()
            patch.setattr(retry, "REAL", Timing(fake.clock, fake.sleep))
            found = [a for some in generator.answers(Checkpoint("base"), asked, (), 0, NoBudget()) for a in some]
    assert {answer.prompt_id: answer.text for answer in found} == {f"q{i}": f"to {i}" for i in range(25)}
    assert len(server.batches.made) == 1


def test_batches_change_no_key():
    assert Endpoint(base_url="http://x/v1", batch=True).key == Endpoint(base_url="http://x/v1").key
