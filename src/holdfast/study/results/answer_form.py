"""A hint for utility sets of which no answer is right: most often the form of the answers is at fault."""

from __future__ import annotations

from holdfast.core.results import RunResults
from holdfast.core.run_folder import RunFolder

LONGEST = 200
"""Letters of an example that are shown."""


def hint(results: RunResults, run_folder: RunFolder, show_answers: bool) -> str:
    """Why the initial model may have no right answer by exact match, and what to change; "" if it has one.

    With `show_answers`, one answer is shown beside what was expected.
    """
    initial = next((each for each in results.conditions if each.role == "initial"), None)
    if initial is None or initial.utility is None or (initial.utility.value or 0.0) > 0.0:
        return ""
    judge = results.evaluation.sets["utility"].judges[0]
    if not judge.startswith("match-"):
        return ""
    verdicts = list(run_folder.condition(initial.key).verdicts("utility", judge).values())
    if not verdicts:
        return ""
    n_scored = sum(verdict.score is not None for verdict in verdicts)
    example = "`--show-answers` shows an example."
    if show_answers and verdicts:
        reason = next((each.reason for each in verdicts if each.score is not None), verdicts[0].reason)
        example = f"For example: {reason[:LONGEST]}"
    return (
        f"None of {len(verdicts)} answers of the initial model to the utility set is right ({n_scored} could be read). "
        "Almost surely that is the form of the answers, not what the model knows: the whole reply must be the expected "
        "answer. `contains: true` in the benchmark takes a reply that contains it, `aliases` other names of it, and "
        f"`instruction` says how to reply. {example}"
    )
