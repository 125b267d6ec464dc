"""Answers → verdicts, one file for each judge."""

JUDGES = {
    "oracle": "holdfast.judge.oracle:Oracle",
    "keyword": "holdfast.judge.keyword:Keyword",
    "policy": "holdfast.judge.policy:Policy",
    "match": "holdfast.judge.match:Match",
    "inspect": "holdfast.judge.inspect_task:InspectScorer",
    "cascade": "holdfast.judge.cascade:Cascade",
    "llama-guard": "holdfast.judge.guards.llama_guard:LlamaGuard",
    "harmbench-classifier": "holdfast.judge.guards.harmbench:HarmBenchClassifier",
    "wildguard": "holdfast.judge.guards.wildguard:WildGuard",
    "shieldgemma": "holdfast.judge.guards.shieldgemma:ShieldGemma",
    "qwen3guard": "holdfast.judge.guards.qwen3guard:Qwen3Guard",
    "strongreject": "holdfast.judge.strongreject:StrongReject",
}
"""Judges by name."""
