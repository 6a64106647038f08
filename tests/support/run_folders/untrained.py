"""A run folder without networks: an empty one, and records to write into it."""

from pathlib import Path
from typing import Any

from rtune.config import spec
from rtune.run import schema
from rtune.run.claim import create
from rtune.run.folder import RunFolder

TREE = {
    "data": {"dataset": "digits"},
    "pruning": {"rvsm": {"beta": {"log_uniform": [0.01, 1]}}},
    "training": {"max_epochs": 3},
    "search": {"trials": 2},
}


def make(tmp_path: Path, name: str = "run") -> RunFolder:
    return create(tmp_path, name, spec.from_tree(TREE, {}, "test"), {"rtune": "0"})


def epoch(trial: str, number: int, decision: str = "continue") -> dict[str, Any]:
    metrics = dict.fromkeys(schema.epoch(), 0.5) | {"macs": 7, "parameters": 9, "images": 100}
    return {"kind": "epoch", "trial": trial, "epoch": number, "decision": decision, "time": 1.5, **metrics}


def trial(name: str) -> dict[str, Any]:
    return {
        "kind": "trial",
        "trial": name,
        "seed": 1,
        "values": {"pruning.rvsm.beta": 0.1},
        "sampler": "tpe",
        "facts": {},
        "time": 1.0,
    }


RECORDS = [trial("t0001"), epoch("t0001", 1), trial("t0002"), epoch("t0001", 2), epoch("t0001", 3, "finish")]
