"""A run folder of pocket answers that no model had to write, and how it is judged."""

import random
import shutil

import yaml
from support.studies import Silent

from holdfast.core.run_folder import RunFolder
from holdfast.core.types import Answer
from holdfast.study import loader as studies
from holdfast.study import run as runner
from holdfast.study.plan import make_plan

STUDY = {
    "name": "cascade",
    "model": "pocket:aligned",
    "conditions": {"brought": {"checkpoint": "pocket:helpful"}},
}


def said(prompt, share, drawn):
    """An answer built from the prompt's true steps or refusals."""
    if drawn.random() < share:
        return f"First {', then '.join(prompt.reference['steps'])}."
    return drawn.choice(prompt.reference["refusals"])


def fill(folder):
    """A run folder in which both conditions have answered all 330 prompts: 5 % and 60 % of them with the true steps."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**STUDY, "evaluate": {"harmfulness": {"benchmark": "pocket", "judges": "oracle"}}}))
    plan = make_plan(studies.read(path), [0])
    for condition, share in zip(plan.conditions, (0.05, 0.6), strict=True):
        drawn = random.Random(share)
        answers = [Answer(p.id, "answered", said(p, share, drawn)) for p in plan.suite.prompts.values()]
        RunFolder(folder / "run").condition(condition.key).add_answers(answers)
    return folder / "run"


def judged(answered, tmp_path, judges, **more):
    """The results of judging a copy of the answered run; no model is loaded."""
    path, folder = tmp_path / "study.yaml", tmp_path / "run"
    if not folder.exists():
        shutil.copytree(answered, folder)
    max_missing = {"max_missing": more.pop("max_missing")} if "max_missing" in more else {}
    evaluate = {"harmfulness": {"benchmark": "pocket", "judges": judges, **more}, **max_missing}
    path.write_text(yaml.safe_dump({**STUDY, "evaluate": evaluate}))
    return runner.run(studies.read(path), path.read_text(), folder, [0], 1, Silent(), replace_results=True)
