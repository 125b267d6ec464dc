"""Inspect (UK AISI) at the edge: our benchmarks and judges as its tasks and scorers, our runs as its logs."""
