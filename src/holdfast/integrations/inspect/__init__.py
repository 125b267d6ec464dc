"""Inspect (UK AISI): our benchmarks and judges as its tasks and scorers, and our runs as its logs."""
