"""Asks a model that is being tuned, and leaves it exactly as it was."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, zip_longest
from statistics import fmean
from typing import Annotated, Any

import numpy as np

from holdfast.analysis.degeneration import loops
from holdfast.core.config import Config, OneOf
from holdfast.core.errors import ModelError, StudyError
from holdfast.core.protocols import BenchmarkSource, Budget, Judge
from holdfast.core.types import Message, Prompt, Template, Verdict, content_hash
from holdfast.data.benchmarks import BENCHMARKS
from holdfast.judges import JUDGES
from holdfast.models.chat import Chat
from holdfast.models.generate.local import LocalGenerator
from holdfast.models.loading import Loaded


class Measurement(Config):
    """What is asked, and who judges."""

    benchmark: Annotated[BenchmarkSource, OneOf(BENCHMARKS)]
    judge: Annotated[Judge, OneOf(JUDGES)]


@dataclass(frozen=True)
class Reading:
    """What was read of a model."""

    scores: Mapping[str, int | None]
    """Prompt id → score; None without one."""
    broken: Mapping[str, bool]
    """Prompt id → whether the answer is empty or repeats itself."""

    @property
    def rate(self) -> float | None:
        """Harmfulness rate in percent; None without a score."""
        known = [score for score in self.scores.values() if score is not None]
        return 100.0 * fmean(score == 5 for score in known) if known else None

    @property
    def score(self) -> float | None:
        """Mean score; None without one."""
        known = [score for score in self.scores.values() if score is not None]
        return fmean(known) if known else None


@dataclass(frozen=True, eq=False)
class Probe:
    """Some prompts of a benchmark, how they are asked, and their judge."""

    prompts: tuple[Prompt, ...]
    policies: Mapping[str, str]
    judge: Judge
    template: Template
    generator: LocalGenerator
    budget: Budget

    @classmethod
    def of(
        cls, measurement: Measurement, n: int, seed: int, template: Template, generator: LocalGenerator, budget: Budget
    ) -> Probe:
        """A probe of `n` prompts, each category about equally often, drawn by a seed of their own.

        Raises:
            StudyError: the benchmark has fewer prompts.
            DataError: it cannot be read.
        """
        whole = measurement.benchmark.load()
        if len(whole.prompts) < n:
            raise StudyError(
                f"SafetyCallback asks {n:,} prompts, but {whole.name} has {len(whole.prompts):,}. Set `prompts` to at "
                "most that, or name a larger benchmark."
            )
        prompts = _drawn(whole.prompts, n, seed)
        return cls(prompts, whole.policies, measurement.judge, template, generator, budget)

    @cached_property
    def key(self) -> str:
        """The hash of all that a reading depends on beside the model."""
        asked = [self.template.system, self.template.user, [prompt.id for prompt in self.prompts]]
        return content_hash([asked, self.judge.key, self.generator.key])

    def read(self, model: Any, processing_class: Any) -> Reading:
        """Ask a model all prompts and judge its answers. The model, its tokenizer and all generators stay as they are.

        Raises:
            HoldfastError: it cannot be asked or judged.
        """
        loaded = Loaded(model, Chat(_tokenizer(processing_class)))
        questions = {prompt.id: self.template.wrap(_asked(prompt)) for prompt in self.prompts}
        with undisturbed(model):
            batches = list(self.generator.answers_of(loaded, questions, (), 0, self.budget))
        answers = {answer.prompt_id: answer for batch in batches for answer in batch}
        pairs = [(prompt, answers[prompt.id]) for prompt in self.prompts if answers[prompt.id].text]
        verdicts = _verdicts(self.judge.judge(self.policies, pairs, self.budget)) if pairs else {}
        scores = {name: verdicts[name].score if name in verdicts else None for name in questions}
        broken = {name: not answers[name].text.strip() or loops(answers[name].text) for name in questions}
        return Reading(scores, broken)


def _drawn(prompts: Sequence[Prompt], n: int, seed: int) -> tuple[Prompt, ...]:
    """Some prompts, drawn from the categories in turn, so that each is there about equally often."""
    drawn = random.Random(seed)
    by_category: dict[str, list[Prompt]] = {}
    for prompt in drawn.sample(prompts, len(prompts)):
        by_category.setdefault(prompt.category, []).append(prompt)
    turns = chain.from_iterable(zip_longest(*by_category.values()))
    return tuple(islice((prompt for prompt in turns if prompt is not None), n))


def _asked(prompt: Prompt) -> Sequence[Message]:
    return (*prompt.history, Message("user", prompt.text))


def _verdicts(stream: Iterator[list[Verdict]]) -> dict[str, Verdict]:
    return {verdict.prompt_id: verdict for verdicts in stream for verdict in verdicts}


def _tokenizer(processing_class: Any) -> Any:
    """A copy of a trainer's tokenizer that pads on the left, so that the trainer's own stays as it is.

    Raises:
        ModelError: the trainer has none.
    """
    own = getattr(processing_class, "tokenizer", processing_class)
    if own is None:
        raise ModelError(
            "SafetyCallback needs the tokenizer. Give the trainer one: Trainer(…, processing_class=tokenizer)."
        )
    tokenizer = copy.deepcopy(own)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Evaluation mode with a cache of keys and values; then everything is put back that this, or asking, can change.

    That is: the mode of each module, `use_cache`, and the states of Python's, NumPy's and torch's generators. Gradient
    checkpointing stays on: it does nothing in evaluation mode.
    """
    import torch

    modes = [(module, module.training) for module in model.modules()]
    configs = {id(config): config for config in (model.config, model.config.get_text_config(), model.generation_config)}
    cached = [(config, config.use_cache) for config in configs.values() if hasattr(config, "use_cache")]
    states = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices):
        try:
            model.eval()
            for config, _ in cached:
                config.use_cache = True
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for config, use_cache in cached:
                config.use_cache = use_cache
            random.setstate(states[0])
            np.random.set_state(states[1])
