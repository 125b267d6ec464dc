"""Answers → verdicts, one file for each judge."""

JUDGES = {
    "oracle": "holdfast.judge.oracle:Oracle",
    "keyword": "holdfast.judge.keyword:Keyword",
    "match": "holdfast.judge.match:Match",
}
"""Judges by name."""
