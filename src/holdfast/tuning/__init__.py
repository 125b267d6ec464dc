"""Training rows → checkpoints, one file for each place where tuning can happen."""

TUNERS = {
    "local": "holdfast.tuning.local:LocalTuner",
    "hosted": "holdfast.tuning.hosted:HostedTuner",
}
"""Tuning back ends by name."""
