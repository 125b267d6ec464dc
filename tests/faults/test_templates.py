"""A chat template that came with a model cannot hold a run, fill the memory or the disk."""

import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from transformers import AutoTokenizer

from holdfast.core.errors import RenderError
from holdfast.core.files import locate
from holdfast.core.types import Message
from holdfast.models import templates
from holdfast.models.chat import Chat

BOMBS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "long": "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
    "doubling": "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "doubled list": "{% set ns = namespace(x=['x']) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "one step": "{{ (10 ** (10 ** 9)) % 7 }}",
    "equal lists": "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
                   "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    "padding": "{{ 'x'.ljust(10 ** 11) }}", "format": "{{ '%99999999999d' % 1 }}",
    "join": "{{ ((range(99999) | list) * 9999) | join('x') }}",
    "recursion": "{% macro m(x) %}{{ m(x) }}{{ m(x) }}{% endmacro %}{{ m(1) }}",
    "sometimes": "{% if 'moss' in messages[0].content %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}"
                 "{% endfor %}{% endif %}",
}  # fmt: skip
QUESTION = [Message("user", "What is moss?")]


def chat_with(template):
    tokenizer = AutoTokenizer.from_pretrained(locate("pocket:aligned"))
    tokenizer.chat_template, tokenizer.name_or_path = template, "theirs"
    return Chat(tokenizer)


SLOW = ("loops", "doubled list", "equal lists", "padding", "long")
"""Each waits for a process to start again."""


@pytest.mark.parametrize("bomb", [pytest.param(bomb, marks=[pytest.mark.long] * (bomb in SLOW)) for bomb in BOMBS])
def test_a_template_that_goes_over_a_limit_is_named(bomb, monkeypatch):
    monkeypatch.setattr(templates, "SECONDS", 0.3)
    chat = chat_with(BOMBS[bomb])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    with pytest.raises(RenderError) as caught:
        chat.question(QUESTION)
    assert time.monotonic() - begun < 30
    again = time.monotonic()
    with pytest.raises(RenderError):
        chat.question(QUESTION)
    if "'theirs' " in str(caught.value):
        assert "as no sound template does" in str(caught.value) and time.monotonic() - again < 0.5
    else:
        assert "refuses a conversation" in str(caught.value)  # Jinja itself, or Python, refuses it
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000


@pytest.mark.long
def test_other_templates_are_rendered_after_it(monkeypatch):
    monkeypatch.setattr(templates, "SECONDS", 0.3)
    with pytest.raises(RenderError, match="takes more than"):
        chat_with(BOMBS["loops"]).question(QUESTION)
    assert chat_with("{% for m in messages %}{{ m.content }}{% endfor %}")._render(QUESTION, True) == "What is moss?"


@pytest.mark.long
def test_what_is_rendered_is_what_the_tokenizer_renders():
    chat = chat_with(
        "{{ bos_token }}{{ date_string }}{% for m in messages %}<{{ m['role'] }}>{{ m.content | tojson }}"
        "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}{{ enable_thinking }}"
    )
    messages = [Message("user", "é \u2028 \U0001f600 \"' </s>"), Message("assistant", "\n b \n"), Message("user", "?")]
    plain = [{"role": turn.role, "content": turn.content} for turn in messages]
    for prompt in (True, False):
        here = templates._here(chat.tokenizer, plain, prompt, {"enable_thinking": False})
        assert chat._render(messages, prompt) == here


def test_templates_that_write_the_date_are_the_same_on_every_day():
    chat = chat_with("{{ strftime_now('%d %b %Y') }}, {{ date_string }}: {{ messages[0].content }}")
    assert chat._render(QUESTION, True) == "26 Jul 2024, 26 Jul 2024: What is moss?"


def test_a_template_that_raises_is_quoted():
    with pytest.raises(RenderError, match=r"refuses a conversation of \[user\]: no such role"):
        chat_with("{{ raise_exception('no such role') }}").question(QUESTION)


@pytest.mark.long
def test_its_process_ends_with_the_one_that_asks():
    start = "import os, sys; sys.path.append('tests'); from faults.test_templates import *\n"
    script = f"{start}print(chat_with('x')._render(QUESTION, True), templates._RENDERER._process.pid); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    text, pid = done.stdout.split()
    assert text == "x"
    for _ in range(100):
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("the process is still there")
