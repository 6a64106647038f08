"""`benchmarks.scaling` drives a whole search, and counts what it left on the disk."""

import pytest

from benchmarks import scaling


def test_simulated_trials_run_to_the_end_of_the_search() -> None:
    found = scaling.drive(trials=40, concurrent=10, stations=[12, 40], repeats=2, samplers=["random", "tpe"])
    costs = found["costs"]
    assert costs["report"]["count"] == costs["progress"]["count"] == found["epochs"]
    assert 40 * 2 < found["epochs"] < 40 * 8  # past the first rung, and short of all
    # A record for each trial, epoch and promotion, and one for the launch, which is not timed.
    promotions = costs["log"]["count"] - 40 - found["epochs"]
    assert 0 < promotions < 40
    assert found["log_bytes_per_epoch"] > 200
    assert found["log_bytes"] == pytest.approx(found["log_bytes_per_epoch"] * found["epochs"], rel=0.01)
    assert found["study_bytes"] > 0
    assert set(found["suggestions"]) == {"12", "40"}
    for begun, at in found["suggestions"].items():
        assert sum(n for state, n in at["status"].items()) == int(begun)
        assert len(at["random"]) == len(at["tpe"]) == 2
