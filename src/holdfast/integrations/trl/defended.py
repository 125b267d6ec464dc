"""Defences in a trainer of transformers or TRL: `defended(SFTTrainer, "constrained-sft")(model, …)`. docs/trl.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from transformers import Trainer

from holdfast.core.config import OneOf
from holdfast.core.errors import StudyError
from holdfast.core.protocols import Defence
from holdfast.core.types import Example, Message
from holdfast.models.chat import Chat
from holdfast.models.loading import Loaded
from holdfast.tuning.defences import DEFENCES
from holdfast.tuning.trainer import hook_caller, weighted


def defended(trainer_class: type[Any], defences: Any) -> type[Any]:
    """A trainer's class that tunes with defences; it is made and used as the class itself.

    Defences that act on the rows, on the loss or on the weights during training do here what they do in a study. Those
    that act before or after training change a model in ways that a trainer does not know of, and those that act on the
    asking are not for training: they are refused.

    Args:
        trainer_class: transformers' `Trainer`, TRL's `SFTTrainer`, or a subclass.
        defences: a defence's name or settings as in a study, or a list of them.

    Raises:
        StudyError: settings with mistakes, or a defence that a trainer cannot use.
    """
    chosen = _checked(defences if isinstance(defences, list | tuple) else [defences])
    is_sft = any(each.__name__ == "SFTTrainer" for each in trainer_class.__mro__)
    # TRL's own computes the loss from pieces of the logits, of which a defence could take none.
    compute: Any = Trainer.compute_loss if is_sft else getattr(trainer_class, "compute_loss", None)

    class Defended(trainer_class):  # type: ignore[misc]
        def __init__(self, model: Any = None, *positional: Any, train_dataset: Any = None, **named: Any) -> None:
            seed = getattr(named.get("args"), "seed", 0)
            rows, examples = _defended_rows(train_dataset, chosen, seed)
            super().__init__(model, *positional, train_dataset=rows, **named)
            loaded = Loaded(self.model, Chat(self.processing_class))
            acting = [defence for defence in chosen if "tuning" in defence.places]
            with _own_forward(self.model):
                self.defence_hooks = [defence.training_hooks(loaded, seed) for defence in acting]
                for hook in self.defence_hooks:
                    hook.see_rows(examples)
                    hook.begin(self.model)
            self.add_callback(hook_caller(self.defence_hooks))

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if not self.defence_hooks:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            loss, outputs = compute(self, model, inputs, True, num_items_in_batch)
            if model.training:
                _check_logits(outputs)
                batch = weighted(self, inputs, num_items_in_batch)
                for hook in self.defence_hooks:
                    loss = hook.loss(model, batch, outputs, loss)
            return (loss, outputs) if return_outputs else loss

        def save_model(self, *positional: Any, **named: Any) -> None:
            from contextlib import ExitStack

            with ExitStack() as stack:
                for hook in self.defence_hooks:
                    stack.enter_context(hook.checkpoint_weights(self.model))
                super().save_model(*positional, **named)

    Defended.__name__ = f"Defended{trainer_class.__name__}"
    return Defended


@contextmanager
def _own_forward(model: Any) -> Iterator[None]:
    """A context in which a model has its class's forward pass: a copy of one that was replaced asks the original."""
    replaced = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if replaced is not None:
            model.__dict__["forward"] = replaced


def _check_logits(outputs: Any) -> None:
    """Refuse outputs of which a defence could take no loss.

    Raises:
        StudyError: the trainer keeps no logits, or cuts them off from the weights.
    """
    logits = getattr(outputs, "logits", None)
    if logits is None or not logits.requires_grad:
        raise StudyError(
            "defended: this trainer gives no logits that a defence can take its loss of. Use `Trainer` or "
            "`SFTTrainer`, with `use_liger_kernel=False`."
        )


def _checked(defences: Sequence[Any]) -> list[Defence]:
    """The defences.

    Raises:
        StudyError: settings with mistakes, or a defence that a trainer cannot use.
    """
    read: TypeAdapter[Any] = TypeAdapter(Annotated[Any, OneOf(DEFENCES)])
    try:
        made: list[Defence] = [read.validate_python(each, context={"folder": Path()}) for each in defences]
    except ValidationError as error:
        raise StudyError(f"defended: {error.errors()[0]['msg']}") from None
    for defence in made:
        if others := sorted(defence.places - {"rows", "tuning"}):
            raise StudyError(
                f"defended: {defence.kind} acts on {' and '.join(_WHERE[place] for place in others)}, which a trainer "
                f"does not do. Tune with it in a study: `defence: {{kind: {defence.kind}, …}}` and `holdfast run`."
            )
    return made


LOOK_AT_ROWS = ("guarded",)
"""Defences that look at the rows before training, and leave them as they are."""

_WHERE = {"base": "the model before training", "weights": "the weights after training", "asking": "the way it is asked"}


def _defended_rows(rows: Any, defences: Sequence[Defence], seed: int) -> tuple[Any, list[Example]]:
    """A data set as the defences leave it, and its conversations; as it is, and none, where no defence looks at rows.

    Raises:
        StudyError: a defence looks at rows that are no conversations.
    """
    acting = [defence for defence in defences if "rows" in defence.places]
    looking = [defence for defence in defences if defence.kind in LOOK_AT_ROWS]
    if rows is None or not (acting or looking):
        return rows, []
    columns = set(getattr(rows, "column_names", None) or ())
    if not ({"messages"} <= columns or {"prompt", "completion"} <= columns):
        raise StudyError(
            f"defended: {(acting or looking)[0].kind} takes conversations, so `train_dataset` must be a data set with "
            "the column `messages`, or with `prompt` and `completion` as lists of messages."
        )
    import datasets

    whole = "messages" in columns
    turns = [row["messages"] if whole else [*row["prompt"], *row["completion"]] for row in rows]
    examples = [Example(tuple(map(_message, each)), f"row {number}") for number, each in enumerate(turns, 1)]
    for defence in acting:
        examples = defence.rows(examples, seed)
    changed = datasets.Dataset.from_list([_row(each, whole) for each in examples]) if acting else rows
    return changed, examples


def _message(turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise StudyError(f"defended: a turn must be a message with role and content, found {str(turn)[:100]!r}.")
    return Message(turn["role"], turn["content"])


def _row(example: Example, whole: bool) -> dict[str, Any]:
    """A conversation in the layout of the data set."""
    turns = [{"role": turn.role, "content": turn.content} for turn in example.messages]
    return {"messages": turns} if whole else {"prompt": turns[:-1], "completion": turns[-1:]}
