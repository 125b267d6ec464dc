"""Answers → verdicts, one file for each judge."""

JUDGES = {
    "oracle": "holdfast.judge.oracle:Oracle",
    "keyword": "holdfast.judge.keyword:Keyword",
    "policy": "holdfast.judge.policy:Policy",
    "match": "holdfast.judge.match:Match",
    "inspect": "holdfast.judge.inspect_task:InspectScorer",
}
"""Judges by name."""
