"""Training rows → checkpoints, one file for each place where tuning can happen."""

TUNERS = {
    "local": "holdfast.tune.local:LocalTuner",
    "hosted": "holdfast.tune.hosted:HostedTuner",
}
"""Tuning back ends by name."""
