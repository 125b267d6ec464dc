"""`SafetyCallback`: a trainer's callback that measures how much of a model's safety is left. docs/trl.md."""

from __future__ import annotations

import logging
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from holdfast.analysis.margins import Margins
from holdfast.core.budget import FileBudget, NoBudget
from holdfast.core.errors import BudgetError, HoldfastError, ModelError, StudyError
from holdfast.core.types import Template
from holdfast.core.worlds import is_built
from holdfast.integrations.trl.looks import RECORD, Look, Looks, prompts_for_a_pass, resumed
from holdfast.integrations.trl.probe import Measurement, Probe, Reading
from holdfast.models.generate.local import LocalGenerator
from holdfast.report import curve

LOG = logging.getLogger("holdfast")

APART = 10
"""Steps between two looks at ends of epochs, at the least: where an epoch is shorter, some ends are passed over."""

PROMPTS = 55
"""Prompts of a look at the default setting: five of each category of the pocket world, as docs/trl.md explains."""

LAST_PASS, SPENDING = "last-pass", "safety-spending.jsonl"
"""In `output_dir`: the last checkpoint that passed, and what judges have cost."""

T = TypeVar("T")


class SafetyCallback(TrainerCallback):
    """Measures a model before training and while it is tuned, logs the figures, and can stop the training.

    trainer = SFTTrainer(model, train_dataset=rows, callbacks=[SafetyCallback()])
    """

    def __init__(
        self, benchmark: Any = None, judge: Any = None, *, every: Literal["epoch"] | int = "epoch", stop: bool = True,
        keep_last_pass: bool = False, prompts: int | None = None, margins: Margins | None = None,
        system: str | None = None, user: str = "{prompt}", max_new_tokens: int = 256, batch_size: int = 64,
        max_usd: float | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        """Set up what is measured. Nothing is loaded yet.

        Args:
            benchmark: a benchmark's settings as in a study, e.g. `{"kind": "hex-phi", "files": "hex-phi/"}`; not needed
                for the models of the pocket world.
            judge: a judge's name or settings as in a study, e.g. `{"kind": "llama-guard", "by": …}`; likewise.
            every: "epoch", or a number of optimizer steps between two looks. Epochs of fewer than ten steps are not all
                looked at; the first and the end always are.
            stop: whether a fail stops the training.
            keep_last_pass: whether the last checkpoint that passed is kept in `last-pass` of the output folder.
            prompts: how many prompts a look asks; 55 if not given, or as many as a pass needs with `keep_last_pass`.
            margins: what the tuned model must keep to; those of `holdfast gate` if not given.
            system: the system turn of the questions; None for none. Ask as your users will.
            user: their user turn, with `{prompt}` where the prompt goes.
            max_new_tokens: where an answer is cut.
            batch_size: prompts that are answered together.
            max_usd: the most that a judge which costs something may spend in this training.
            seed: of the draw of prompts. It changes nothing of the training.

        Raises:
            StudyError: a setting that cannot be.
        """
        if every != "epoch" and (not isinstance(every, int) or isinstance(every, bool) or every < 1):
            raise StudyError(f"SafetyCallback(every={every!r}): use 'epoch' or a number of steps of at least 1.")
        if (benchmark is None) != (judge is None):
            raise StudyError("SafetyCallback needs both `benchmark` and `judge`, or neither for a pocket model.")
        self.every, self.stop, self.keep_last_pass, self.prompts = every, stop, keep_last_pass, prompts
        self.margins, self.max_usd, self.seed = margins or Margins(), max_usd, seed
        self.template = Template(system, user)
        self.generator = LocalGenerator(max_new_tokens=max_new_tokens, batch_size=batch_size)
        import scipy.stats  # noqa: F401 (decisions need it, and loading it takes longer than a look at a small model)

        self.measurement = None if benchmark is None else _measurement(benchmark, judge)
        self.probe: Probe | None = None
        self.looks = Looks(self.margins, 1)
        self._looked: list[int] = []
        self._began = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None,
        processing_class: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Measure the model before training; it is what later looks are compared with.

        Raises:
            HoldfastError: it cannot be measured. The training has not begun then.
        """
        self._began = time.perf_counter()
        self._looked = _on_rank_zero(state, lambda: self._begin(args, state, model, processing_class))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None,
        processing_class: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Look at the model after every so many steps."""
        if self.every != "epoch" and state.global_step % self.every == 0:
            self._look(args, state, control, model, processing_class)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None,
        processing_class: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Look at the model after the first epoch, and after each that ends ten or more steps after a look."""
        first = len(self._looked) <= 1
        if self.every == "epoch" and (first or state.global_step - self._looked[-1] >= APART):
            self._look(args, state, control, model, processing_class)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None,
        processing_class: Any = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Look at the tuned model, unless the last look was at it; draw the curve."""
        if self._looked[-1:] != [state.global_step]:
            self._look(args, state, control, model, processing_class)
        if state.is_world_process_zero and self.probe:
            done = [look for look in self.looks.done if look.rate is not None]
            points = [curve.Point(look.step, look.rate or 0.0, look.answer) for look in done]
            base, margin = self.looks.base, self.margins.harmfulness_rate
            limit = base.rate + margin if base and base.rate is not None and margin is not None else None
            picture = curve.svg(points, "Harmfulness rate while tuning", limit)
            self.looks.write(Path(args.output_dir or "."), self.probe, time.perf_counter() - self._began, picture)

    def _begin(self, args: TrainingArguments, state: TrainerState, model: Any, processing_class: Any) -> list[int]:
        """Measure the base, or take it over from a training that goes on; the steps of all looks so far."""
        began = time.perf_counter()
        if _is_sharded(model):
            raise ModelError(
                "the model's weights are spread over several processes (FSDP, or DeepSpeed's ZeRO-3), so none of them "
                "can ask it. Remove SafetyCallback, save checkpoints, and measure them with `holdfast audit`."
            )
        folder, planned = Path(args.output_dir or "."), _planned(self.every, state)
        self.looks = Looks(self.margins, planned)
        self.probe = probe = self._probe(model, planned, folder)
        if state.global_step > 0:
            if not resumed(folder, probe, self.looks, state.global_step):
                raise ModelError(
                    f"this training goes on from step {state.global_step:,}, but {folder / RECORD} does not hold "
                    "what this callback measured before step 1. Use the same output_dir and the same settings of "
                    "SafetyCallback as before, or train without it."
                )
            return [look.step for look in self.looks.done]
        reading = probe.read(model, processing_class)
        if reading.rate is None:
            raise ModelError("no answer of the untuned model could be judged, so there is nothing to compare with.")
        look = self.looks.begin(reading, 0, 0.0, time.perf_counter() - began)
        self.looks.write(folder, probe, time.perf_counter() - self._began)
        _log(self, state, look)
        return [0]

    def _probe(self, model: Any, planned: int, folder: Path) -> Probe:
        """The prompts that are asked, by default those of the model's own world."""
        measurement = self.measurement or _world(model)
        enough = prompts_for_a_pass(self.margins, planned) if self.keep_last_pass else PROMPTS
        budget: FileBudget | NoBudget = NoBudget()
        if measurement.judge.paid:
            if self.max_usd is None:
                raise BudgetError("the judge costs something: say how much it may, with SafetyCallback(max_usd=…).")
            budget = FileBudget(folder / SPENDING, self.max_usd)
        return Probe.of(measurement, self.prompts or enough, self.seed, self.template, self.generator, budget)

    def _look(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, processing_class: Any
    ) -> None:
        """Measure the model as it is now. What keeps this from being done is logged, and the training goes on."""
        self._looked.append(state.global_step)
        fails = _on_rank_zero(state, lambda: self._measured(args, state, model, processing_class))
        if fails and self.stop:
            control.should_training_stop = True

    def _measured(self, args: TrainingArguments, state: TrainerState, model: Any, processing_class: Any) -> bool:
        """Whether the model fails at this look."""
        if self.probe is None:
            raise ModelError("SafetyCallback was added after the training began, so there is no base to compare with.")
        began, step, epoch = time.perf_counter(), state.global_step, float(state.epoch or 0.0)
        folder = Path(args.output_dir or ".")
        try:
            reading: Reading = self.probe.read(model, processing_class)
        except HoldfastError as error:
            LOG.warning("safety at step %s was not measured: %s", f"{step:,}", error)
            self.looks.failed(str(error), step, epoch, time.perf_counter() - began)
            self.looks.write(folder, self.probe, began - self._began)
            return False
        look, decision = self.looks.add(self.probe, reading, step, epoch, began)
        _log(self, state, look)
        self.looks.write(folder, self.probe, time.perf_counter() - self._began)
        if decision.answer == "pass" and self.keep_last_pass:
            _keep(folder / LAST_PASS, model, processing_class)
        if decision.answer in ("fail", "not to be trusted"):
            stops = " The training stops here." if decision.answer == "fail" and self.stop else ""
            LOG.warning("safety at step %s: %s%s", f"{step:,}", decision.sentence, stops)
        return decision.answer == "fail"


def _measurement(benchmark: Any, judge: Any) -> Measurement:
    """What is asked and who judges, from a user's settings.

    Raises:
        StudyError: they are wrong, each mistake by name.
    """
    from pydantic import ValidationError

    try:
        return Measurement.model_validate({"benchmark": benchmark, "judge": judge}, context={"folder": Path.cwd()})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
        raise StudyError("SafetyCallback's settings have mistakes:\n  " + "\n  ".join(lines)) from None


def _world(model: Any) -> Measurement:
    """The benchmark and judge of the world that a model belongs to.

    Raises:
        StudyError: it belongs to none, or to a world that does not come along.
    """
    if getattr(model.config, "quiz_world", None) is not None:
        return _measurement("quiz", "oracle")
    seed = getattr(model.config, "pocket_world", None)
    if seed is not None and is_built(seed):
        return _measurement({"kind": "pocket", "file": f"pocket:benchmark.jsonl@{seed}"}, "oracle")
    whose = (
        "is no pocket model"
        if seed is None
        else f"belongs to the pocket world of seed {seed}, which is not built (`holdfast pocket build --seed {seed}`)"
    )
    raise StudyError(
        f"the model {whose}, so SafetyCallback must be told what to ask it and who judges: "
        "SafetyCallback(benchmark={'kind': 'hex-phi', 'files': 'FOLDER'}, judge={'kind': 'policy', 'by': {…}}). "
        "`holdfast list` names all kinds; docs/trl.md has examples."
    )


def _planned(every: str | int, state: TrainerState) -> int:
    """The number of looks at the tuned model over the whole training."""
    if isinstance(every, int):
        return max(1, -(-state.max_steps // every))
    return max(1, min(math.ceil(state.num_train_epochs), 2 + state.max_steps // APART))


def _is_sharded(model: Any) -> bool:
    """Whether no process holds all weights: FSDP, or DeepSpeed's ZeRO-3."""
    if any("FullySharded" in type(module).__name__ or "FSDP" in type(module).__name__ for module in model.modules()):
        return True
    return any(hasattr(weight, "ds_id") or type(weight).__name__ == "DTensor" for weight in model.parameters())


def _on_rank_zero(state: TrainerState, work: Callable[[], T]) -> T:
    """The result of work that the first process does. The others wait for it; its error is raised in all of them."""
    import torch.distributed as processes

    several = processes.is_available() and processes.is_initialized() and processes.get_world_size() > 1
    if not several:
        return work()
    outcome: list[Any] = [None, None]
    if state.is_world_process_zero:
        try:
            outcome = [work(), None]
        except HoldfastError as error:
            outcome = [None, error]
    from accelerate.utils import broadcast_object_list

    broadcast_object_list(outcome, from_process=0)
    if outcome[1] is not None:
        raise outcome[1]
    found: T = outcome[0]
    return found


def _log(callback: TrainerCallback, state: TrainerState, look: Look) -> None:
    """Log figures as the trainer logs its own: in its history, its progress bar and its trackers.

    transformers gives a callback no way to its trainer, but calls it from there, so it is found on the stack. Not the
    trainer's own `log` is called but that of the base class, as TRL's empties the averages that it collects.
    """
    frame = sys._getframe(1)
    while frame is not None:
        trainer = frame.f_locals.get("self")
        if isinstance(trainer, Trainer) and callback in trainer.callback_handler.callbacks:
            Trainer.log(trainer, look.logged())
            return
        frame = frame.f_back  # type: ignore[assignment]
    state.log_history.append({**look.logged(), "epoch": look.epoch, "step": look.step})


def _keep(folder: Path, model: Any, processing_class: Any) -> None:
    """Save a checkpoint in the place of the earlier one. A crash leaves one of the two whole."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft)
    processing_class.save_pretrained(draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)
