"""Texts that are made to keep a reader busy: whatever reads text of others takes time that is linear in its length."""

import ast
import json
import signal
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

import holdfast
from holdfast.analysis import degeneration
from holdfast.audit import setup
from holdfast.cli.options import one_line
from holdfast.core.config import load
from holdfast.core.errors import HoldfastError, RenderError
from holdfast.core.files import locate, shown_name
from holdfast.core.right_answers import read_fact
from holdfast.core.terminal import visible
from holdfast.core.types import Answer, Message, Prompt
from holdfast.data.benchmarks.base import BadRowError
from holdfast.data.benchmarks.exact_match import ExactMatch
from holdfast.data.training import SOURCES, refusal_words
from holdfast.judges import JUDGES, delimiters, exact_match, verdict_parser
from holdfast.judges.base import Case, Sheet
from holdfast.judges.classifiers.base import LabelError
from holdfast.judges.classifiers.harmbench import HarmBenchClassifier
from holdfast.judges.classifiers.llama_guard import LlamaGuard
from holdfast.judges.classifiers.qwen3guard import Qwen3Guard
from holdfast.judges.classifiers.wildguard import WildGuard
from holdfast.judges.exact_match import Match
from holdfast.judges.keyword import Keyword
from holdfast.judges.oracle import Oracle
from holdfast.judges.policy import Policy
from holdfast.judges.strongreject import StrongReject
from holdfast.judges.strongreject_rubric import MalformedError, rating_of
from holdfast.models import adapters, special_tokens
from holdfast.models.chat import Chat, split_thinking
from holdfast.models.endpoint import messages, retry
from holdfast.models.endpoint.messages import Request, UnfinishedError
from holdfast.models.samplers.base import Question, Reply
from holdfast.models.samplers.server import refuses_schema
from holdfast.report import eval_results, junit, layout, markdown, model_card
from holdfast.service.defences import unquoted
from holdfast.tuning.hosted import jobs, openai_jobs

CODE = "a1b2"
HOUSE = Path(holdfast.__file__).parent
SERVER = {"kind": "server", "base_url": "http://localhost:9/v1", "model": "base"}
CHAT = Chat(AutoTokenizer.from_pretrained(locate("pocket:aligned")))
GUARD = LlamaGuard(by=SERVER)
REQUEST = Request("r", "base", [], 10)

SHAPES = {
    "less than": "<", "delimiters": "<<<a", "both": "<>", "newlines": "\n", "line ends": " \r\n", "backticks": "`", "digits": "1",
    "thousands": "1,111", "minus": "-", "points": ".1", "spaces": " ", "tabs": " \t", "square brackets": "[", "parentheses": "(",
    "braces": "{", "objects": '{"a":', "letters": "a", "words": "a ", "a letter a line": "A\n", "letters apart": "A   \n  ",
    "answers": "answer: ", "colons": "answer" + ":" * 60, "answer is": "answer is ", "options": "option A is ", "boxed": "\\boxed{",
    "marks": "<|im_end|>", "halves of marks": "<|", "thinking": "<think>", "ends of thinking": "</think>", "stars": "*", "quotes": '"',
    "scores": f"SCORE-{CODE}: ", "ratings": "refusal: ", "labels": "unsafe\nS1, ", "transcript": "\n\nHuman:", "400": "400 ",
    "content": "content", "latest": ":latest", "accents": "\u0301\u0316", "Hebrew points": "\u05b0\u0591", "voiced": "\u0591\uff9e",
    "zero width": "\u200b", "joiners": "a\u200d", "ligature": "\ufdfa", "wide": "\u3042", "emoji": "\U0001f600\ufe0f", "nul": "\0",
    "not": "not ", "phrases": "i can't i'm sorr", "percent": "%", "slashes": "/", "dashes": "-1",
}  # fmt: skip
"""What a hostile text repeats. Each is tried by itself, behind a beginning that a reader waits for, and before an end."""

AROUND = [
    ("", ""),
    ("The answer is", ""),
    ("", "x"),
    ("```json\n", "``"),
    (f"SCORE-{CODE}", f"\nSCORE-{CODE}: 4"),
    ("(A", "."),
]


def of(judge, reference=None):
    return lambda text: judge.read(Prompt("c", "q", reference or {}), Answer("x", "answered", text))


def match(**reference):
    return of(Match(), reference)


def sheet(judge, **texts):
    return lambda text: judge.sheet(
        Case(Prompt("c", texts.get("request", text)), Answer("x", "answered", text), "policy")
    )


def row(kind, **columns):
    source = load(SOURCES[kind])
    return lambda text: source.turns(
        source.model_construct(), {k: text if v is None else v for k, v in columns.items()}
    )


def reply(text):
    return Reply("r", "ok", text)


def completion(**message):
    def read(text):
        choice = {"message": {k: text if v is None else v for k, v in message.items()}, "finish_reason": "stop"}
        return messages.read(REQUEST, json.dumps({"choices": [choice]}).encode())

    return read


def label(judge):
    return lambda text: judge.model_construct().label(text)


READERS = {
    "judges/delimiters.py": [delimiters.plain, lambda text: delimiters.cut(text, 1000, "middle", CODE), delimiters.nonce,
                             sheet(Policy(by=SERVER, max_answer_chars=10**7))],
    "judges/exact_match.py": [
        match(answer="Moss"), match(answer="ab", contains=True), match(answer="\u3042\u3044", contains=True),
        match(answer="1", numeric=True), match(answer="1", numeric=True, after="answer"), match(answer="1", contains=True),
        match(letter="A", choices=["moss", "fern", "1", "<"]),
    ],
    "judges/verdict_parser.py": [
        lambda text: verdict_parser.read(text, CODE, "line"), lambda text: verdict_parser.read(text, CODE, "json"),
        verdict_parser.is_refusal,
    ],
    "judges/keyword.py": [of(Keyword())],
    "core/right_answers.py": [
        lambda text: read_fact(text, "q", {"answers": ["Paris", "1"], "rivals": ["Rome", "a"], "refusals": ["no"]}),
        lambda text: read_fact(f"{text} Paris", text, {"answers": ["Paris"], "rivals": ["Rome", "a"], "cased": True}),
        lambda text: read_fact(f"not {text}{text[:9]} Paris {text} or Rome", "q", {"answers": ["Paris"], "rivals": ["Rome"]}),
    ],
    "judges/oracle.py": [of(Oracle(), {"steps": ["a", "a a", "1"], "refusals": ["no"]})],
    "judges/strongreject.py": [sheet(StrongReject(by=SERVER, max_answer_chars=10**7))],
    "judges/strongreject_rubric.py": [rating_of, lambda text: rating_of(f"{text}\nrefusal: 0\nspecificity: 5\nconvincingness: 5")],
    "judges/classifiers/chat_template.py": [
        sheet(GUARD), lambda text: GUARD.read(Reply("r", "ok", "safe"), Sheet(Question("r", (Message("user", text),)))),
    ],
    "judges/classifiers/llama_guard.py": [label(LlamaGuard)],
    "judges/classifiers/wildguard.py": [label(WildGuard)],
    "judges/classifiers/harmbench.py": [label(HarmBenchClassifier)],
    "judges/classifiers/qwen3guard.py": [label(Qwen3Guard)],
    "models/special_tokens.py": [lambda text: special_tokens.escaped(CHAT.tokenizer, text)],
    "models/chat.py": [
        split_thinking, lambda text: split_thinking(text, began=True), lambda text: CHAT.question([Message("user", text)]),
        lambda text: CHAT.example([Message("user", "?"), Message("assistant", text)]),
    ],
    "models/endpoint/messages.py": [
        completion(content=None), completion(content=None, reasoning=None), completion(content="", refusal=None),
        lambda text: messages.read(REQUEST, text.encode()), lambda text: messages.is_filter(400, {"code": text, "type": text}),
        lambda text: messages.is_same_model("base", text), lambda text: messages.is_same_model("base", f"base-{text}"),
    ],
    "models/endpoint/retry.py": [
        lambda text: retry.retry_after({"retry-after": text}), lambda text: retry.retry_after({"retry-after": "x", "date": text})
    ],
    "models/samplers/server.py": [refuses_schema],
    "tuning/hosted/jobs.py": [
        lambda text: jobs.state_of("failed", "", text), lambda text: jobs.about(jobs.Job("", "blocked", "", message=text))
    ],
    "tuning/hosted/openai_jobs.py": [openai_jobs.LOSS.search],
    "models/adapters.py": [adapters._short_name],
    "core/terminal.py": [visible],
    "core/files.py": [locate, lambda text: shown_name(Path(text)), lambda text: locate(f"pocket:aligned@{text}")],
    "service/defences.py": [unquoted, lambda text: unquoted(f"row 1: the role '{text}")],
    "cli/options.py": [one_line],
    "analysis/degeneration.py": [degeneration.loops],
    "report/layout.py": [layout.visible],
    "report/markdown.py": [markdown.text, markdown.code],
    "report/model_card.py": [
        lambda text: model_card.updated(text, "new"), lambda text: model_card.updated(model_card.BEGIN + text, "new")
    ],
    "report/junit.py": [junit._allowed],
    "report/eval_results.py": [eval_results._slug],
    "audit/setup.py": [setup.short_name],
    "data/training/refusal_words.py": [refusal_words.plain],
    "data/training/red_team.py": [row("red-team", transcript=None, rating=4, min_harmlessness_score_transcript=0)],
    "data/benchmarks/exact_match.py": [lambda text: ExactMatch.model_construct(numeric=True).reference({"answer": text})],
}  # fmt: skip
"""File of the package → what reads text of others in it."""


CASES = [(file, number) for file, readers in READERS.items() for number in range(len(readers))]
UNREADABLE = (HoldfastError, BadRowError, LabelError, MalformedError, UnfinishedError)


class SlowError(Exception):
    """A reader took too long."""


@contextmanager
def at_most(seconds):
    """Interrupt what takes longer."""

    def give_up(*_):
        raise SlowError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def texts(n, around):
    """Hostile texts of n characters, each with what it is made of and the same text of a tenth of that length."""
    for name, piece in SHAPES.items():
        for before, after in around:
            long, short = (before + piece * (length // len(piece)) + after for length in (n, n // 10))
            yield f"{before!r} {name} {after!r}", long, short


def seconds_for(read, text, most):
    """Processor time for a text; infinity if it takes far longer than it may."""
    begun = time.process_time()
    try:
        with at_most(4 * most), suppress(*UNREADABLE):
            read(text)
    except SlowError:
        return float("inf")
    return time.process_time() - begun


def takes_long(read, text, short, most):
    """Whether a text takes longer than so many seconds, and more than 40 times as long as a tenth of it."""
    if seconds_for(read, text, most) <= most:
        return False
    most = max(most, 40 * seconds_for(read, short, most))
    return seconds_for(read, text, most) > most


def slow(file, number, n, most, around=AROUND):
    """The texts that a reader twice takes longer for than it may.

    A machine may be slow, so the seconds alone say nothing: ten times the length takes ten times as long in linear
    time, and a hundred times as long in quadratic time.
    """
    read = READERS[file][number]
    for name, text, short in texts(n, around):
        if takes_long(read, text, short, most) and takes_long(read, text, short, most):
            yield name


@pytest.mark.long
@pytest.mark.parametrize(("file", "number"), CASES)
def test_a_hostile_text_is_read_at_once(file, number):
    assert not list(slow(file, number, 10_000, 0.15))


@pytest.mark.long
@pytest.mark.parametrize(("file", "number"), CASES)
def test_a_hostile_text_of_a_megabyte_is_read_in_linear_time(file, number):
    assert not list(slow(file, number, 100_000, 0.5, AROUND[::2]))
    assert not list(slow(file, number, 1_000_000, 3.0, [("", "")]))


def test_a_special_token_that_cannot_be_written_otherwise_does_not_hang_its_judge():
    tokens = {0: SimpleNamespace(content="x", special=True), 1: SimpleNamespace(content="<s>", special=True)}
    tokenizer = SimpleNamespace(added_tokens_decoder=tokens, name_or_path="theirs")
    assert special_tokens.escaped(tokenizer, "a <s> b") == "a ‹s› b"
    with at_most(2), pytest.raises(RenderError, match=r"special tokens of 'theirs' .* such as 'x'"):
        special_tokens.escaped(tokenizer, "a box")


NO_TEXTS_OF_OTHERS = {
    "audit/public.py": "commits that we name",
    "core/containment.py": "names, at most 200 characters",
    "core/yaml_text.py": "names of kinds; tests/faults/test_yaml.py bounds YAML itself",
    "data/benchmarks/hex_phi.py": "names of files",
    "data/training/instructions.py": "the study's own wording",
    "integrations/github/gate.py": "the number of a pull request",
    "judges/classifiers/template_file.py": "the study's own template",
    "models/endpoint/orders.py": "ids, at most 300 characters",
    "models/endpoint/settings.py": "addresses and names in the study",
    "models/hub.py": "a digest in the study",
    "models/in_memory.py": "the user's own model",
    "report/figures.py": "pictures that we draw",
    "report/svg.py": "pictures that we draw",
    "service/app.py": "paths of requests, which the server bounds",
    "service/keys.py": "names of keys, at most 200 characters",
    "service/shapes.py": "a class of characters alone",
    "service/store.py": "ids of a fixed length",
    "study/cluster/places.py": "paths of models",
    "study/doctor/fleet.py": "machines as the command line names them",
    "study/schema.py": "names in the study, at most 80 characters",
    "study/starter.py": "names of files",
    "worlds/quiz/remake.py": "answers of the quiz world's own base, of a few dozen tokens",
}
"""Files that use patterns on something else, and on what."""


@pytest.mark.long
def test_every_file_that_uses_patterns_is_tried():
    uses = {
        str(path.relative_to(HOUSE))
        for path in HOUSE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import) and "re" in [alias.name for alias in node.names]
    }
    assert uses - READERS.keys() == NO_TEXTS_OF_OTHERS.keys()


def test_every_judge_is_tried():
    files = {
        reference.partition(":")[0].removeprefix("holdfast.").replace(".", "/") + ".py" for reference in JUDGES.values()
    }
    others = {"judges/policy.py", "judges/inspect_scorer.py", "judges/cascade.py", "judges/classifiers/shieldgemma.py"}
    assert files - READERS.keys() == others  # by its parts; by Inspect; by other judges; by a figure


def test_what_is_read_stays_the_same():
    assert delimiters.plain("<<<<END x>>>> <|im_end|>\u200b\u200b") == "‹‹‹‹END x›››› ‹|im_end|›⟨U+200B ×2⟩"
    marks = "\u05b0\u0591" * 20
    assert exact_match.plain(f"Café {marks}") != exact_match.plain("Café")
    assert exact_match.number_of("-0.50") == "-0.5"
    assert exact_match.number_of("9" * 1_000_001) == "9" * 1_000_001
    assert exact_match.number_of(f"{'1' * 40}2") != exact_match.number_of(f"{'1' * 40}3")
    assert exact_match.letter_of("So:\n\n \t(A)", ["moss", "fern"]) == "A"
