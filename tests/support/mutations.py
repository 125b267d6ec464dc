"""Mutations of files by seed, and how a parser is attacked with them."""

import contextlib
import gzip
import json
import random
import re
import resource
import signal
import time
import traceback
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from holdfast.core.errors import HoldfastError

SECONDS = 2.0
"""A parser that takes longer hangs."""

MEMORY = 1_000_000_000
"""Bytes that a parser may take beside what the process has already."""

VALUES = (
    None, True, False, 0, -1, 1, 5, 6, 99, 2**32, 2**63, 10**30, 10**400, 0.5, 1e308, float("inf"), float("nan"), "", " ", "5",
    "\ud83d", "\0", "\x1b[2J", "../../secret", "/etc/passwd", "~nobody/x", "a" * 300, "a/" * 3000, "x" * 100_000, "𝟓", "５",
    "caf\u00e9", [], {}, [[]], {"": None}, [1, 2], {"kind": []}, ["a", {"b": 2}], "null", "NaN", "1e400", "[", "{", "bold[/x]",
)  # fmt: skip
"""What is put in place of a value."""

TOKENS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\r", b"\n\n", b"\t", b"\\ud800", b"{", b"}", b"[", b"]", b'"',
    b"'", b",", b":", b": ", b"- ", b"? ", b"!!int ", b"!!binary ", b"!x ", b"&a ", b"*a ", b"<<: *a", b"2024-02-31", b"0b_",
    b"1:30", b"1e999", b"9" * 5000, b"[" * 3000, b"{" * 200, b"{a: " * 200, b"NaN", b"-Infinity", b"%YAML 9\n", b"---\n", b"...\n",
    b"```", b"SCORE-", b"<" * 2000, b"\n" * 2000, b"PAR1", b"PK\x03\x04", b"\x1f\x8b", b"|\n  ", b">\n", b"#", b"~", b"\x85", b"\xe2\x80\xa8",
)  # fmt: skip
"""What is put between bytes."""


def mutated(chance, files):
    """One of some files (bytes), changed in one to three ways; some as text or bytes, some by their JSON values."""
    content = chance.choice(files)
    for _ in range(chance.choice((1, 1, 2, 3))):
        change = chance.choice((_values, _values, _values, _token, _token, _bytes, _slice, _spliced, _encoded))
        content = change(chance, content, files)
    return content


def _values(chance, content, files):
    """Another value, key or shape somewhere in a JSON, JSON Lines, YAML or CSV file."""
    lines = content.split(b"\n")
    number = chance.randrange(len(lines))
    for text, read in ((content, json.loads), (lines[number], json.loads), (content[:20_000], yaml.safe_load)):
        try:
            tree = read(text)
            new = json.dumps(_changed(chance, tree)).encode() if isinstance(tree, dict | list) else None
        except (ValueError, LookupError, RecursionError, TypeError, yaml.YAMLError):
            continue
        if new is not None:
            return new if text is not lines[number] else b"\n".join([*lines[:number], new, *lines[number + 1 :]])
    fields = content.split(chance.choice((b",", b"\t", b"\n", b": ")))
    fields[chance.randrange(len(fields))] = str(chance.choice(VALUES)).encode("utf-8", "surrogatepass")
    return b",".join(fields)


def _changed(chance, tree):
    """A tree with one of its values or keys changed, each as likely as any other."""
    tree = deepcopy(tree)
    inside, key = chance.choice(list(_places(tree)) or [([tree], 0)])
    how = chance.random()
    if how < 0.08:
        del inside[key]
    elif how < 0.15 and isinstance(inside, dict):
        inside[str(chance.choice(VALUES))[:50]] = inside.pop(key)
    elif how < 0.15:
        inside.append(inside[key])
    elif how < 0.22:
        for _ in range(chance.choice((1, 3, 60, 500))):
            inside[key] = [inside[key]] if chance.random() < 0.5 else {"a": inside[key]}
    elif how < 0.3:
        inside[key] = str(inside[key])
    else:
        inside[key] = chance.choice(VALUES)
    return tree


def _places(tree):
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _token(chance, content, _):
    place = chance.randrange(len(content) + 1)
    return content[:place] + chance.choice(TOKENS) + content[place + chance.choice((0, 0, 1, 7)) :]


def _bytes(chance, content, _):
    changed = bytearray(content)
    for _ in range(chance.choice((1, 2, 20)) if content else 0):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _slice(chance, content, _):
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    return chance.choice((content[:start], content[:start] + content[end:], content[:end] + content[start:]))


def _spliced(chance, content, files):
    other = chance.choice(files)
    return content[: chance.randrange(len(content) + 1)] + other[chance.randrange(len(other) + 1) :]


def _encoded(chance, content, _):
    how = chance.choice(("latin-1", "utf-16", "utf-8-sig", "gzip", "cut gzip", "damaged gzip"))
    if "gzip" not in how:
        return content.decode("utf-8", "replace").encode(how, "replace")
    packed = gzip.compress(content)
    return {"gzip": packed, "cut gzip": packed[:-5]}.get(how) or _bytes(chance, packed, _)


@dataclass
class Report:
    """What an attack found."""

    name: str
    outcomes: Counter = field(default_factory=Counter)
    """`read`, `refused`, or what went wrong → how often."""
    faults: dict[str, bytes] = field(default_factory=dict)
    """What went wrong → the first content that showed it."""
    slowest: float = 0.0
    largest: int = 0
    """Bytes of memory that a file took at most, beside what the process had already."""

    def n_faults(self):
        """Files with which something went wrong."""
        return sum(n for name, n in self.outcomes.items() if name not in ("read", "refused"))

    def line(self):
        """A row of the table."""
        faults = {name: n for name, n in self.outcomes.items() if name not in ("read", "refused")}
        n = self.outcomes.total()
        return (
            f"{self.name:32} {n:6,} {self.outcomes['read']:6,} {self.outcomes['refused']:7,} {self.n_faults():6,} "
            f"{self.slowest:8.2f} {self.largest / 1e6:8.0f}  {'; '.join(f'{count} × {name}' for name, count in faults.items())}"
        )


HEADER = f"{'parser':32} {'files':>6} {'read':>6} {'refused':>7} {'faults':>6} {'slowest':>8} {'MB':>8}"


class HangError(BaseException):
    """A parser took too long. It is no `Exception`, so that no parser can take it for a fault of the file."""


@contextlib.contextmanager
def bounded():
    """Interrupt what takes too long, and refuse memory above the bound."""

    def give_up(*_):
        raise HangError

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, give_up)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGALRM, handler)


def attack(name, files, parse, n, seed=0):
    """Give a parser (bytes → anything) so many mutated files; each is read or refused with a HoldfastError.

    What takes more than `SECONDS` or asks for more than `MEMORY` is a fault, also where the parser refuses it then.
    """
    report = Report(name)
    for number in range(n):
        content = mutated(random.Random(f"{name}-{seed}-{number}"), files)
        before, start = _forget_peak(), time.monotonic()
        outcome = _outcome(parse, content)
        seconds, taken = time.monotonic() - start, _peak() - before
        if seconds > SECONDS:
            outcome = "too slow"
        report.slowest, report.largest = max(report.slowest, seconds), max(report.largest, taken)
        report.outcomes[outcome] += 1
        if outcome not in ("read", "refused"):
            report.faults.setdefault(outcome, content)
    return report


def _forget_peak():
    """Have the kernel count the process's largest memory anew, from what it has now; returns that."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak():
    """Bytes of memory that the process had at most."""
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024


def _outcome(parse, content):
    try:
        with bounded():
            parse(content)
    except HangError:
        return "too slow"
    except MemoryError:
        return "too large"
    except HoldfastError as error:
        str(error).encode()  # what is printed must be text
        if any(isinstance(each, MemoryError) for each in _chain(error)):
            return "too large"
        return "refused" if len(str(error)) < 20_000 else "endless message"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = next((frame for frame in reversed(frames) if "/holdfast/" in frame.filename), frames[-1])
        return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
    return "read"


def _chain(error):
    """An exception and those in whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
