"""Rows and questions in the model's chat template: how long they are, and whether the rows teach what they should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from holdfast.core.types import Benchmark, Example, Message
from holdfast.models import decoding
from holdfast.models.chat import Chat
from holdfast.models.visual import VisualChat
from holdfast.study import seeing
from holdfast.study.doctor.cost_model import Shape
from holdfast.study.doctor.findings import Diagnosis
from holdfast.study.eval_setting import eval_setting_of, template_of
from holdfast.study.schema import ConditionSettings, Study

SAMPLE = 2000
"""Rows of a set that are rendered; larger sets are judged by these."""


@dataclass(frozen=True)
class TrainingSet:
    """One training set as a model is to see it."""

    name: str
    """The first condition that has it."""
    n_rows: int
    tokens: int
    """Tokens in one epoch."""
    longest: int
    """Tokens of the longest row, after cutting."""


@dataclass(frozen=True)
class Questions:
    """The questions of all sets in one template, in tokens."""

    longest: int
    tokens: int


@dataclass(frozen=True)
class _Lengths:
    """What rendering the first rows of a set showed."""

    tokens: tuple[int, ...]
    """Tokens of each row, after cutting."""
    n_cut: int
    untaught: tuple[str, ...]
    """Why rows would teach nothing or the wrong thing."""


def look_at_rows(
    study: Study, rows: Mapping[str, Sequence[Example]], chat: Chat, folder: Path, diagnosis: Diagnosis
) -> dict[str, TrainingSet]:
    """Condition → its training set, rendered as far as `SAMPLE` goes; equal sets are looked at once."""
    ends = decoding.configured_end_of_turn_ids(folder, chat.tokenizer)
    looked_at: dict[str, TrainingSet | None] = {}
    sets: dict[str, TrainingSet] = {}
    for name, drawn in rows.items():
        settings = study.conditions[name]
        if getattr(settings.tune, "kind", "") != "local" or not drawn:
            continue
        key = _key_of(study, settings)
        if key not in looked_at:
            looked_at[key] = _look_at_set(study, name, drawn, chat, ends, diagnosis)
        training_set = looked_at[key]
        if training_set:
            sets[name] = training_set
    return sets


def _key_of(study: Study, settings: ConditionSettings) -> str:
    """What the lengths of a condition's rows depend on."""
    tuner: Any = settings.tune
    defences = [defence.model_dump(mode="json") for defence in settings.defence]
    data = settings.data.key if settings.data else None
    return str([data, defences, template_of(study, settings), tuner.turns, tuner.max_length])


def _look_at_set(
    study: Study, name: str, drawn: Sequence[Example], chat: Chat, ends: set[int], diagnosis: Diagnosis
) -> TrainingSet | None:
    settings = study.conditions[name]
    wrap = study.templates[template_of(study, settings)].template().wrap
    wrapped = [Example(wrap(row.messages), row.source) for row in drawn[:SAMPLE]]
    if getattr(settings.tune, "vision", None) and not isinstance(chat, VisualChat):
        wrapped = [seeing.text_of(row) for row in wrapped]  # its eyes are made when it is tuned
    lengths = diagnosis.attempt(f"conditions.{name}", _lengths, chat, settings.tune, wrapped, ends)
    if lengths is None:
        return None
    n_seen = len(lengths.tokens)
    of = f"of {n_seen} rows" + (f" that were looked at, of {len(drawn)}," if len(drawn) > n_seen else "")
    if lengths.untaught:
        what = f"{lengths.untaught[0]} ({len(lengths.untaught)} {of})"
        diagnosis.add("fault", f"conditions.{name}.data", what)
    if lengths.n_cut:
        what = f"{lengths.n_cut} {of} are longer than max_length and will be cut"
        diagnosis.add("warning", f"conditions.{name}.tune", what)
    tokens = round(sum(lengths.tokens) * len(drawn) / n_seen)
    return TrainingSet(name, len(drawn), tokens, max(lengths.tokens))


def _lengths(chat: Chat, tuner: Any, rows: Sequence[Example], ends: set[int]) -> _Lengths:
    limit, tokens, n_cut, untaught = tuner.max_length, [], 0, []
    for row, whole in zip(islice(rows, SAMPLE), chat.examples(rows, tuner.turns), strict=True):
        taught = whole.input_ids[:limit][whole.supervised[:limit]].tolist()
        is_cut = len(whole.input_ids) > limit
        n_cut += is_cut
        tokens.append(min(len(whole.input_ids), limit))
        if not taught:
            untaught.append(f"{row.source}: nothing of its answer is left after max_length {limit}")
        elif taught[0] in chat.special_ids:
            untaught.append(f"{row.source}: the chat template has no generation prompt, so a model would be asked to "
                            "open its own turn; use a template that takes `add_generation_prompt`")  # fmt: skip
        elif not is_cut and not ends & set(taught):
            untaught.append(f"{row.source}: no end of turn is taught, so the tuned model would not stop; the "
                            "template's end of turn is not in `eos_token_id`")  # fmt: skip
    return _Lengths(tuple(tokens), n_cut, tuple(untaught))


def look_at_questions(
    study: Study, benchmarks: Mapping[str, Benchmark], chat: Chat, shape: Shape | None, diagnosis: Diagnosis
) -> dict[str, Questions]:
    """Template → the lengths of all questions in it. Each way of asking is checked for room."""
    questions: dict[str, Questions] = {}
    prompts = [prompt for benchmark in benchmarks.values() for prompt in benchmark.prompts]
    settings = (eval_setting_of(study, condition) for condition in study.conditions.values())
    for name in dict.fromkeys([study.default_template, *(setting.ask for setting in settings)]):
        wrap = study.templates[name].template().wrap
        asked = [wrap([*prompt.history, Message("user", prompt.text)]) for prompt in prompts]
        tokens = diagnosis.attempt(f"templates.{name}", _question_lengths, chat, asked)
        if tokens:
            questions[name] = Questions(max(tokens), sum(tokens))
            _check_room(study, questions[name].longest, shape, diagnosis)
    return questions


def _question_lengths(chat: Chat, asked: Sequence[Sequence[Message]]) -> list[int]:
    return [len(chat.question(turns)) for turns in asked]


def _check_room(study: Study, longest: int, shape: Shape | None, diagnosis: Diagnosis) -> None:
    for where, generator in [("generate", study.generate), *study.decodings.items()]:
        room = getattr(generator, "max_new_tokens", 0)
        if shape and shape.context and longest + room > shape.context:
            diagnosis.add("fault", str(where), f"the longest question has {longest} tokens; with max_new_tokens that "
                          f"is {longest + room}, and the model has room for {shape.context}. Lower it.")  # fmt: skip
