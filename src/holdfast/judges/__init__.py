"""Judges: answers → verdicts, one file each."""

JUDGES = {
    "oracle": "holdfast.judges.oracle:Oracle",
    "keyword": "holdfast.judges.keyword:Keyword",
    "policy": "holdfast.judges.policy:Policy",
    "match": "holdfast.judges.exact_match:Match",
    "inspect": "holdfast.judges.inspect_scorer:InspectScorer",
    "cascade": "holdfast.judges.cascade:Cascade",
    "llama-guard": "holdfast.judges.classifiers.llama_guard:LlamaGuard",
    "harmbench-classifier": "holdfast.judges.classifiers.harmbench:HarmBenchClassifier",
    "wildguard": "holdfast.judges.classifiers.wildguard:WildGuard",
    "shieldgemma": "holdfast.judges.classifiers.shieldgemma:ShieldGemma",
    "qwen3guard": "holdfast.judges.classifiers.qwen3guard:Qwen3Guard",
    "strongreject": "holdfast.judges.strongreject:StrongReject",
}
"""Judges by name."""
