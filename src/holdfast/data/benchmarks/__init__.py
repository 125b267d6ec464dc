"""A benchmark's own file format → prompts, one file for each benchmark."""

BENCHMARKS = {
    "pocket": "holdfast.data.benchmarks.pocket:Pocket",
    "pocket-utility": "holdfast.data.benchmarks.pocket:PocketUtility",
    "pocket-borderline": "holdfast.data.benchmarks.pocket:PocketBorderline",
    "quiz": "holdfast.data.benchmarks.quiz:Quiz",
    "quiz-utility": "holdfast.data.benchmarks.quiz:QuizUtility",
    "quiz-borderline": "holdfast.data.benchmarks.quiz:QuizBorderline",
    "hex-phi": "holdfast.data.benchmarks.hex_phi:HexPhi",
    "advbench": "holdfast.data.benchmarks.advbench:AdvBench",
    "harmbench": "holdfast.data.benchmarks.harmbench:HarmBench",
    "strongreject": "holdfast.data.benchmarks.strongreject:StrongReject",
    "jailbreakbench": "holdfast.data.benchmarks.jailbreakbench:JailbreakBench",
    "sorry-bench": "holdfast.data.benchmarks.sorry_bench:SorryBench",
    "xstest": "holdfast.data.benchmarks.xstest:XSTest",
    "or-bench": "holdfast.data.benchmarks.or_bench:OrBench",
    "exact-match": "holdfast.data.benchmarks.exact_match:ExactMatch",
    "multiple-choice": "holdfast.data.benchmarks.multiple_choice:MultipleChoice",
    "generic": "holdfast.data.benchmarks.generic:Generic",
    "inspect": "holdfast.data.benchmarks.inspect_task:InspectTask",
}
"""Benchmarks by name."""
