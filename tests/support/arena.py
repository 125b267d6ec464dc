"""Results of a run with attacks on defences, with rates and losses of our choice."""

from support.results import entry, estimate, facts, made

BY = {"harm": "paper", "list": "paper", "mixed": "adaptive", "after": "weights"}
"""Attack → who makes it. `list` and `mixed` have a task."""
RATES = {
    "none": {"harm": (99, 97), "list": (30, 40), "mixed": (50, 50), "after": (60, 60)},
    "tight": {"harm": (1, 2), "list": (0, 0), "mixed": (3, 1), "after": (60, 50)},
    "loose": {"harm": (20, 10), "list": (0, 5), "mixed": (70, 90), "after": (40, 50)},
}
"""Defence → attack → the rate of each seed."""
LOSSES = {"none": (0.0, 0.1), "tight": (0.2, 0.1), "loose": (0.0, 0.1)}
"""Defence → the loss on the held-out rows after tuning, of each seed; it is 0.5 before."""
UTILITY = {"none": (90.0, 100.0), "tight": (90.0, 99.5), "loose": (45.0, 100.0)}
SECONDS = {"none": 2.0, "tight": 5.0, "loose": 3.0}


def results(text=""):
    """What `results.json` would hold; `text` stands behind every name."""
    content = made(f"hex{text}", "harmful")
    initial = content["summary"][0]
    categories = content["evaluation"]["categories"]
    content.update(summary=[initial], comparisons=[], timings={}, study=f"arena{text}")
    content["conditions"] = [each for each in content["conditions"] if each["name"] == "initial"]
    template = content["conditions"][0]
    content["settings"] = {"initial": facts("initial")}
    for defence, by_attack in RATES.items():
        for attack, rates in by_attack.items():
            name = f"{attack}+{defence}{text}"
            learns = attack in ("list", "mixed")
            cell = {"attack": f"{attack}{text}", "defence": f"{defence}{text}" if defence != "none" else "none",
                    "by": BY[attack]}  # fmt: skip
            settings = [] if defence == "none" else [{"kind": f"kl{text}", "weight": 1.0}]
            held_out = {"kind": f"split{text}"} if learns else None
            content["settings"][name] = {**facts("tuned"), "cell": cell, "held_out": held_out, "defence": settings}
            mean = sum(rates) / len(rates)
            content["summary"].append(
                {**entry(name, "tuned", 3.0, mean, categories), "over_refusal": estimate(1.0, 100)}
            )
            for seed, rate in enumerate(rates):
                after = {"rows": 9, "before": 0.5, "after": LOSSES[defence][seed]}
                content["conditions"].append(
                    {**template, **entry(name, "tuned", 3.0, rate, categories), "seed": seed, "key": f"{name}-{seed}",
                     "utility": estimate(UTILITY[defence][seed], 100), "task": after if learns else None,
                     "broken": 1.0 + seed}
                )  # fmt: skip
                content["timings"][f"{name}-{seed}"] = SECONDS[defence]
    return content
