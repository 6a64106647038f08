"""Runs the trials of a search with Ray Tune, on this machine or on a Ray cluster."""

import os

# Ray reads these when it is imported: no telemetry, no loggers, no experiment state that rtune does not use.
_OURS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # When memory runs out, Ray's monitor would end the whole Ray Tune run; the kernel kills only the worker.
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
# Settings of Ray that the user has made.
SETTINGS = [n for n, v in sorted(os.environ.items()) if n.startswith("RAY_") and v != _OURS.get(n)]
for _name, _value in _OURS.items():
    os.environ.setdefault(_name, _value)
