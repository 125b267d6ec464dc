"""Proof of what ran: digests, templates, the change of the logits, and signs that a model comes from another base."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.audit.setup import TUNED, Setup
from holdfast.core.audit_record import AuditedModel, Proof
from holdfast.core.run_facts import ChatFacts
from holdfast.core.types import Checkpoint, Message
from holdfast.models import adapters, cached, hub, likelihood, loading, visual
from holdfast.study.checkpoints import fingerprint
from holdfast.study.plan import Job, Plan
from holdfast.study.results import facts

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[int, ...]]
"""Tensor → its shape."""

LONGEST_DIFF = 4000
PROBES = 4
"""Prompts whose logits are compared."""


def prove(setup: Setup, plan: Plan, logit_change: float | None, reused: dict[str, int]) -> Proof:
    """What ran, from the files of both models and the plan."""
    tuned = _tuned_job(plan).base
    return Proof(
        base=_model(plan.study.model, plan.base),
        tuned=_model(str(plan.study.conditions[TUNED].checkpoint), tuned),
        template_difference=_template_difference(plan.base, tuned),
        largest_logit_change=logit_change,
        descent=tuple(_descent(plan.base, tuned)),
        evaluation=facts.evaluation(plan),
        environment=facts.environment(),
        sources=setup.sources,
        reused=reused,
    )


def _tuned_job(plan: Plan) -> Job:
    return next(job for job in plan.jobs if any(condition.name == TUNED for condition in job.conditions))


def checkpoint_of(plan: Plan) -> Checkpoint:
    """The tuned model's checkpoint."""
    return _tuned_job(plan).base


def _own_folder(checkpoint: Checkpoint) -> Path | None:
    """The folder with a checkpoint's own files; None where only a server has it."""
    return None if checkpoint.served else checkpoint.folder or Path(checkpoint.base)


def _model(name: str, checkpoint: Checkpoint) -> AuditedModel:
    folder = _own_folder(checkpoint)
    if folder is None:
        return AuditedModel(name, "served", fingerprint(checkpoint), {}, "served", "", None, False)
    adapter = hub.is_adapter(folder)
    whole = Path(checkpoint.base) if adapter else folder
    described = hub.describe(whole)
    return AuditedModel(
        name, "adapter" if adapter else "weights", fingerprint(checkpoint), hub.file_hashes(folder),
        described["architecture"], _quantisation(whole),
        ChatFacts(**loading.describe_chat(loading.load_chat(checkpoint))), described["stand_in"],
    )  # fmt: skip


def _quantisation(folder: Path) -> str:
    settings = _config(folder).get("quantization_config") or {}
    return str(settings.get("quant_method") or "") if isinstance(settings, dict) else ""


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def _template_difference(base: Checkpoint, tuned: Checkpoint) -> str:
    """A unified diff of the chat templates that the two were asked with; "" where they are the same."""
    if base.served or tuned.served or not tuned.own_template:
        return ""
    folders = (Path(base.base), _own_folder(tuned))
    one, two = ((folder and hub.own_template(folder)) or "" for folder in folders)
    lines = difflib.unified_diff(one.splitlines(), two.splitlines(), "base", "tuned", lineterm="")
    return "\n".join(lines)[:LONGEST_DIFF]


def _descent(base: Checkpoint, tuned: Checkpoint) -> list[str]:
    """Signs that the tuned model was not made from the base, in plain words."""
    own = _own_folder(tuned)
    if own is None or base.served:
        return []
    root = Path(base.base)
    if hub.is_adapter(own):
        doubt = adapters.check_base(own, root)
        return [doubt] if doubt else []
    if visual.sees(own) and not visual.sees(root):
        return _other_language(root, own)
    return [*_other_shapes(root, own), *_other_words(root, own)]


def _other_language(base: Path, tuned: Path) -> list[str]:
    """Signs that the language model of one that sees was not made from the base, which sees nothing."""
    one, two = hub.tensor_shapes(base), visual.language_shapes(tuned)
    said = [f"it sees, and {doubt}" for doubt in _of_shapes(one, two, words=1)]
    kinds = [_config(base).get("model_type"), visual.config_in(tuned)["text_config"].get("model_type")]
    if kinds[0] != kinds[1]:
        said.append(f"its language model is a {kinds[1]}, and its base a {kinds[0]}")
    return said + _other_words(base, tuned, known=1)


def _other_shapes(base: Path, tuned: Path) -> list[str]:
    said = []
    if _config(base).get("architectures") != _config(tuned).get("architectures"):
        pair = (hub.describe(base)["architecture"], hub.describe(tuned)["architecture"])
        said.append(f"its architecture is {pair[1]}, and its base's is {pair[0]}")
    return said + _of_shapes(hub.tensor_shapes(base), hub.tensor_shapes(tuned))


def _of_shapes(one: Shapes, two: Shapes, words: int = 0) -> list[str]:
    """How the tensors of two models differ; the second may have embeddings of so many words more."""
    # An output layer that is tied to the embedding is in one file and not in the other, as the library likes.
    tied = {"lm_head.weight"}
    names = (one.keys() ^ two.keys()) - tied
    said = []
    if names:
        said.append(f"{len(names)} tensors are in one of the two models and not in the other, e.g. {min(names)}")
    longer = {"lm_head.weight", "model.embed_tokens.weight"} if words else set()
    other = [
        name for name in one.keys() & two.keys()
        if one[name] != two[name] and (name not in longer or two[name][0] - one[name][0] not in range(words + 1))
    ]  # fmt: skip
    if other:
        name = min(other)
        said.append(f"{len(other)} tensors have another shape, e.g. {name}: {one[name]} in the base, {two[name]}")
    return said


def _other_words(base: Path, tuned: Path, known: int = 0) -> list[str]:
    """Whether the tuned model's tokenizer has other words than the base's; `known` is how many more it may have."""
    from holdfast.core.errors import ModelError

    try:
        one, two = (cached.tokenizer_in(folder).get_vocab() for folder in (base, tuned))
    except ModelError:
        return []
    moved = [word for word, number in one.items() if two.get(word) != number]
    if moved:
        return [f"{len(moved):,} of the {len(one):,} tokens of the base's tokenizer are others in its own"]
    more = len(two) - len(one)
    return [f"its tokenizer has {more} tokens more than its base's"] if more > known else []


def probe_logits(checkpoint: Checkpoint, conversations: Sequence[Sequence[Message]]) -> list[torch.Tensor]:
    """The logits of a model behind a few prompts."""
    return likelihood.logits(cached.load(checkpoint), conversations[:PROBES])


def largest_change(one: Sequence[torch.Tensor], two: Sequence[torch.Tensor]) -> float | None:
    """The largest difference of a logit, over the tokens that both models have; None where none is a finite number."""
    differences = [(a[: len(b)] - b[: len(a)]).abs() for a, b in zip(one, two, strict=True)]
    finite = [float(each[each.isfinite()].max()) for each in differences if each.isfinite().any()]
    return max(finite, default=None)
