"""What can be wrong with a study's files, its model's format and its rows. No weights are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

from holdfast.core.errors import ModelError
from holdfast.core.types import Benchmark, Checkpoint, Example, Message
from holdfast.judges.base import ModelJudge
from holdfast.models import decoding, hub, loading
from holdfast.models.adapters import check_base
from holdfast.models.chat import Chat
from holdfast.study.doctor.cost_model import Shape
from holdfast.study.doctor.findings import Diagnosis
from holdfast.study.eval_setting import eval_setting_of, template_of
from holdfast.study.schema import ConditionSettings, Study

SAMPLE = 2000
"""Rows of a set that are rendered; larger sets are judged by these."""


@dataclass(frozen=True)
class Set:
    """One training set as a model is to see it."""

    name: str
    """The first condition that has it."""
    settings: ConditionSettings
    rows: Sequence[Example]
    tokens: int
    """Tokens in one epoch."""
    longest: int
    """Tokens of the longest row, after cutting."""


def read_benchmarks(study: Study, found: Diagnosis) -> dict[str, Benchmark]:
    """The measured sets that can be read, by name."""
    loaded = {}
    for name, measured in study.evaluate.sets().items():
        where = f"evaluate.{name}"
        benchmark = found.attempt(where, measured.benchmark.load)
        if benchmark:
            loaded[name] = benchmark
            for note in benchmark.notes:
                found.add("note", where, note)
            for judge in measured.judges:
                if isinstance(judge, ModelJudge):
                    found.attempt(where, judge.policies_for, benchmark.policies, benchmark.categories)
        if measured.judges[0].kind == "keyword" and name == "harmfulness":
            found.add("warning", where, "the keyword judge only looks for phrases of refusal: take its rates as a "
                                        "first look, not as the paper's measure")  # fmt: skip
    return loaded


def read_rows(
    study: Study, seed: int, benchmarks: dict[str, Benchmark], found: Diagnosis
) -> dict[str, list[Example]]:  # fmt: skip
    """The training rows of each condition, not yet in its template."""
    asked = {prompt.text.strip() for benchmark in benchmarks.values() for prompt in benchmark.prompts}
    rows: dict[str, list[Example]] = {}
    for name, settings in study.conditions.items():
        source = settings.data
        if source is None:
            continue
        drawn = found.attempt(f"conditions.{name}.data", source.examples, seed)
        for defence in settings.defence if drawn is not None else ():
            drawn = found.attempt(f"conditions.{name}.defence", defence.rows, drawn, seed)
            if drawn is None:
                break
        if drawn is None:
            continue
        rows[name] = drawn
        taught = sum(
            any(turn.role == "user" and turn.content.strip() in asked for turn in row.messages) for row in drawn
        )
        if taught:
            found.add("fault", f"conditions.{name}.data", f"{taught} of its {len(drawn)} rows ask what a benchmark "
                      "asks: the figures would show what was learnt by heart. Take them out.")  # fmt: skip
    return rows


def look_at_format(chat: Chat, found: Diagnosis) -> None:
    """What is special about how the model is spoken to."""
    told = found.attempt("model", loading.describe_chat, chat)
    if told is None:
        return
    if told["system_role"] != "native":
        found.add("note", "model", "its chat template keeps no system turn: the text goes before the first user turn")
    if told["hidden_system"]:
        found.add("warning", "model", "where a template of the study has no system turn, its chat template writes one "
                  f"of its own: {told['hidden_system']!r}")  # fmt: skip
    if told["thinking"] == "always":
        found.add("note", "model", "it thinks before each answer: leave room for it in `max_new_tokens`")


def look_at_fit(checkpoint: Checkpoint, base: Checkpoint) -> str:
    """Make sure that an adapter's weights have their places in its base, and tell what is doubtful about the two.

    Raises:
        ModelError: they have not.
    """
    if not checkpoint.folder or not hub.is_adapter(checkpoint.folder):
        return ""
    have = hub.tensor_shapes(Path(base.base))
    for name, shape in hub.tensor_shapes(checkpoint.folder).items():
        if ".lora_" not in name:
            continue
        target = name.removeprefix("base_model.model.").partition(".lora_")[0]
        place = next((have[known] for known in (f"{target}.weight", target) if known in have), None)
        if have and (place is None or (shape[-1] != place[-1] if ".lora_A." in name else shape[0] != place[0])):
            raise ModelError(
                f"the adapter in {checkpoint.folder} does not fit its base: {name} has the shape {shape}, and its "
                f"place there {place or 'does not exist'}. It was made for another model."
            )
    return check_base(checkpoint.folder, Path(base.base))


def shape_of(folder: Path) -> Shape:
    """A model's shape, by its configuration and the headers of its weights."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = {**config, **(config.get("text_config") or {})}
    tensors = hub.tensor_shapes(folder)
    embeddings = [shape for name, shape in tensors.items() if "embed" in name and len(shape) == 2]
    layers, hidden = config.get("num_hidden_layers", 1), config.get("hidden_size", 1)
    vocabulary = max((shape[0] for shape in embeddings), default=config.get("vocab_size", 1))
    counted = sum(prod(shape) for shape in tensors.values())
    guessed = 12 * layers * hidden**2 + 2 * vocabulary * hidden
    return Shape(counted or guessed, layers, hidden, vocabulary, config.get("max_position_embeddings"))


def look_at_rows(
    study: Study, rows: dict[str, list[Example]], chat: Chat, folder: Path, found: Diagnosis
) -> list[Set]:  # fmt: skip
    """Each training set once, rendered as far as `SAMPLE` goes."""
    sets: dict[str, Set] = {}
    ends = decoding.configured_end_of_turn_ids(folder, chat.tokenizer)
    for name, drawn in rows.items():
        settings = study.conditions[name]
        template = template_of(study, settings)
        at = str([settings.data and settings.data.key, [d.key for d in settings.defence], template,
                  getattr(settings.tune, "turns", None), getattr(settings.tune, "max_length", None)])  # fmt: skip
        if at in sets or getattr(settings.tune, "kind", "") != "local":
            continue
        wrap = study.templates[template].template().wrap
        wrapped = [Example(wrap(row.messages), row.source) for row in drawn]
        seen = found.attempt(f"conditions.{name}", _lengths, chat, settings.tune, wrapped, ends)
        if seen is None:
            continue
        lengths, cut, untaught = seen
        share = len(drawn) / len(lengths)
        of = f"of {len(lengths)} rows" + (f" that were looked at, of {len(drawn)}," if share > 1 else "")
        if untaught:
            found.add("fault", f"conditions.{name}.data", f"{untaught[0]} ({len(untaught)} {of})")
        if cut:
            found.add("warning", f"conditions.{name}.tune", f"{cut} {of} are longer than max_length and will be cut")
        sets[at] = Set(name, settings, wrapped, round(sum(lengths) * share), max(lengths))
    return list(sets.values())


def _lengths(chat: Chat, tuner: Any, rows: Sequence[Example], ends: set[int]) -> tuple[list[int], int, list[str]]:
    """Tokens of the first rows, how many will be cut, and why some would teach nothing or the wrong thing."""
    limit, lengths, cut, untaught = tuner.max_length, [], 0, []
    for row, whole in zip(islice(rows, SAMPLE), chat.examples(rows[:SAMPLE], tuner.turns), strict=True):
        taught = whole.input_ids[:limit][whole.supervised[:limit]].tolist()
        cut += len(whole.input_ids) > limit
        lengths.append(min(len(whole.input_ids), limit))
        if not taught:
            untaught.append(f"{row.source}: nothing of its answer is left after max_length {limit}")
        elif taught[0] in chat.special_ids:
            untaught.append(f"{row.source}: the chat template has no generation prompt, so a model would be asked to "
                            "open its own turn; use a template that takes `add_generation_prompt`")  # fmt: skip
        elif len(whole.input_ids) <= limit and not ends & set(taught):
            untaught.append(f"{row.source}: no end of turn is taught, so the tuned model would not stop; the "
                            "template's end of turn is not in `eos_token_id`")  # fmt: skip
    return lengths, cut, untaught


def _question_lengths(chat: Chat, asked: Sequence[Sequence[Message]]) -> list[int]:
    return [len(chat.question(turns)) for turns in asked]


def look_at_questions(
    study: Study, benchmarks: dict[str, Benchmark], chat: Chat, shape: Shape | None, found: Diagnosis
) -> dict[str, tuple[int, int]]:  # fmt: skip
    """Template → tokens of the longest question, and of all of them; each way of asking is checked for room."""
    sizes: dict[str, tuple[int, int]] = {}
    prompts = [prompt for benchmark in benchmarks.values() for prompt in benchmark.prompts]
    tuned = (eval_setting_of(study, settings).ask for settings in study.conditions.values())
    for name in dict.fromkeys([study.default_template, *tuned]):
        template = study.templates[name].template()
        asked = [template.wrap([*prompt.history, Message("user", prompt.text)]) for prompt in prompts]
        counted = found.attempt(f"templates.{name}", _question_lengths, chat, asked)
        if not counted:
            continue
        sizes[name] = max(counted), sum(counted)
        for where, generator in [("generate", study.generate), *study.decodings.items()]:
            longest, room = max(counted), getattr(generator, "max_new_tokens", 0)
            if shape and shape.context and longest + room > shape.context:
                found.add("fault", str(where), f"the longest question has {longest} tokens; with max_new_tokens that "
                          f"is {longest + room}, and the model has room for {shape.context}. Lower it.")  # fmt: skip
    return sizes
