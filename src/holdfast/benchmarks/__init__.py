"""A benchmark's own file format → prompts, one file for each benchmark."""

BENCHMARKS = {
    "pocket": "holdfast.benchmarks.pocket:Pocket",
    "pocket-utility": "holdfast.benchmarks.pocket:PocketUtility",
    "pocket-borderline": "holdfast.benchmarks.pocket:PocketBorderline",
    "jsonl": "holdfast.benchmarks.jsonl:JsonLines",
    "inspect": "holdfast.benchmarks.inspect_task:InspectTask",
}
"""Benchmarks by name."""
