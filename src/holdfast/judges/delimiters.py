"""Delimiters around the text that a judge reads, so that the text cannot pass for the judge's instructions.

The text stands between two lines with a secret code, nothing in it is invisible, and each of its lines is marked, as
in "datamarking" (Hines et al. 2024, arXiv 2403.14720).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from contextlib import suppress
from functools import cache
from typing import Literal

from holdfast.core.files import cache as cache_folder
from holdfast.models.special_tokens import disarmed

MARGIN = "| "
"""The beginning of each line of delimited text."""

_LT, _GT, _BAR = "<＜﹤", ">＞﹥", "|｜∣│"

MARKS = re.compile(
    rf"""(?<![{_LT}])[{_LT}]{{3,}}+[^\n]{{0,80}}?[{_GT}]{{3,}}     # what looks like a delimiter
    | [{_LT}][{_BAR}][^\s{_LT}{_GT}{_BAR}]{{1,40}}[{_BAR}][{_GT}]  # <|im_end|>
    | [{_LT}]{{1,2}}/?(?:s|bos|eos|pad|unk|sys|start_of_turn|end_of_turn|think|thinking|tool_call|tool_response
        |system|user|assistant|human|model|instructions?|request|answer|policy|verdict)[{_GT}]{{1,2}}
    | (?-i:[\[［]/?(?:INST|THINK|SYSTEM_PROMPT|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)[\]］])""",
    re.IGNORECASE | re.VERBOSE,
)
"""Marks with which chat formats, and prompts, show who speaks. Long runs of brackets take linear time."""

UNUSUAL = re.compile(r"([^ -~\n\t])\1*")
"""A run of one character that may be invisible."""

FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2028\u2029\u3164\uffa0")
"""Invisible characters that Unicode does not count among its control characters."""


def nonce(*content: str) -> str:
    """A code of 12 hex digits that follows from the content and from a secret of this user.

    The author of an answer cannot know the code. The same question has the same code each time, so that a judge at
    temperature 0 gives the same reply.
    """
    text = "\0".join(content)
    for salt in range(1000):
        salted = f"{salt}\0{text}".encode(errors="surrogatepass")
        code = hmac.new(_secret(), salted, hashlib.sha256).hexdigest()[:12]
        if code not in text.lower():
            return code
    raise AssertionError("the text holds every one of a thousand secret codes, which cannot be by chance")


@cache
def _secret() -> bytes:
    """Random bytes, drawn once for each user; where they cannot be kept in a file, once for each process."""
    folder = cache_folder()
    path, draft = folder / "judge-secret", folder / f".judge-secret.{secrets.token_hex(4)}"
    new_secret = secrets.token_bytes(32)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(new_secret)
        with suppress(FileExistsError):
            path.hardlink_to(draft)
        draft.unlink()
        secret = path.read_bytes()
    except OSError:
        return new_secret
    return secret if len(secret) == 32 else new_secret


def delimited(name: str, text: str, code: str) -> str:
    """A text between two lines with the code, with nothing hidden in it and a mark before each of its lines."""
    lines = "\n".join(MARGIN + line for line in plain(text).split("\n"))
    return f"<<<{name} {code}>>>\n{lines}\n<<<END {name} {code}>>>"


def plain(text: str) -> str:
    """A text in which invisible characters, and marks of chat formats, are shown in another form.

    `⟨U+200B⟩` stands for a zero-width space, `⟨U+200B ×40⟩` for forty, `‹|im_end|›` for `<|im_end|>`. Everything else
    stays as it is, joiners inside words of other scripts and inside emoji included.
    """
    visible = UNUSUAL.sub(_visible, text.replace("\r\n", "\n"))
    return MARKS.sub(lambda mark: disarmed(mark[0]), visible)


def _visible(run: re.Match[str]) -> str:
    """A run of one unusual character, in a form that can be seen."""
    char, n = run[1], len(run[0])
    before = run.string[run.start() - 1] if run.start() else ""
    if not _hides(char, n, before, run.string[run.end() : run.end() + 1]):
        return run[0]
    return f"⟨U+{ord(char):04X} ×{n}⟩" if n > 1 else f"⟨U+{ord(char):04X}⟩"


def _hides(char: str, n: int, before: str, after: str) -> bool:
    """Whether a run of n equal characters is invisible, and stands where ordinary writing does not need it."""
    if char in "\u200c\u200d":  # joiners, in Persian or Hindi words and in emoji
        return n > 1 or not (before > "\x7f" and after > "\x7f")
    if "\ufe00" <= char <= "\ufe0f":  # the form of an emoji
        return n > 1 or char < "\ufe0e" or not (before > "\x7f" or before in "#*0123456789")
    if "\u0600" <= char <= "\u08ff":  # signs of Arabic and Syriac, which are visible
        return char == "\u061c"
    return char in FILLERS or "\U000e0100" <= char <= "\U000e01ef" or unicodedata.category(char) in ("Cc", "Cf", "Cs")


def cut(text: str, most: int, where: Literal["middle", "end"], code: str) -> tuple[str, int]:
    """At most `most` characters of a text, with a line where some are left out, and the number of those."""
    left_out = len(text) - most
    if left_out <= 0:
        return text, 0
    head = most if where == "end" else most - most // 2
    tail = text[len(text) - (most - head) :]
    return f"{text[:head]}\n(CUT {code}: {left_out} characters left out)\n{tail}".rstrip("\n"), left_out
