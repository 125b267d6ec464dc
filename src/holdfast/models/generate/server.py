"""Answers from a server that speaks OpenAI's chat completions, after making sure that the right model answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from holdfast.core.errors import ModelError
from holdfast.core.protocols import Budget
from holdfast.core.types import Answer, Checkpoint
from holdfast.models import hub
from holdfast.models.endpoint import PostError, post
from holdfast.models.generate.base import OUTCOMES, Conversations, answer_of, questions_of
from holdfast.models.samplers.base import Question, Reply
from holdfast.models.samplers.server import ServedModel, Server

PROBES, PROBE_TOKENS = 8, 16
"""Questions and tokens with whose log-probabilities a tuned model is told from its base."""
TEXT_PROBES, TEXT_PROBE_TOKENS = 32, 64
"""The same where a server gives no log-probabilities, so that only words can differ."""


class ServerGenerator(ServedModel):
    """Answers from any OpenAI-compatible server: vLLM, SGLang, Ollama, a provider."""

    kind: Literal["server"] = "server"
    model: str | None = None
    """The server's name for the base; the study's `model` if not given."""
    max_new_tokens: PositiveInt = 512
    """Where an answer is cut; one that reaches this is `truncated`."""
    adapters: Literal["load"] | None = Field("load", exclude=True)
    """How a tuned adapter gets to the server: `load` has vLLM load its folder; null does not."""

    def answers(
        self, checkpoint: Checkpoint, questions: Conversations, done: Collection[str], seed: int, budget: Budget
    ) -> Iterator[list[Answer]]:
        """Answers to the questions (prompt id → conversation) that are not done, as soon as they are there.

        Raises:
            ModelError: a server that does not answer or lacks the model, a tuned model that is not applied, or
                another model that answers in its place.
            BudgetError: the cap is reached.
        """
        if questions.keys() <= set(done):
            return
        with self._served(checkpoint) as (model, base):
            if base is not None and base != model and not done:  # an earlier run has looked before its first answer
                # A model that a provider tuned can say the same in other likelihoods: words alone tell nothing of it.
                tuned_there = checkpoint.served not in (None, checkpoint.base)
                self._check_applied(base, model, questions, budget, by_words=not tuned_there)
            all_questions = questions_of(questions, self.max_new_tokens)
            for reply in self._sampler(model).ask(all_questions, budget, seed, skip=done):
                yield [answer_of(reply)]

    def _sampler(self, model: str, **changes: Any) -> Server:
        """Asks one of the server's models with these settings."""
        settings = {name: getattr(self, name) for name in ServedModel.model_fields}
        return Server(**{**settings, "model": model, **changes})

    @contextmanager
    def _served(self, checkpoint: Checkpoint) -> Iterator[tuple[str, str | None]]:
        """The name to ask under, and that of the base to tell it from, if the server has the base."""
        base = self.model or checkpoint.base
        if checkpoint.served:
            self.require(checkpoint.served)
            if self.model:
                self.require(self.model)
            yield checkpoint.served, base if self.model or base in (self.listed() or ()) else None
            return
        self.require(base)
        if checkpoint.folder is None:
            yield base, None
            return
        with self._adapter_loaded(checkpoint.folder) as name:
            yield name, base

    @contextmanager
    def _adapter_loaded(self, folder: Path) -> Iterator[str]:
        """The server's name for an adapter, which it holds while it is asked."""
        if not hub.is_adapter(folder):
            raise ModelError(
                f"{folder} holds full weights, which a server must be started with. Serve them, and name the model in "
                "the study as `checkpoint: served:NAME`; or answer with `kind: local`."
            )
        if self.adapters is None:
            raise ModelError(f"{folder} holds an adapter; set `adapters: load` to have the server load it.")
        name = f"holdfast-{hub.fingerprint(folder)}"
        try:
            post(self, "/load_lora_adapter", {"lora_name": name, "lora_path": str(folder.resolve())})
        except PostError as error:
            if name not in (self.listed() or ()):
                raise ModelError(self._why_not_loaded(folder, error)) from None
        try:
            yield name
        finally:
            # The answers are there. An adapter that stays only takes room, and the next run uses it.
            with suppress(ModelError):
                post(self, "/unload_lora_adapter", {"lora_name": name})

    def _why_not_loaded(self, folder: Path, error: PostError) -> str:
        if not str(error):
            return (
                f"{self.base_url} cannot load adapters while it runs (HTTP {error.status}). Start vLLM with "
                "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment and --enable-lora; or answer with `kind: "
                "local`."
            )
        return (
            f"{self.base_url} cannot load the adapter in {folder}: {error} (HTTP {error.status}). The server must see "
            "that folder under the same path, and be started with --enable-lora and a --max-lora-rank that is enough."
        )

    def _check_applied(
        self, base: str, tuned: str, questions: Conversations, budget: Budget, by_words: bool = True
    ) -> None:
        """Make sure that a tuned model's replies are not its base's.

        Log-probabilities differ a little each time a busy server computes them. So the base is asked twice, and the
        tuned model must differ from it more than twice as much as the base differs from itself.

        Raises:
            ModelError: the replies are the same, or there are none to compare.
        """
        first, second, changed = (self._probe(name, questions, budget, True) for name in (base, base, tuned))
        shared = first.keys() & second.keys() & changed.keys()
        comparable = [name for name in shared if first[name].logprobs is not None]
        if comparable:
            noise = max(_distance(first[name], second[name]) for name in comparable)
            change = max(_distance(first[name], changed[name]) for name in comparable)
            same = change <= 2 * noise < float("inf")
            compared = "words and log-probabilities" + (", within their noise" if noise > 0 else "")
        elif not by_words:
            return
        else:
            first, changed = (self._probe(name, questions, budget, False) for name in (base, tuned))
            comparable = list(first.keys() & changed.keys())
            same = all(_words(first[name]) == _words(changed[name]) for name in comparable)
            compared = "words"
        if not comparable:
            raise ModelError(f"{self.base_url} gives no replies of {base!r} and {tuned!r} that could be told apart.")
        if same:
            raise ModelError(
                f"{tuned!r} gives exactly what its base {base!r} gives ({compared} of {len(comparable)} replies): the "
                + (
                    "adapter is not applied. Try another version of the server, or answer with `kind: local`."
                    if by_words
                    else "server does not answer with the tuned model."
                )
            )

    def _probe(self, model: str, questions: Conversations, budget: Budget, logprobs: bool) -> dict[str, Reply]:
        """Short greedy replies to some of the questions, without those that failed."""
        n, tokens = (PROBES, PROBE_TOKENS) if logprobs else (TEXT_PROBES, TEXT_PROBE_TOKENS)
        names = list(questions)
        some = [names[i * (len(names) - 1) // (n - 1)] for i in range(n)] if len(names) > n else names
        probes = [Question(name, tuple(questions[name]), tokens, logprobs=logprobs) for name in some]
        # One after another where log-probabilities count: what is computed together can change them.
        concurrency = 1 if logprobs else self.concurrency
        greedy = None if self.temperature is None else 0.0
        replies = self._sampler(model, temperature=greedy, concurrency=concurrency).ask(probes, budget, seed=0)
        return {reply.id: reply for reply in replies if OUTCOMES[reply.outcome] in ("answered", "truncated")}


def _words(reply: Reply) -> tuple[str, str]:
    return reply.text, reply.thinking


def _distance(one: Reply, other: Reply) -> float:
    """The largest difference of log-probabilities; infinite where the words differ."""
    if _words(one) != _words(other) or one.logprobs is None or other.logprobs is None:
        return float("inf")
    pairs = zip(one.logprobs, other.logprobs, strict=False)
    return max((abs(a - b) for (_, a), (_, b) in pairs), default=0.0)
