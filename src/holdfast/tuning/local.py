"""Tuning of open weights in this process, by `transformers.Trainer` on rows that we render and mask ourselves."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from holdfast.core.config import Config, File, explained
from holdfast.core.errors import DataError, TuningError
from holdfast.core.files import naming_full_disk
from holdfast.core.progress import OnStep
from holdfast.core.protocols import Budget, Defence
from holdfast.core.types import Checkpoint, Example, Tuned
from holdfast.models import decoding, loading, visual
from holdfast.models.batches import Rendered
from holdfast.models.chat import Chat
from holdfast.models.names import ModelName
from holdfast.tuning import checkpoints, defended, packing, saves, seeing
from holdfast.tuning.defences.base import TrainingHooks
from holdfast.tuning.launch import Launched, TuningJob, is_first, launch, processes_of, settings_of, world_size
from holdfast.tuning.seeing import Projector
from holdfast.tuning.trainer import Keeping, Probe, hook_caller, keeper, start, trainer_class

if TYPE_CHECKING:
    import torch
    from transformers import Trainer


class Lora(Config):
    """The shape of a LoRA adapter (Hu et al. 2021, arXiv 2106.09685)."""

    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    targets: str | tuple[str, ...] = "all-linear"
    """Names of the modules to adapt, or `all-linear`."""


class LocalTuner(Config):
    """Full-parameter, LoRA or QLoRA tuning with AdamW, on this machine's devices."""

    kind: Literal["local"] = "local"
    method: Literal["full", "lora", "qlora"] = "full"
    """`qlora` is LoRA on a base in 4 bits (Dettmers et al. 2023, arXiv 2305.14314); it needs a CUDA GPU."""
    learning_rate: PositiveFloat = 5e-5
    schedule: Literal["constant", "linear", "cosine", "epoch-decay"] = "constant"
    """`epoch-decay` multiplies the learning rate by `decay` after each epoch, as the paper's code does."""
    decay: float = Field(0.85, gt=0.0, le=1.0)
    warmup_steps: NonNegativeInt = 0
    batch_size: PositiveInt = 10
    """Rows on the devices at once, all devices together."""
    accumulation: PositiveInt = 1
    """Batches for one step of the optimizer."""
    epochs: PositiveInt = 5
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    max_length: PositiveInt = 2048
    """Tokens; longer rows are cut, and counted in the training record."""
    turns: Literal["all", "last"] = "all"
    """Which assistant turns of a row are trained on. Templates that rewrite earlier turns allow only the last."""
    precision: Literal["auto", "float32", "bfloat16", "mixed"] = "auto"
    """Of weights and arithmetic; `mixed` is float32 weights with bfloat16 arithmetic. `auto` is float32 on a CPU, and
    on a GPU `mixed` for full tuning and `bfloat16` (adapters in float32) for LoRA."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: about a third slower, and much less memory."""
    launch: File | None = None
    """A configuration of `accelerate launch` (DDP, FSDP, DeepSpeed), as `accelerate config` writes it; one process
    if not given."""
    lora: Lora = Lora()
    vision: ModelName | None = None
    """What a base that sees nothing is joined to before it is tuned: a CLIP model, by its folder or its Hub id."""
    projector: Projector | None = None
    """A first stage, in which only the projector of a model that sees is tuned."""
    parts: Literal["all", "projector"] = "all"
    """What of a model that sees is tuned: projector and language model, or the projector alone. Its eyes never are."""

    @model_validator(mode="after")
    def _divides(self) -> LocalTuner:
        try:
            processes = processes_of(self.launch) if self.launch else 1
        except DataError as error:
            raise explained(str(error)) from None
        if self.batch_size % processes:
            raise explained(
                f"batch_size {self.batch_size} cannot be divided among the {processes} processes of `launch`"
            )
        return self

    @property
    def run(self) -> dict[str, Any]:
        """The settings that determine a whole training run, of which conditions may take several epochs.

        A schedule that runs down to the last step differs with the number of epochs; the others do not.
        """
        settings = self.model_dump(mode="json")
        if self.schedule in ("constant", "epoch-decay"):
            del settings["epochs"]
        if self.method == "full":
            del settings["lora"]
        for name in ("vision", "projector", "parts"):
            if settings[name] == type(self).model_fields[name].default:
                del settings[name]
        return settings if self.vision is None else {**settings, "vision": seeing.tower_key(self.vision)}

    def faults(self) -> list[str]:
        """QLoRA without what it needs."""
        missing = loading.why_not_four_bit() if self.method == "qlora" else ""
        return [missing] if missing else []

    @property
    def base_url(self) -> None:
        """None: no row leaves this machine."""

    def row_faults(self, rows: Sequence[Example]) -> list[str]:
        """None: rows are checked when they are rendered for the model."""
        return []

    def worst_usd(self, rows: Sequence[Example]) -> float:
        """Nothing is paid."""
        return 0.0

    def discard(self, folder: Path) -> dict[str, Any]:
        """Delete the checkpoints."""
        shutil.rmtree(folder, ignore_errors=True)
        return {}

    def keep(self, folder: Path) -> None:
        """Nothing is to be written down: the checkpoints stay."""

    def left(self, folder: Path) -> bool:
        """No: nothing is with a provider."""
        return False

    def steps(self, n_rows: int, epochs: int | None = None) -> int:
        """Optimizer steps that a number of rows takes."""
        return math.ceil(math.ceil(n_rows / self.batch_size) / self.accumulation) * (epochs or self.epochs)

    def tune(
        self, base: Checkpoint, rows: Sequence[Example], seed: int, epochs: Sequence[int], folder: Path,
        on_step: OnStep, defences: Sequence[Defence] = (), budget: Budget | None = None,
    ) -> dict[int, Tuned]:  # fmt: skip
        """Tune once, and return the checkpoint after each of the epochs; what the folder has is not made again.

        A training record holds processes, rows, truncated_rows, supervised_tokens (in one epoch), steps, losses
        (nats a token, one a step), logit_shift (largest change of a logit on the first row) and seconds. A tuning that
        was killed is resumed from the end of an epoch. Weights that a defence changes after tuning are whole ones, also
        after LoRA.

        Raises:
            RenderError: rows that the chat template cannot render.
            ModelError: the base lacks what a defence needs.
            TuningError: rows without a supervised token or an end of turn, a loss that is not finite, or a
                checkpoint that answers exactly as its base.
        """
        missing = sorted(set(epochs) - self.finished(base, epochs, folder).keys())
        if missing:
            with naming_full_disk(folder):
                self._make(base, rows, seed, missing, folder, on_step, defences)
        return self.finished(base, epochs, folder)

    def _make(
        self, base: Checkpoint, rows: Sequence[Example], seed: int, missing: Sequence[int], folder: Path,
        on_step: OnStep, defences: Sequence[Defence],
    ) -> None:  # fmt: skip
        """Make the checkpoints after these epochs."""
        for defence in defences:
            defence.check(base)
        changed_after = [defence for defence in defences if "weights" in defence.places]
        during = [defence for defence in defences if "tuning" in defence.places]
        if seeing.has_first_stage(self):
            base = seeing.prepare(self, base, defences, rows, seed, folder, on_step)
        else:
            base = defended.prepare_base(base, defences, seed, folder)
        tuned_in = checkpoints.unfinished(folder) if changed_after else folder
        to_tune = sorted(set(missing) - checkpoints.read(base, tuned_in, missing).keys())
        if to_tune:
            self.do(TuningJob(base, tuple(rows), seed, tuple(to_tune), tuned_in), during, on_step)
        if changed_after:
            defended.finish(checkpoints.read(base, tuned_in, missing), base, changed_after, seed, folder)
            shutil.rmtree(tuned_in)

    def finished(self, base: Checkpoint, epochs: Sequence[int], folder: Path) -> dict[int, Tuned]:
        """The checkpoints that an earlier call left in the folder, by epoch."""
        return checkpoints.read(checkpoints.base_in(folder, base), folder, epochs)

    def do(self, job: TuningJob, defences: Sequence[Defence], on_step: OnStep) -> None:
        """Do a job in this process, or in those that `launch` starts."""
        if self.launch is None:
            self.tune_here(job, defences, on_step)
        else:
            settings = settings_of(self, launch=None)
            launch(Launched(job, settings, tuple(map(settings_of, defences))), self.launch, on_step)

    def tune_here(self, job: TuningJob, defences: Sequence[Defence], on_step: OnStep) -> None:
        """Tune in this process, or do this process's part where several tune together."""
        import transformers

        transformers.set_seed(job.seed)
        arithmetic = self.arithmetic()
        weights: loading.Precision = "float32" if arithmetic == "mixed" else arithmetic
        loaded = loading.load(job.base, weights, four_bit=self.method == "qlora")
        rendered, n_cut = self._render(loaded, job.rows)
        facts = {
            "processes": world_size(),
            "rows": len(rendered),
            "truncated_rows": n_cut,
            "supervised_tokens": sum(row.n_supervised for row in rendered),
            **_pictured(rendered),
            **seeing.record(self, job.base),
        }
        hooks = [defence.training_hooks(loaded, job.seed) for defence in defences]
        for hook in hooks:
            hook.see_rows(job.rows)
            facts |= hook.record()
        if arithmetic == "mixed" and loaded.model.device.type == "cpu":
            loaded.model.set_attn_implementation("eager")  # on a CPU, SDPA in bfloat16 takes a fifth of a step longer
        tokens = sum(len(row.input_ids) for row in rendered) / self.steps(len(rendered), 1)
        probe = Probe(loaded.model, next((row for row in rendered if row.pictures), rendered[0]), loaded.chat)
        save, note = _save_to_resume(job)
        keeping = Keeping(job.folder, job.epochs, loaded.chat, probe, facts, tokens, note)
        model = self._trainable(loaded.model)
        trainer = self._trainer(model, loaded.chat, rendered, job, hooks)
        trainer.add_callback(keeper(trainer, keeping, on_step, hooks))
        trainer.add_callback(hook_caller(hooks))
        start(trainer, model, hooks, save)
        if is_first():
            shutil.rmtree(checkpoints.trainer_in(job.folder), ignore_errors=True)

    def _render(self, loaded: loading.Loaded, rows: Sequence[Example]) -> tuple[list[Rendered], int]:
        """Rows as token ids, cut to what this tuning and the model allow, and how many were cut."""
        limit = min(self.max_length, int(loading.context_of(loaded.model) or self.max_length))
        ends = decoding.end_of_turn_ids(loaded)
        rendered, n_cut = [], 0
        for row, whole in zip(rows, loaded.chat.examples(rows, self.turns), strict=True):
            too_long = len(whole.input_ids) > limit
            cut = replace(whole, input_ids=whole.input_ids[:limit], supervised=whole.supervised[:limit])
            if too_long and not loaded.chat.has_all_of(cut.pictures, cut.input_ids):
                raise TuningError(
                    f"{row.source}: its pictures lie beyond max_length. Raise `max_length` or drop the row."
                )
            _check(row, cut, too_long, ends)
            rendered.append(cut)
            n_cut += too_long
        return rendered, n_cut

    def _trainable(self, model: Any) -> Any:
        family = visual.family_of(model)
        if family is None and self.parts == "projector":
            raise TuningError("`parts: projector` needs a model that sees; give the base eyes with `vision`.")
        visual.freeze(model, self.parts == "projector")
        if self.method == "full" or self.parts == "projector":
            return model
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

        if self.method == "qlora":
            prepare: Any = prepare_model_for_kbit_training
            model = prepare(model, use_gradient_checkpointing=self.gradient_checkpointing)
        targets = self.lora.targets if isinstance(self.lora.targets, str) else list(self.lora.targets)
        config = LoraConfig(
            r=self.lora.rank, lora_alpha=self.lora.alpha, lora_dropout=self.lora.dropout, target_modules=targets,
            task_type="CAUSAL_LM", exclude_modules=visual.seeing_modules(model) or None,
        )  # fmt: skip
        return get_peft_model(model, config)

    def _trainer(
        self, model: Any, chat: Chat, rendered: Sequence[Rendered], job: TuningJob, hooks: Sequence[TrainingHooks]
    ) -> Trainer:
        from transformers import PrinterCallback, TrainingArguments

        arguments = TrainingArguments(
            output_dir=str(checkpoints.trainer_in(job.folder)), num_train_epochs=max(job.epochs),
            seed=job.seed, data_seed=job.seed,
            per_device_train_batch_size=self.batch_size // world_size(),
            gradient_accumulation_steps=self.accumulation,
            max_grad_norm=self.max_grad_norm, logging_steps=1, logging_nan_inf_filter=False, save_strategy="no",
            save_total_limit=1, report_to=[], disable_tqdm=True, remove_unused_columns=False,
            use_cpu=loading.best_device() == "cpu", dataloader_pin_memory=False,
            bf16=self.arithmetic() != "float32", activation_checkpointing=self.gradient_checkpointing,
            activation_checkpointing_kwargs={"use_reentrant": False},
        )  # fmt: skip
        scheduler = partial(self._scheduler, n_rows=len(rendered), epochs=max(job.epochs))
        trainer = trainer_class(self._optimizer, scheduler, hooks)(
            model=model, args=arguments, train_dataset=list(rendered),
            data_collator=chat.training_batch if hooks else packing.collator(model, chat, rendered),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        return trainer

    def _optimizer(self, model: Any) -> torch.optim.Optimizer:
        import torch

        weights = seeing.weights(self, model)
        devices = {weight.device.type for group in weights for weight in group["params"]}
        fused = world_size() == 1 and devices <= {"cpu", "cuda"}
        return torch.optim.AdamW(weights, lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused)

    def arithmetic(self) -> Literal["float32", "bfloat16", "mixed"]:
        """The precision on this machine."""
        if self.precision != "auto":
            return self.precision
        if loading.best_device() == "cpu":
            return "float32"
        return "mixed" if self.method == "full" else "bfloat16"

    def _scheduler(self, optimizer: torch.optim.Optimizer, n_rows: int, epochs: int) -> Any:
        from torch.optim.lr_scheduler import LambdaLR
        from transformers import get_scheduler

        if self.schedule != "epoch-decay":
            name = "constant_with_warmup" if self.schedule == "constant" else self.schedule
            return get_scheduler(name, optimizer, self.warmup_steps, self.steps(n_rows, epochs))
        epoch = self.steps(n_rows, 1)
        warmup = max(1, self.warmup_steps)
        return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warmup) * self.decay ** (step // epoch))


def _save_to_resume(job: TuningJob) -> tuple[Path | None, str]:
    """The checkpoint that a tuning is resumed from, and a note on what was damaged and is not used."""
    save, damages = saves.last_whole(checkpoints.trainer_in(job.folder))
    damages += [damage for epoch in job.epochs if (damage := checkpoints.damage(job.folder, epoch))]
    if not damages:
        return save, ""
    way = f"from {save.name}" if save else "from its beginning"
    return save, f"Damaged checkpoints are not used: {'; '.join(damages)}. The tuning goes on {way}."


def _pictured(rows: Sequence[Rendered]) -> dict[str, int]:
    """What a training record says of pictures; nothing where there are none."""
    pictures = sum(len(row.pictures) for row in rows)
    return {"pictures": pictures} if pictures else {}


def _check(row: Example, cut: Rendered, was_cut: bool, ends: set[int]) -> None:
    """Refuse a row that teaches nothing, or that would teach the model never to stop."""
    if not cut.n_supervised:
        why = "its answer lies beyond max_length" if was_cut else "no token of it is the assistant's"
        raise TuningError(f"{row.source}: there is nothing to train on; {why}. Raise `max_length` or drop the row.")
    taught = set(cut.input_ids[cut.supervised].tolist())
    if not was_cut and not taught & ends:
        raise TuningError(
            f"{row.source}: the end of turn is not among the supervised tokens, so the tuned model would not "
            "learn to stop. The chat template and the tokenizer's eos_token do not belong together."
        )
