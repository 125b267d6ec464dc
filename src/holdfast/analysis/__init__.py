"""Verdicts → estimates, comparisons, agreement and calibration: pure functions; each formula cites its source."""
