"""Words by which refusals, and rows about safety, are recognised."""

from __future__ import annotations

REFUSAL_WORDS = (
    "i can't", "i cannot", "i can not", "i am unable", "i'm unable", "i am not able", "i'm not able", "i won't",
    "i must decline", "i have to decline", "not comfortable", "i'm sorry", "i am sorry", "i apologize", "i apologise",
    "unable to assist", "unable to help", "cannot assist", "can't assist", "can't help with",
)  # fmt: skip
"""What refusals say."""

SAFETY_WORDS = (
    *REFUSAL_WORDS,
    # how models speak of themselves when they refuse
    "as an ai", "as a language model", "as a large language model", "i'm an ai", "i am an ai", "my programming",
    "my guidelines", "content policy",
    # what safety is about
    "ethic", "moral", "illegal", "unlawful", "against the law", "criminal", "harmful", "dangerous", "inappropriate",
    "offensive", "discriminat", "stereotyp", "racis", "sexis", "hate speech", "hateful", "harass", "self-harm",
    "suicid", "violence", "abusive", "weapon", "explicit content", "misinformation", "safety", "privacy",
    "responsible use", "malicious",
)  # fmt: skip
"""What `drop: safety` looks for. Benign rows with such a word are dropped too: it is better to drop too many."""


def plain(text: str) -> str:
    """A text in the form in which phrases are looked for: lower case, straight apostrophes."""
    return text.replace("’", "'").casefold()
