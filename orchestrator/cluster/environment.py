"""The environment that Ray reads when it is imported. This module must not import Ray."""

from __future__ import annotations

import os

QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a trial without a GPU keeps what the user made visible
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the launch at once: finished work is in the store
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def prepare(address: str | None) -> None:
    """Sets what the user has not set. A cluster of this process' own needs no token: it listens on 127.0.0.1 alone."""
    for key, value in QUIET.items():
        os.environ.setdefault(key, value)
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    else:
        os.environ.setdefault(
            "RAY_NUM_REDIS_GET_RETRIES", "1"
        )  # a cluster that is gone is noticed in a minute, not in 14
