"""Answers from a server that speaks OpenAI's chat completions, after making sure that the right model answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from holdfast.core.errors import ModelError
from holdfast.core.protocols import Ledger
from holdfast.core.types import Answer, Checkpoint, Message, Outcome, content_hash
from holdfast.models import hub
from holdfast.models.endpoint import Endpoint, PostError, Reply, Request, complete, is_same_model, post

Questions = Mapping[str, Sequence[Message]]

PROBES, PROBE_TOKENS = 8, 16
"""Questions and tokens by whose log-probabilities a tuned model is told from its base."""
TEXT_PROBES, TEXT_PROBE_TOKENS = 32, 64
"""The same where a server gives no log-probabilities, so that only words can differ."""

OUTCOMES: Mapping[str, Outcome] = {
    "ok": "answered", "truncated": "truncated", "refused": "answered",
    "filtered": "blocked", "empty": "blocked", "error": "backend_error",
}  # fmt: skip
"""What a reply's outcome makes of an answer. A model that refuses in a field of its own has answered."""


class ServerGenerator(Endpoint):
    """Answers from any OpenAI-compatible server: vLLM, SGLang, Ollama, a provider."""

    kind: Literal["server"] = "server"
    model: str | None = None
    """The name under which the server has the base; the study's `model` if not given."""
    max_new_tokens: PositiveInt = 512
    """Where an answer is cut; one that reaches this is `truncated`."""
    temperature: NonNegativeFloat | None = 0.0
    """0 is greedy; None sends none, for models that take none."""
    top_p: float = Field(1.0, gt=0.0, le=1.0)
    """Nucleus sampling; used only when the temperature is above 0."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request, e.g. `chat_template_kwargs: {enable_thinking: false}`."""
    adapters: Literal["load"] | None = Field("load", exclude=True)
    """How a tuned adapter gets to the server: `load` hands vLLM its folder; None does not."""

    @property
    def random(self) -> bool:
        """Whether answers depend on a seed."""
        return self.temperature is None or self.temperature > 0

    def faults(self) -> list[str]:
        """As for any server; or one that lacks the model."""
        found = super().faults()
        if not found and self.model:
            try:
                self.require(self.model)
            except ModelError as error:
                return [str(error)]
        return found

    def answers(
        self, checkpoint: Checkpoint, questions: Questions, done: Collection[str], seed: int, ledger: Ledger
    ) -> Iterator[list[Answer]]:
        """Answer the questions (prompt id → conversation) that are not yet done, each as soon as it comes.

        Raises:
            ModelError: a server that does not answer or lacks the model, a tuned model that is not applied, or
                another model that answers in its place.
            BudgetError: the cap is reached.
        """
        missing = [name for name in questions if name not in done]
        if not missing:
            return
        with self._served(checkpoint) as (model, base):
            if base is not None and base != model:
                self._check_applied(base, model, questions, ledger)
            requests = [self._request(name, model, questions[name], seed) for name in missing]
            for reply in complete(self, requests, ledger):
                _check_name(model, reply)
                yield [_answer(reply)]

    def _request(self, name: str, model: str, question: Sequence[Message], seed: int) -> Request:
        messages = [{"role": message.role, "content": message.content} for message in question]
        drawn = int(content_hash([seed, name])[:7], 16) if self.random else None
        top_p = self.top_p if self.random else 1.0
        return Request(name, model, messages, self.max_new_tokens, self.temperature, top_p, drawn, extra=self.extra)

    @contextmanager
    def _served(self, checkpoint: Checkpoint) -> Iterator[tuple[str, str | None]]:
        """The name to ask under, and that of the base to tell it from, if the server has one."""
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
        with self._loaded(checkpoint.folder) as name:
            yield name, base

    @contextmanager
    def _loaded(self, folder: Path) -> Iterator[str]:
        """The name of an adapter that the server holds for as long as it is asked."""
        if not (folder / "adapter_config.json").is_file():
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
            # The answers are there: an adapter that stays behind only takes room, and is found loaded next time.
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

    def _check_applied(self, base: str, tuned: str, questions: Questions, ledger: Ledger) -> None:
        """Make sure that a tuned model's replies are not its base's.

        Log-probabilities differ a little each time a busy server computes them: the base is asked twice, and what
        tells the tuned model from it must be more than twice what tells it from itself.

        Raises:
            ModelError: they are the same, or nothing comes back that could tell.
        """
        once, again, changed = (self._probe(name, questions, ledger, True) for name in (base, base, tuned))
        told = [name for name in once.keys() & again.keys() & changed.keys() if once[name].logprobs is not None]
        if told:
            noise = max(_distance(once[name], again[name]) for name in told)
            change = max(_distance(once[name], changed[name]) for name in told)
            same = change <= 2 * noise < float("inf")
            compared = "words and log-probabilities" + ", within their noise" * (noise > 0)
        else:
            once, changed = (self._probe(name, questions, ledger, False) for name in (base, tuned))
            told = list(once.keys() & changed.keys())
            same, compared = all(_words(once[name]) == _words(changed[name]) for name in told), "words"
        if not told:
            raise ModelError(f"{self.base_url} gives no replies of {base!r} and {tuned!r} that could be told apart.")
        if same:
            raise ModelError(
                f"{tuned!r} gives exactly what its base {base!r} gives ({compared} of {len(told)} replies): the "
                "adapter is not applied. Try another version of the server, or answer with `kind: local`."
            )

    def _probe(self, model: str, questions: Questions, ledger: Ledger, logprobs: bool) -> dict[str, Reply]:
        """Short greedy replies to some of the questions; those that failed are left out."""
        n, tokens = (PROBES, PROBE_TOKENS) if logprobs else (TEXT_PROBES, TEXT_PROBE_TOKENS)
        names = list(questions)
        some = [names[place * (len(names) - 1) // (n - 1)] for place in range(n)] if len(names) > n else names
        greedy = None if self.temperature is None else 0.0
        # One after another where log-probabilities count: what is computed together can change them.
        at_once = 1 if logprobs else self.concurrency
        plain = self.model_copy(update={"temperature": greedy, "max_new_tokens": tokens, "concurrency": at_once})
        requests = [plain._request(name, model, questions[name], 0) for name in some]
        requests = [replace(request, logprobs=logprobs) for request in requests]
        found = {}
        for reply in complete(plain, requests, ledger):
            _check_name(model, reply)
            if OUTCOMES[reply.outcome] in ("answered", "truncated"):
                found[reply.id] = reply
        return found


def _words(reply: Reply) -> tuple[str, str]:
    return reply.text, reply.thinking


def _distance(one: Reply, other: Reply) -> float:
    """The largest difference of log-probabilities; infinite where the words differ."""
    if _words(one) != _words(other) or one.logprobs is None or other.logprobs is None:
        return float("inf")
    pairs = zip(one.logprobs, other.logprobs, strict=False)
    return max((abs(a - b) for (_, a), (_, b) in pairs), default=0.0)


def _check_name(asked: str, reply: Reply) -> None:
    if reply.model and not is_same_model(asked, reply.model):
        raise ModelError(
            f"{asked!r} was asked, but {reply.model!r} answered. Does the server have a model of that name, or does it "
            "give every name to the one model that it has?"
        )


def _answer(reply: Reply) -> Answer:
    """The answer that a reply is."""
    outcome = OUTCOMES[reply.outcome]
    text = reply.text if outcome in ("answered", "truncated") else ""
    return Answer(reply.id, outcome, text, reply.tokens, reply.detail, reply.thinking, reply.prompt_tokens)
