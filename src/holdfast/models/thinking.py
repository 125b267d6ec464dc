"""What a reasoning model thinks before it replies, told apart from its reply."""

from __future__ import annotations

from dataclasses import dataclass

THINKING = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
"""The marks at the beginning and the end of what a reasoning model thinks before it replies."""

PROMPT_END = 16
"""Tokens at the end of a prompt that are read to see whether it opens the thinking."""


@dataclass(frozen=True)
class Completion:
    """The text that a model generated, with its thinking kept apart."""

    thinking: str
    """The text between the marks of thinking; "" if there is none."""
    text: str
    """The reply: everything outside the marks."""
    finished_thinking: bool
    """False where thinking began and never ended, so that there is no reply."""


def split_thinking(text: str, began: bool = False) -> Completion:
    """A generated text as thinking and reply. `began` says that the prompt itself opened the thinking."""
    for begin, end in THINKING:
        before, begin_mark, after = text.partition(begin)
        opens_with_thinking = bool(begin_mark) and not before.strip()
        if not opens_with_thinking and not (began and end in text):
            continue
        thinking, end_mark, reply = (after if opens_with_thinking else text).partition(end)
        return Completion(thinking.strip(), reply.strip() if end_mark else "", bool(end_mark))
    return Completion(text.strip(), "", False) if began else Completion("", text.strip(), True)


def opens_thinking(prompt: str) -> bool:
    """Whether a prompt ends inside thinking, so that the completion begins there."""
    return prompt.rstrip().endswith(tuple(begin for begin, _ in THINKING))
