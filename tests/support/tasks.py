"""The task of one small trial, its epochs in this process, and its metrics without the times."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtune.config import spec
from rtune.robust import data
from rtune.worker import loop
from rtune.worker.messages import Note
from rtune.worker.task import Task

TREE = {
    "data": {"dataset": "digits"},
    "model": {"network": "enresnet", "width": 2, "enresnet": {"members": 2}},
    "attack": {"steps": 1},
    "evaluation": {"steps": 1},
    "pruning": {"rvsm": {"beta": {"log_uniform": [0.1, 1]}}},
    "training": {"max_epochs": 3},
}


SECONDS = ("train_seconds", "eval_seconds")


def task(folder: Path, logged: int = 0) -> Task:
    config = spec.from_tree(TREE, {}, "test").trial_config(
        {"pruning.rvsm.beta": 0.5, "pruning.rvsm.lambda_1": 1e-3}
    )
    tree = config.model_dump(mode="json")
    del tree["data"]["folder"]
    return Task("t0001", 5, tree, run=str(folder.parent), folder=str(folder), max_epochs=3, logged=logged)


def epochs(told: Task, notes: list[Note] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    return loop.epochs(told, *data.load("digits"), notes)


def figures(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in SECONDS}
