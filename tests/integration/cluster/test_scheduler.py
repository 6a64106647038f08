"""The scheduler for any Ray Tune experiment on a real cluster."""

from pathlib import Path
from typing import Any

import pytest

from rtune.cluster.scheduler import ParetoASHAScheduler


def curve(config: dict[str, Any]) -> None:
    """Two figures that tell a trial's quality from the first epoch on."""
    from ray import tune

    quality = config["quality"]
    for epoch in range(1, 10):
        loss = float("nan") if quality < 0 else 1 - quality
        tune.report({"accuracy": quality + epoch / 100, "loss": loss})


@pytest.mark.cluster
def test_scheduler_stops_dominated_trials_on_a_real_cluster(tmp_path: Path) -> None:
    from ray import tune

    from rtune.cluster.connection import connect

    qualities = [0.9, 0.1, -1.0, 0.95, 0.2]
    with connect(None):
        tuner = tune.Tuner(
            curve,
            param_space={"quality": tune.grid_search(qualities)},
            tune_config=tune.TuneConfig(
                scheduler=ParetoASHAScheduler({"accuracy": "max", "loss": "min"}, max_t=9),
                max_concurrent_trials=1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=str(tmp_path), verbose=0),
        )
        results = tuner.fit()
    reached = {r.metrics["config"]["quality"]: r.metrics["training_iteration"] for r in results}
    # One may pass each rung: the first for want of others, and whoever is better than all.
    assert reached == {q: 9 if q in (0.9, 0.95) else 1 for q in qualities}
