"""A provider's fine-tuning jobs: rows go up, a name of a model comes back. One file for each provider's API."""

from holdfast.tuning.hosted.tuner import HostedTuner

__all__ = ["HostedTuner"]
