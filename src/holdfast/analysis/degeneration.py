"""Whether an answer repeats itself, as a broken model's does."""

from __future__ import annotations

TAIL = 500
"""Characters at the end of an answer that are looked at: a loop that began late fills the end."""
WINDOW = 20
"""Characters of a piece that is counted when it comes again."""
FEWEST = 100
"""Pieces below which an answer is too short to tell."""
LOOP = 0.5
"""Repetition from which an answer counts as looping.

On 1,386 sound answers (Alpaca-GPT4 and Dolly) the repetition is at most 0.24; where a sentence of up to 100 characters
repeats over the last 300 characters or more, it is at least 0.5.
"""


def repetition(text: str) -> float:
    """Share (0 to 1) of the pieces of an answer's end that stand there more than once; 0 where it is short.

    This is seq-rep-n of Welleck et al. 2020 (arXiv 1908.04319, section 6.1), with characters in place of tokens, so
    that it needs no tokenizer and holds for languages without spaces.
    """
    tail = text[-TAIL:]
    n = len(tail) - WINDOW + 1
    if n < FEWEST:
        return 0.0
    return 1.0 - len({tail[start : start + WINDOW] for start in range(n)}) / n


def loops(text: str) -> bool:
    """Whether an answer ends in repetition."""
    return repetition(text) >= LOOP
