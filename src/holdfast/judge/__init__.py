"""Answers → verdicts, one file for each judge."""

JUDGES = {
    "oracle": "holdfast.judge.oracle:Oracle",
    "keyword": "holdfast.judge.keyword:Keyword",
    "match": "holdfast.judge.match:Match",
    "inspect": "holdfast.judge.inspect_task:InspectScorer",
    "cascade": "holdfast.judge.cascade:Cascade",
}
"""Judges by name."""
