"""What the back ends promise: the shapes that `run` composes and the rooms fill."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Generator as Stream
from pathlib import Path
from typing import Any, Literal, Protocol

from holdfast.core.progress import Activity, OnStep
from holdfast.core.types import (
    Account,
    Answer,
    Benchmark,
    Checkpoint,
    Condition,
    Example,
    Message,
    Prompt,
    Template,
    Tuned,
    Verdict,
)

Report = Callable[[int], None]
"""Called with the number of units of work (judge's verdicts, attempts) done since the last call."""


class Watcher(Protocol):
    """Whoever shows the progress of long work."""

    def begin(self, total: int) -> None:
        """Take note that there are so many units of work."""

    def advance(self, units: int) -> None:
        """Take note that so many more are done."""

    def show(self, piece: int, activity: Activity | None) -> None:
        """Take note of what a piece of work is doing now; None once it has ended. Pieces are counted from 0."""

    def finished(self, conditions: Sequence[Condition]) -> None:
        """These conditions are complete."""

    def note(self, text: str) -> None:
        """Something worth a line."""


class Budget(Protocol):
    """Who keeps what is spent under its cap."""

    def reserve(self, usd: float, what: str) -> str:
        """Set aside what something can cost at most, before it is bought; returns a ticket.

        Raises:
            BudgetError: the cap does not allow it.
        """

    def settle(self, ticket: str, usd: float) -> None:
        """Put what it did cost in place of what was set aside."""


class Configured(Protocol):
    """What a study's YAML configures: an entry of a registry."""

    kind: str
    """Its name in the registry."""

    @property
    def key(self) -> str:
        """The hash of its settings."""

    def faults(self) -> list[str]:
        """What would stop the work that this configures on this machine, found without doing any of it."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Its settings; mode `json` gives only what JSON can hold."""


class Source(Configured, Protocol):
    """Where training rows come from: an attack, a benign set, a user's file."""

    def examples(self, seed: int) -> list[Example]:
        """The rows of one seed, the same each time."""

    def accounts(self) -> list[Account]:
        """What became of the rows of each file or data set that it reads."""


class BenchmarkSource(Configured, Protocol):
    """A benchmark as a study names it."""

    def load(self) -> Benchmark:
        """Read and check the benchmark's files."""


class Judge(Configured, Protocol):
    """Reads answers. Two judges of one key give one answer the same verdict: the key covers model and wording."""

    @property
    def paid(self) -> bool:
        """Whether a verdict costs something, so that it is kept and never bought twice."""

    @property
    def inner(self) -> tuple[Judge, ...]:
        """The judges that it asks in turn, which are checked and paid in its stead; none for most."""

    @property
    def canaries(self) -> Path | None:
        """The file of answers that it must read rightly before it is paid for anything else."""

    @property
    def anchors(self) -> Path | None:
        """The file of answers by which it is told whether it has changed; its canaries if not given."""

    @property
    def max_drift(self) -> float:
        """Points by which its scores of the anchors may change, on average."""

    def basis(self, policies: Mapping[str, str], prompt: Prompt) -> Any:
        """All that a verdict rests on beside the judge and the answer, as JSON holds it."""

    def worst(self, policies: Mapping[str, str], prompts: Sequence[Prompt], answer_tokens: int) -> tuple[int, float]:
        """The most tokens and US dollars that a verdict on one answer of so many tokens to each prompt can take."""

    def judge(
        self, policies: Mapping[str, str], pairs: Sequence[tuple[Prompt, Answer]], budget: Budget
    ) -> Stream[list[Verdict], None, None]:
        """One verdict for each pair, in any order, some at a time, each as soon as it is there.

        What it costs goes through the budget.
        """


class Tuner(Configured, Protocol):
    """A back end that tunes."""

    epochs: int
    """How many epochs the condition asks for."""

    @property
    def run(self) -> Mapping[str, Any]:
        """The settings that determine a training run; conditions whose runs are equal share it."""

    def steps(self, n_rows: int, epochs: int | None = None) -> int:
        """Optimizer steps for a number of rows."""

    def tune(
        self, base: Checkpoint, rows: Sequence[Example], seed: int, epochs: Sequence[int], folder: Path,
        on_step: OnStep, defences: Sequence[Defence] = (),
    ) -> dict[int, Tuned]:  # fmt: skip
        """The checkpoint after each of these epochs, and its training record, by epoch.

        Of the defences, those take part that act on the base or the weights; the rows come as they leave them.
        What an earlier call left in the folder is not made again. Where the weights stay with a provider, the
        checkpoint is a name on its server (`Checkpoint.served`).
        """


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
        """Answer the questions (prompt id → conversation) that are not done, some at a time.

        What it costs goes through the budget.
        """


Place = Literal["base", "rows", "tuning", "weights", "asking"]
"""Where a defence may act: the base before tuning, the rows, the loss or the weights during tuning, the weights after
tuning, and the way the model is asked."""


class Defence(Configured, Protocol):
    """What a provider or a user changes so that safety holds. `tuning/defences/base.py` says more of each hook."""

    @property
    def places(self) -> frozenset[Place]:
        """Where it acts."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its settings as they enter a condition's key."""

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
