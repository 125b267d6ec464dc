"""Measure how much of an aligned language model's safety is lost when it is fine-tuned."""

__version__ = "0.1.0"
