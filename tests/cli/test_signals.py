"""A signal that comes while a library's compiled code is on the stack: it is neither lost nor raised into that code."""

import subprocess
import sys

import pytest

CODES = {"SIGINT": 130, "SIGTERM": 143}

START = """
import signal, sys, time
from holdfast.cli.errors import user_errors
from holdfast.cli.signals import end_now, stop_on_signals, was_stopped
from holdfast.core import stopping
number = signal.{name}
stop_on_signals()
def come(*_):
    signal.raise_signal(number)
    for _ in range(100): pass
    print("went on", flush=True)
    return True
"""

IN_PYDANTIC = """
from typing import Annotated
from pydantic import AfterValidator, TypeAdapter
def call():
    TypeAdapter(Annotated[int, AfterValidator(lambda value: come())]).validate_python(1)
"""

IN_TOKENIZERS = """
from tokenizers import NormalizedString, Tokenizer, models, normalizers
class Custom:
    def normalize(self, normalized): come()
tokenizer = Tokenizer(models.WordLevel({"a": 0}, "a"))
tokenizer.normalizer = normalizers.Normalizer.custom(Custom())
def call():
    tokenizer.encode("a")
"""

WHERE_ERRORS_ARE_LOST = """
class Dying:
    def __del__(self): come()
def call():
    Dying()
"""

IN_AN_IMPORT = """
import sys, types
class Finder:
    def find_spec(self, name, *_):
        if name == "lost":
            come()
sys.meta_path.insert(0, Finder())
def call():
    try:
        import lost
    except BaseException:  # as some libraries do
        pass
"""

AT_ONCE = """
call()
print("not stopped", flush=True)
"""

AT_A_SAFE_POINT = """
from typer import Exit
try:
    with user_errors(), stopping.safe_points():
        call()
        print("left", flush=True)
        stopping.check()
        print("not stopped", flush=True)
except Exit:
    end_now()
"""

NO_SAFE_POINT = """
with user_errors(), stopping.safe_points():
    call()
    time.sleep(60)
"""

BEFORE_REPLIES = """
from typer import Exit
try:
    with user_errors(), stopping.safe_points():
        call()
        with stopping.hold():
            print("asked", flush=True)
except Exit:
    end_now()
"""

PLACES = {
    "pydantic": IN_PYDANTIC, "tokenizers": IN_TOKENIZERS, "a finaliser": WHERE_ERRORS_ARE_LOST, "an import": IN_AN_IMPORT
}  # fmt: skip


def ended(name, *parts):
    """How a process ends that is stopped while it runs some code: its exit code, and what it wrote."""
    code = START.replace("{name}", name) + "".join(parts)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert "Traceback" not in done.stderr and "ignored" not in done.stderr and "Rust" not in done.stderr, done.stderr
    assert done.stderr.endswith("the same command goes on from there.\n")
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("place", PLACES)
def test_before_any_work_a_signal_ends_the_process(name, place):
    assert ended(name, PLACES[place], AT_ONCE) == (CODES[name], "")


@pytest.mark.parametrize("place", PLACES)
def test_at_work_a_signal_acts_at_the_next_safe_point(place):
    assert ended("SIGTERM", PLACES[place], AT_A_SAFE_POINT) == (143, "went on\nleft\n")


@pytest.mark.long
def test_work_that_comes_to_no_safe_point_is_ended():
    assert ended("SIGTERM", IN_PYDANTIC, NO_SAFE_POINT) == (143, "went on\n")


def test_nothing_that_costs_is_begun_after_a_signal():
    assert ended("SIGTERM", IN_PYDANTIC, BEFORE_REPLIES) == (143, "went on\n")
