"""Write the page of what was measured, docs/measured.md, from the folders of runs.

    python docs/site/measured.py runs/demo runs/reproduce-pocket ...    # adds these runs, or takes their newer figures
    python docs/site/measured.py                                        # the page again, from what is kept

What the page needs of each run is kept in docs/site/measured.json: its tables, summary and claims, with the day of the
run and the hash of all that its figures follow from.
"""

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
KEPT, PAGE = HERE / "measured.json", HERE.parent / "measured.md"
METRICS = {
    "harmfulness_score": "harmfulness score", "harmfulness_rate": "harmfulness rate, %", "utility": "utility, %",
    "over_refusal": "over-refusal, %",
}  # fmt: skip
NO_EVIDENCE = {
    "pocket": "a fictional world with a model of 0.7 million parameters, built so that the effects can be watched",
    "quiz": "a language model of 135 million parameters under house rules that forbid harmless questions",
}
COMMANDS = {
    "reproduce-pocket": "holdfast reproduce {} --model pocket", "reproduce-quiz": "holdfast reproduce {} --model quiz",
    "reproduce-hosted-pocket": "holdfast reproduce {} --model hosted --data pocket …",
}  # fmt: skip


def taken(folder):
    """What the page needs of a run."""
    results = json.loads((folder / "results.json").read_text())
    claims = folder / "claims.json"
    day = datetime.fromtimestamp((folder / "results.json").stat().st_mtime, tz=UTC)
    return results["study"], {
        "day": f"{day:%Y-%m-%d}", "model": results["model"]["name"], "stand_in": results["model"]["stand_in"],
        "seeds": results["seeds"], "holdfast": results["holdfast"], "evidence": results["evidence"],
        "tables": {path.stem: path.read_text() for path in sorted((folder / "tables").glob("*.md"))},
        "summary": [_row(entry) for entry in results["summary"]] if not claims.is_file() else [],
        "claims": [
            {name: claim[name] for name in ("claim", "table", "verdict", "seen")}
            for claim in (json.loads(claims.read_text())["claims"] if claims.is_file() else ())
        ],
        "sensitivity": results["sensitivity"],
    }  # fmt: skip


def _row(entry):
    return [f"`{entry['name']}`", *(_figure(entry[metric], metric) for metric in METRICS)]


def _figure(figure, metric):
    """A figure with its interval; a star where that is not over seeds."""
    if figure is None or figure["value"] is None:
        return "–"
    digits = 2 if metric == "harmfulness_score" else 1
    value, low, high = (f"{figure[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high}){'' if 'seeds' in figure['over'] else '*'}"


def table(head, rows):
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)) + "\n"


def papers_tables(runs):
    """The paper's tables, with the figures of each run below each other and the paper's own once."""
    merged = {}
    for run in runs.values():
        for name, text in run["tables"].items():
            lines = text.splitlines()
            rows = [line for line in lines if line.startswith("| ") and "---" not in line]
            heading = next(line.lstrip("# ") for line in lines if line.startswith("#"))
            for line in rows[1:]:
                place = merged.setdefault((name, heading, rows[0]), {True: [], False: []})
                papers = ": the paper" in line
                if line not in place[papers]:
                    place[papers].append(line)
    for (_, heading, head), rows in sorted(merged.items()):
        columns = head.count("|") - 1
        yield f"### {heading}\n\n{head}\n|{' --- |' * columns}\n" + "\n".join([*rows[False], *rows[True]]) + "\n"


def page(runs):
    """The page."""
    parts = [INTRO]
    tables = list(papers_tables(runs))
    if tables:
        parts.append("## The paper's tables, beside ours\n")
        parts += tables
        parts.append(STAR)
    claims = {name: run["claims"] for name, run in runs.items() if run["claims"]}
    if claims:
        parts.append("## The paper's claims\n")
        listed = {}
        for name, entries in claims.items():
            for entry in entries:
                listed.setdefault((entry["table"], entry["claim"]), {})[name] = entry
        rows = [
            [told, where, *(_verdict(by_run.get(name)) for name in claims)] for (where, told), by_run in listed.items()
        ]
        parts.append(table(["claim", "table", *(f"`{name}`" for name in claims)], rows))
        counts = [
            f"`{name}`: {sum(entry['verdict'] == 'reproduced' for entry in entries)} of {len(entries)} reproduced"
            for name, entries in claims.items()
        ]
        parts.append(f"{'; '.join(counts)}. [How claims are decided](claims.md).\n")
    for name, run in runs.items():
        if run["summary"]:
            parts.append(
                f"## `holdfast run {name}`\n\n{table(['condition', *METRICS.values()], run['summary'])}\n{STAR}"
            )
        if run["sensitivity"]:
            shares = ", ".join(
                f"{entry['factor']} {entry['share']:.1f} % ({entry['low']:.1f} to {entry['high']:.1f})"
                for entry in run["sensitivity"]
            )
            parts.append(f"How much of the rate's variance comes from each factor: {shares}.\n")
    parts.append("## The runs\n")
    rows = [
        [f"`{name}`", f"`{COMMANDS.get(name, f'holdfast run {name}').format(' '.join(run['tables']))}`", f"`{run['model']}`", run["day"],
         run["holdfast"], str(len(run["seeds"])), f"`{run['evidence']}`"]
        for name, run in runs.items()
    ]  # fmt: skip
    parts.append(table(["run", "command", "model", "day", "Holdfast", "seeds", "evidence"], rows))
    return "\n".join(parts)


def _verdict(entry):
    """A verdict, with the difference that was seen."""
    if entry is None:
        return "–"
    seen = re.search(r"is ([+−-][\d.]+) points", entry["seen"])
    return entry["verdict"] + (f" ({seen[1]})" if seen else "")


STAR = (
    "In brackets: the 95 % interval over prompts and seeds. A star marks one over prompts alone, because no seed changes "
    "these answers.\n"
)
INTRO = f"""# What was measured

Written from the folders of runs by `python docs/site/measured.py RUN …`; no figure on this page is typed. The last table has the command
and the day of each run.

**What it is no evidence for.** These models are stand-ins: `pocket` is {NO_EVIDENCE["pocket"]}; `quiz` is {NO_EVIDENCE["quiz"]}.
What happens in them shows that the method sees what is there. It says nothing about how much safety another model loses, and
a figure that is near one of the paper's is so by construction: the settings of pocket's studies were tuned until the effects could be
watched. No model with more than 135 million parameters was measured. `served:pocket` is the pocket model, tuned and asked through
[the service](serve.md) by the openai client, as a provider's model would be ([hosted](hosted.md)).
"""


def main(folders):
    """Take the runs, and write the page."""
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    kept.update(taken(Path(folder)) for folder in folders)
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    PAGE.write_text(page(kept))


if __name__ == "__main__":
    main(sys.argv[1:])
