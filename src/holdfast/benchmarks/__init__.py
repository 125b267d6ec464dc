"""A benchmark's own file format → prompts, one file for each benchmark."""

BENCHMARKS = {
    "pocket": "holdfast.benchmarks.pocket:Pocket",
    "pocket-utility": "holdfast.benchmarks.pocket:PocketUtility",
    "pocket-borderline": "holdfast.benchmarks.pocket:PocketBorderline",
    "hex-phi": "holdfast.benchmarks.hex_phi:HexPhi",
    "advbench": "holdfast.benchmarks.advbench:AdvBench",
    "harmbench": "holdfast.benchmarks.harmbench:HarmBench",
    "strongreject": "holdfast.benchmarks.strongreject:StrongReject",
    "jailbreakbench": "holdfast.benchmarks.jailbreakbench:JailbreakBench",
    "sorry-bench": "holdfast.benchmarks.sorry_bench:SorryBench",
    "xstest": "holdfast.benchmarks.xstest:XSTest",
    "or-bench": "holdfast.benchmarks.or_bench:OrBench",
    "exact-match": "holdfast.benchmarks.exact_match:ExactMatch",
    "multiple-choice": "holdfast.benchmarks.multiple_choice:MultipleChoice",
    "generic": "holdfast.benchmarks.generic:Generic",
    "inspect": "holdfast.benchmarks.inspect_task:InspectTask",
}
"""Benchmarks by name."""
