"""What is still to do: prompts without an answer, and answers without a verdict.

The run does what these functions name, the cost forecast adds up what it can cost, and the checks before a run look
at the judges that still have work. So all three agree.
"""

from __future__ import annotations

from holdfast.core import task_losses
from holdfast.core.config import label
from holdfast.core.protocols import Judge
from holdfast.core.run_folder import ConditionFolder, RunFolder
from holdfast.core.task_losses import HeldOut
from holdfast.core.types import Answer, Condition, Prompt
from holdfast.study.plan import Job
from holdfast.study.suite import EvalSuite


def is_readable(answer: Answer) -> bool:
    """Whether there is a reply that a judge can read. A reply that was cut off is judged as far as it goes."""
    return answer.outcome in ("answered", "truncated") and bool(answer.text)


def missing_prompts(suite: EvalSuite, folder: ConditionFolder) -> list[Prompt]:
    """The prompts of all sets that have no answer. A prompt on which the back end failed is asked again.

    A condition of which a provider gave no checkpoint has nothing to ask.
    """
    if folder.ending():
        return []
    answers = folder.answers()
    return [prompt for prompt in suite.prompts.values() if _is_missing(answers.get(prompt.id))]


def missing_verdicts(suite: EvalSuite, folder: ConditionFolder, set_name: str, judge: Judge) -> list[Prompt]:
    """The prompts of a set that have no verdict of a judge yet: the answer is missing, or can be read and was not.

    An answer on which the judge failed is judged again. Answers that cannot be read (blocked or empty) need no verdict.
    """
    if folder.ending():
        return []
    answers, verdicts = folder.answers(), folder.verdicts(set_name, label(judge))
    judged = {name for name, verdict in verdicts.items() if verdict.reading != "judge_error"}
    return [
        prompt
        for prompt in suite.benchmarks[set_name].prompts
        if prompt.id not in judged and _may_be_read(answers.get(prompt.id))
    ]


def is_answered(suite: EvalSuite, folder: ConditionFolder) -> bool:
    """Whether every prompt has an answer."""
    return not missing_prompts(suite, folder)


def is_judged(suite: EvalSuite, folder: ConditionFolder, set_name: str, judge: Judge) -> bool:
    """Whether every answer to a set that can be read has a judge's verdict."""
    return not missing_verdicts(suite, folder, set_name, judge)


def lacks_record(job: Job, folder: ConditionFolder) -> bool:
    """Whether it is not known any more how a condition was tuned: the tuning is done again, and ends the same."""
    return job.training is not None and folder.training() is None


def missing_tasks(job: Job, condition: Condition, folder: ConditionFolder) -> list[HeldOut]:
    """The held-out rows of a condition whose likelihood is not measured yet."""
    wanted = job.held_out.get(condition.key, ())
    known = task_losses.read(folder) if wanted and not folder.ending() else {}
    return [] if folder.ending() else [task for task in wanted if task.key not in known]


def is_finished(job: Job, run_folder: RunFolder) -> bool:
    """Whether every condition of a job is tuned, answered, judged by all judges, and measured on its task."""
    folders = [run_folder.condition(condition.key) for condition in job.conditions]
    pairs = [(name, judge) for name, measured in job.suite.sets.items() for judge in measured.judges]
    return all(
        is_answered(job.suite, folder)
        and not lacks_record(job, folder)
        and all(is_judged(job.suite, folder, *pair) for pair in pairs)
        for folder in folders
    ) and not any(missing_tasks(job, each, run_folder.condition(each.key)) for each in job.conditions)


def is_left(job: Job, run_folder: RunFolder) -> bool:
    """Whether a provider still has rows or models of a job that are to be deleted."""
    return job.training is not None and job.training.tuner.left(run_folder.checkpoints(job.training.run))


def _is_missing(answer: Answer | None) -> bool:
    return answer is None or answer.outcome == "backend_error"


def _may_be_read(answer: Answer | None) -> bool:
    return answer is None or answer.outcome == "backend_error" or is_readable(answer)
