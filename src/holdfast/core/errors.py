"""The exceptions, as a tree. Every message says what was wrong, where, and how to mend it.

HoldfastError
├── StudyError        a study file with mistakes; lists every one of them with its line
├── DataError         a file of training rows, prompts or answers that cannot be read as what it should be
├── ModelError        a model that cannot be loaded, or not safely
├── RenderError       a conversation that the model's chat template cannot render as training needs it
├── TuningError       tuning that would train on nothing, or that changed nothing
├── JudgeError        a judge that gives a wrong score to an answer whose score is known
├── RunFolderError        a run folder that is in use, or that holds something else
├── BudgetError       the next piece of work would go past a cap on money or time
└── WorkError         conditions that failed while others finished
"""

from __future__ import annotations


class HoldfastError(Exception):
    """Anything that a user can mend; the command line prints its message and exits with 2."""


class StudyError(HoldfastError):
    """A study file with mistakes; lists every one of them with its line."""


class DataError(HoldfastError):
    """A file of training rows, prompts or answers that cannot be read as what it should be."""


class ModelError(HoldfastError):
    """A model that cannot be loaded, or not safely."""


class RenderError(HoldfastError):
    """A conversation that the model's chat template cannot render as training needs it."""


class TuningError(HoldfastError):
    """Tuning that would train on nothing, or that changed nothing."""


class JudgeError(HoldfastError):
    """A judge that gives a wrong score to an answer whose score is known."""


class RunFolderError(HoldfastError):
    """A run folder that is in use, or that holds something else."""


class DamagedError(RunFolderError):
    """A file of a run folder that is damaged; most of them `holdfast run` can make again."""


class BudgetError(HoldfastError):
    """The next piece of work would go past a cap on money or time."""


class WorkError(HoldfastError):
    """Conditions that failed while others finished."""
