"""Judges on trial, and what they are paid for: canaries and anchors before a run, and verdicts by way of the book."""

from __future__ import annotations

import json
import time
from collections.abc import Generator as Stream
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from holdfast.book import Book, name_of
from holdfast.errors import JudgeError
from holdfast.files import cache, write_atomically
from holdfast.judge.canaries import Cases, read_cases
from holdfast.ledger import FileLedger
from holdfast.plan import Plan, Work
from holdfast.protocols import Judge, Ledger, Watcher
from holdfast.results import is_judged, label
from holdfast.store import Store
from holdfast.types import Answer, Prompt, Verdict, content_hash

LOOK_AGAIN = 0.2
"""Seconds between two looks at what somebody else is buying."""


def verdicts(
    judge: Judge,
    policies: Mapping[str, str],
    pairs: Sequence[tuple[Prompt, Answer]],
    ledger: Ledger,
    fresh: bool = False,
    models: Sequence[str] = (),
) -> Stream[list[Verdict], None, None]:
    """One verdict for each pair, as `Judge.judge` gives them; those that cost something only where the book has none.

    What is bought is written into the book before it is handed out. `fresh` buys everything again. Where `models` are
    known, which the server reports behind the judge's name now, verdicts of others are bought again.
    """
    if not judge.paid:
        with closing(judge.judge(policies, pairs, ledger)) as read:
            yield from read
        return
    book, wanted = Book(label(judge)), dict[str, list[tuple[Prompt, Answer]]]()
    for prompt, answer in pairs:
        wanted.setdefault(name_of(judge.key, judge.basis(policies, prompt), answer), []).append((prompt, answer))
    while wanted:
        with book.claim(wanted) as free:
            for name, verdict in ({} if fresh else book.find(wanted)).items():
                if not models or verdict.model in models:
                    yield [replace(verdict, prompt_id=prompt.id) for prompt, _ in wanted.pop(name)]
            mine = {name: wanted.pop(name) for name in list(wanted) if name in free or fresh}
            if mine:
                yield from _bought(judge, policies, mine, ledger, book)
        if wanted:  # somebody else is buying these
            time.sleep(LOOK_AGAIN)
            yield []


def _bought(
    judge: Judge,
    policies: Mapping[str, str],
    wanted: Mapping[str, Sequence[tuple[Prompt, Answer]]],
    ledger: Ledger,
    book: Book,
) -> Iterator[list[Verdict]]:
    """Verdicts on the first pair of each name, and the same for the others."""
    names = {pairs[0][0].id: name for name, pairs in wanted.items()}
    with closing(judge.judge(policies, [pairs[0] for pairs in wanted.values()], ledger)) as read:
        for bought in read:
            book.add({names[verdict.prompt_id]: verdict for verdict in bought})
            for verdict in bought:
                others = wanted[names[verdict.prompt_id]][1:]
                again = replace(verdict, usd=0.0, from_book=True)
                yield [verdict, *(replace(again, prompt_id=prompt.id) for prompt, _ in others)]


def check_judges(works: Sequence[Work], store: Store, ledger: FileLedger, watcher: Watcher) -> None:
    """Have each judge that will be paid read its canaries and anchors, and record how it did.

    Raises:
        JudgeError: a judge misreads a canary.
        DataError: a file of canaries or anchors with bad rows.
    """
    wanted = {
        label(judge): judge
        for work in works
        for name, measured in work.asked.sets.items()
        for judge in measured.judges
        if judge.paid
        and (judge.canaries or judge.anchors)
        and not all(is_judged(work, each, store, {name: [judge]}) for each in work.conditions)
    }
    for name, judge in wanted.items():
        record: dict[str, Any] = {"judge": name, "canaries": None, "anchors": None}
        canaries, read = Cases(), dict[str, Verdict]()
        if judge.canaries:
            canaries = read_cases(judge.canaries, scored=True)
            read = canaries.read_by(judge, ledger.of(name))
            if problems := list(canaries.misread(read)):
                raise JudgeError(
                    f"the judge {name} misreads {len(problems)} of {len(canaries.pairs)} canaries of {judge.canaries}, "
                    "so its other verdicts cannot be trusted, and none was bought:\n  " + "\n  ".join(problems) + "\n"
                    "Use a more able model or other settings for it; if it failed to reply, mend that and run again. "
                    "`canaries` names another file of them, or null for none."
                )
            record["canaries"] = {"n": len(canaries.pairs), "passed": len(canaries.pairs)}
        anchors = canaries
        if judge.anchors:
            anchors = read_cases(judge.anchors, scored=False)
            read = anchors.read_by(judge, ledger.of(name))
        record["models"] = sorted({verdict.model for verdict in read.values() if verdict.model})
        record["anchors"] = drift(name, anchors, read, judge.max_drift)
        if record["anchors"]["warning"]:
            watcher.note(record["anchors"]["warning"])
        store.add_check(record)


def drift(name: str, anchors: Cases, read: Mapping[str, Verdict], max_drift: float) -> dict[str, Any]:
    """How a judge's scores of its anchors differ from those it gave when it first read them, which are kept.

    `mean_change` is over the anchors that have a score both times; an anchor that gained or lost one has `changed`;
    one whose verdict failed is left out, and nothing is kept of a first time on which one did.
    """
    items = content_hash([anchors.policies, [[prompt.id, answer.text] for prompt, answer in anchors.pairs]])
    path = cache() / "anchors" / f"{name}-{items[:8]}.json"
    told = {i: verdict.score for i, verdict in read.items() if verdict.reading != "judge_error"}
    model = ", ".join(sorted({verdict.model for verdict in read.values() if verdict.model}))
    frozen: dict[str, Any] = {"model": model, "scores": told}
    if path.is_file():
        frozen = json.loads(path.read_text(encoding="utf-8"))
    elif len(told) == len(anchors.pairs):
        write_atomically(path, json.dumps(frozen, indent=1) + "\n")
    both = [(frozen["scores"][i], score) for i, score in told.items() if i in frozen["scores"]]
    changes = [abs(now - then) for then, now in both if None not in (then, now)]
    changed = sum(now != then for then, now in both)
    mean = sum(changes) / len(changes) if changes else 0.0
    warning = None
    if both and max(mean, changed / len(both)) > max_drift:
        names = f"; it was {frozen['model']!r} and is now {model!r}" if frozen["model"] != model else ""
        warning = (
            f"the judge behind {name} has changed since it first read its anchors: {changed} of {len(both)} verdicts "
            f"differ, scores by {mean:.2f} on average{names}. Its new verdicts cannot be compared with its older ones. "
            f"To take it as it is now, delete {path.name} in the cache's `anchors`."
        )
    return {
        "n": len(both),
        "changed": changed,
        "mean_change": mean,
        "model_then": frozen["model"],
        "model_now": model,
        "warning": warning,
    }


def models_of(judge: Judge, store: Store) -> list[str]:
    """The models that the server reported behind a judge's name when the run was begun; none if it was not asked."""
    return list(store.checks().get(label(judge), {}).get("models", ()))


def checks(plan: Plan, store: Store) -> dict[str, Any]:
    """The last check of each of the study's judges that was checked, by name and key."""
    labels = {label(judge) for measured in plan.asked.sets.values() for judge in measured.judges}
    found = store.checks()
    return {name: {"canaries": c["canaries"], "anchors": c["anchors"]} for name, c in found.items() if name in labels}
