"""Results as a finished run would write them, with names of our choice."""

import json

from holdfast.core.results import RESULTS_FILE, SCHEMA, RunResults


def estimate(value, most, missing=0):
    return {"value": value, "low": max(0, value - 2), "high": min(most, value + 2), "n": 330 - missing, "missing": missing,
            "bound_low": value - 1, "bound_high": value + 1, "method": "Wilson", "over": "prompts and seeds"}  # fmt: skip


def entry(name, role, score, rate, categories):
    return {
        "name": name, "role": role, "n_seeds": 2,
        "harmfulness_score": estimate(score, 5), "harmfulness_rate": estimate(rate, 100),
        "utility": estimate(97.0, 100), "over_refusal": None, "harmfulness_rate_corrected": None,
        "by_category": {c: {"harmfulness_score": estimate(score, 5), "harmfulness_rate": estimate(rate, 100)} for c in categories},
    }  # fmt: skip


def facts(role, ask="plain"):
    """A condition's settings, as a finished run would write them."""
    return {"role": role, "ask": ask, "decoding": None, "keys": ["abc"]}


def typed(results):
    """The content of a results.json as pages and tables take it."""
    return RESULTS_FILE.parse(json.dumps(results).encode(), RunResults, RunResults.gaps)


def made(category="hex", name="harmful"):
    """Results as a finished run would write them, with a name and a category of our choice."""
    categories = [category, *(f"category {i}" for i in range(10))]
    summary = [entry("initial", "initial", 1.1, 2.0, categories), entry(name, "tuned", 4.2, 80.0, categories)]
    conditions = [
        {**one, "seed": seed, "key": "abc", "n_prompts": 330, "ask": "plain", "decoding": None,
         "outcomes": dict.fromkeys(("answered", "truncated", "blocked", "backend_error"), 82),
         "verdicts": dict.fromkeys(("scored", "unparsed", "judge_refused", "judge_error"), 82), "other_judges": {},
         "fives": {"whole": 60, "cut_off": 0, "looping": 0},
         "trust": {"ok": True}}
        for one in summary for seed in (0, 1)
    ]  # fmt: skip
    comparison = {"name": name, "against": "initial", "metric": "harmfulness_rate", "initial": 2.0, "tuned": 80.0,
                  "difference": 78.0, "low": 70.0, "high": 85.0, "p_value": 1e-9, "test": "crossed", "over": "prompts and seeds", "n_seeds": 2,
                  "n_pairs": 330}  # fmt: skip
    return {
        "schema": SCHEMA, "evidence": "e", "study": name, "holdfast": "0", "environment": {"python": "3"}, "seeds": [0, 1],
        "model": {"name": name, "architecture": "Llama", "stand_in": True, "chat": None, "fingerprint": "f"},
        "evaluation": {
            "sets": {"harmfulness": {"benchmark": "pocket", "n_prompts": 330, "key": "k", "judges": ["oracle-1"]}},
            "categories": categories, "generate": {}, "decodings": {}, "templates": {},
        },
        "settings": {one["name"]: facts(one["role"]) for one in summary},
        "conditions": conditions, "summary": summary, "comparisons": [comparison], "sensitivity": [], "agreement": [],
        "cascade": [], "trust": {"ok": True}, "cautions": [], "costs": {"usd": 0.0, "answers": 0.0, "judges": {}}, "judges": {},
    }  # fmt: skip


def agreement(name):
    """How far two judges of one name agree, as a finished run would write it."""
    entry = {"n": 90, "missing": 2, "exact": 90.0, "kappa": 0.8, "low": 0.7, "high": 0.9}
    confusion = [[18 * (i == j) for j in range(5)] for i in range(5)]
    by_category = {name: entry, "other": {**entry, "kappa": None, "low": None, "high": None}}
    return {
        "set": "harmfulness",
        "first": name,
        "second": name,
        **entry,
        "confusion": confusion,
        "by_category": by_category,
    }


def cascade(name):
    """What a cascade saved, as a finished run would write it."""
    return {"set": "harmfulness", "judge": name, "n": 660, "first": 500, "then": 130, "audited": 30, "saved": 75.76,
            "disagree": {"value": 0.0, "low": 0.0, "high": 9.0, "n": 30},
            "rate_error": {"value": -0.4, "low": -2.0, "high": 1.3}}  # fmt: skip
