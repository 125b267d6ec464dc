"""The protocols: what `study/run.py` calls, and what each back end provides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Generator as Stream
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from holdfast.core.progress import Activity, OnStep
from holdfast.core.types import (
    Account,
    Answer,
    Benchmark,
    Checkpoint,
    Condition,
    Example,
    Message,
    NoCheckpoint,
    Prompt,
    Template,
    Tuned,
    Verdict,
)

Report = Callable[[int], None]
"""Called with the number of units of work (verdicts, attempts) done since the last call."""


class Watcher(Protocol):
    """Shows the progress of long work."""

    def begin(self, total: int) -> None:
        """Take note that there are so many units of work."""

    def advance(self, units: int) -> None:
        """Take note that so many more are done."""

    def show(self, piece: int, activity: Activity | None) -> None:
        """Take note of what a piece of work is doing now; None once it has ended. Pieces are counted from 0."""

    def finished(self, conditions: Sequence[Condition]) -> None:
        """Take note that these conditions are complete."""

    def note(self, text: str) -> None:
        """Show a line of text."""


class Budget(Protocol):
    """Keeps the money that is spent under a cap."""

    def reserve(self, usd: float, what: str) -> str:
        """Set aside the most that a request can cost, before it is sent; returns a ticket.

        Raises:
            BudgetError: the cap does not allow it.
        """

    def settle(self, ticket: str, usd: float) -> None:
        """Replace the amount that was set aside by the actual cost."""


class StagedBudget(Protocol):
    """The budget of a run, of which each stage has its part."""

    def of(self, stage: str) -> Budget:
        """The same budget, for what one stage spends."""


class Configured(Protocol):
    """An entry of a registry, as a study's YAML configures it."""

    kind: str
    """Its name in the registry."""

    @property
    def key(self) -> str:
        """The hash of its settings."""

    def faults(self) -> list[str]:
        """What would make its work fail on this machine, found without doing any of it."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Its settings; mode `json` gives only what JSON can hold."""


class Source(Configured, Protocol):
    """Where training rows come from: an attack, a benign set, a user's file."""

    def examples(self, seed: int) -> list[Example]:
        """The rows of one seed, the same each time."""

    @property
    def attack(self) -> bool:
        """Whether its rows are made to undo a model's safety. A provider must have allowed that they are sent to it."""

    def accounts(self) -> list[Account]:
        """What happened to the rows of each file or data set that it reads."""


class BenchmarkSource(Configured, Protocol):
    """A benchmark as a study names it."""

    def load(self) -> Benchmark:
        """Read and check the benchmark's files."""


class Judge(Configured, Protocol):
    """Judges answers. Two judges with one key give an answer the same verdict: the key covers model and wording."""

    @property
    def paid(self) -> bool:
        """Whether a verdict costs money; such a verdict is stored and never paid for twice."""

    @property
    def inner(self) -> tuple[Judge, ...]:
        """The judges that it asks itself: they are checked and paid in its place. Most judges have none."""

    @property
    def canaries(self) -> Path | None:
        """A file of answers that it must judge correctly before it is paid for others."""

    @property
    def anchors(self) -> Path | None:
        """A file of answers that show whether its scores have changed; the canaries if not given."""

    @property
    def max_drift(self) -> float:
        """By how many points its scores of the anchors may change, on average."""

    def basis(self, policies: Mapping[str, str], prompt: Prompt) -> Any:
        """Everything that a verdict depends on beside the judge and the answer, in JSON types."""

    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """The most tokens and US dollars that verdicts can cost, on one answer of so many tokens to each prompt."""

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[tuple[Prompt, Answer]], budget: Budget
    ) -> Stream[list[Verdict], None, None]:
        """One verdict for each pair, in any order, in batches as they arrive. Costs go through the budget."""


class Tuner(Configured, Protocol):
    """A back end that tunes."""

    epochs: int
    """How many epochs the condition asks for."""

    @property
    def run(self) -> Mapping[str, Any]:
        """The settings that determine a training run; conditions whose runs are equal share it."""

    def steps(self, n_rows: int, epochs: int | None = None) -> int:
        """Optimizer steps for a number of rows."""

    @property
    def base_url(self) -> str | None:
        """The provider that the rows are sent to, and that keeps the weights; None where this machine tunes."""

    def row_faults(self, rows: Sequence[Example]) -> list[str]:
        """Why the back end would refuse these rows, as far as that is known before it has them."""

    def worst_usd(self, rows: Sequence[Example]) -> float:
        """The most US dollars that tuning on these rows can cost."""

    def tune(
        self, base: Checkpoint, rows: Sequence[Example], seed: int, epochs: Sequence[int], folder: Path,
        on_step: OnStep, defences: Sequence[Defence] = (), budget: Budget | None = None,
    ) -> dict[int, Tuned] | NoCheckpoint:  # fmt: skip
        """The checkpoint after each of these epochs, and its training record, by epoch.

        The defences are those that act on the base or the weights; `rows` are already as defences leave them. A
        checkpoint that an earlier call left in the folder is not made again. Where the weights stay with a provider,
        the checkpoint is a name on its server (`Checkpoint.served`), and the folder holds what is known of the job.
        """

    def discard(self, folder: Path) -> Mapping[str, Any]:
        """Delete what tuning into this folder left, here and with a provider.

        Returns:
            What the training record should say of it.
        """

    def keep(self, folder: Path) -> None:
        """Write down that what tuning into this folder left is to stay."""

    def left(self, folder: Path) -> bool:
        """Whether a provider still has something that is to be deleted."""


class Generator(Configured, Protocol):
    """A back end that answers."""

    @property
    def random(self) -> bool:
        """Whether answers depend on a seed."""

    def answers(
        self,
        checkpoint: Checkpoint,
        questions: Mapping[str, Sequence[Message]],
        done: Collection[str],
        seed: int,
        budget: Budget,
    ) -> Stream[list[Answer], None, None]:
        """Answer the questions (prompt id → conversation) not done yet, in batches. Costs go through the budget."""


Place = Literal["base", "rows", "tuning", "weights", "asking"]
"""Where a defence may act: the base before tuning, the rows, the loss or the weights during tuning, the weights after
tuning, and the way the model is asked."""


class Defence(Configured, Protocol):
    """What a provider or a user changes so that safety holds. `tuning/defences/base.py` explains each hook."""

    copies: ClassVar[int]
    """Copies of all weights that it holds during full tuning."""

    @property
    def places(self) -> frozenset[Place]:
        """Where it acts."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its settings as they enter a condition's key."""

    def check(self, base: Checkpoint) -> None:
        """Raise an error where the base lacks what the defence needs. No weights are loaded."""

    def prepare_base(self, loaded: Any, seed: int) -> None:
        """Change the weights of the base before tuning."""

    def rows(self, rows: Sequence[Example], seed: int) -> list[Example]:
        """The training rows as the defence leaves them."""

    def training_hooks(self, loaded: Any, seed: int) -> Any:
        """What acts on the loss or the weights during tuning."""

    def after(self, tuned: Any, base: Checkpoint, seed: int) -> None:
        """Change the weights after tuning."""

    def ask(self, template: Template, role: Literal["initial", "tuned"]) -> Template:
        """The template that the tuned model, and the initial model beside it, is asked in."""
