"""Runs with fronts worth a report, made up: no network stands behind them."""

from pathlib import Path
from typing import Any

import numpy as np

from rtune import metrics
from rtune.config import spec
from rtune.run import changes
from rtune.run.claim import create
from rtune.run.folder import RunFolder

TREE: dict[str, Any] = {
    "description": "<script>alert(1)</script> & more",
    "data": {"dataset": "digits"},
    "model": {"network": {"choice": ["resnet", "enresnet"]}, "enresnet": {"gamma": {"uniform": [0.02, 0.2]}}},
    "pruning": {
        "method": {"choice": ["rvsm", "rgsm"]},
        "rvsm": {"beta": {"log_uniform": [0.01, 1]}, "lambda_1": {"log_uniform": [1e-4, 1e-2]}},
        "rgsm": {"lambda_1": {"log_uniform": [0.01, 1]}},
    },
    "training": {"max_epochs": 4},
    "search": {"objectives": ["natural_accuracy", "robust_accuracy", "channel_sparsity"]},
}
IMAGES = 360


def make(
    runs: Path,
    name: str = "run",
    trials: int = 40,
    seed: int = 0,
    tree: dict[str, Any] = TREE,
    seeds: int = 1,
    shift: float = 0.0,
    broken: int = 0,
    lacking: tuple[str, ...] = (),
) -> RunFolder:
    """A finished run.

    Args:
        runs: folder that it is made in.
        name: of the run.
        trials: settings.
        seed: of all that is random.
        tree: the search file.
        seeds: replicates of each of the first ten settings.
        shift: added to robust accuracies.
        broken: of the trials so many fail or diverge in turn.
        lacking: beginnings of paths that the trials have no values of.
    """
    folder = create(runs, name, spec.from_tree(tree, {}, "test"), {"rtune": "0", "command": "rtune search"})
    rng = np.random.default_rng(seed)
    with folder.launch() as writer:
        writer.append(_launch(folder, trials))
        for i in range(trials):
            values = _values(rng)
            quality = rng.normal(0, 0.3)
            length = 2 if i % 3 == 0 else 4
            for copy in range(seeds if i < 10 else 1):
                number = 10 * i + copy + 1
                own = f"t{i + 1:04d}"
                trial = f"{own}r{copy}" if copy else own
                writer.append(
                    {
                        "kind": "trial",
                        "trial": trial,
                        "seed": number,
                        "values": {k: v for k, v in values.items() if not k.startswith(lacking)},
                        "sampler": "replicate" if copy else "tpe",
                        "facts": {"of": own, "epochs": length} if copy else {},
                        "time": 10.0 * number,
                    }
                )
                if i < broken:
                    _break(writer, trial, i, 10.0 * number + 1)
                    continue
                for record in _epochs(trial, values, quality + rng.normal(0, 0.05), length, shift):
                    if copy and record["decision"] == "stop":
                        record["decision"] = "finish"
                    writer.append(record | {"time": 10.0 * number + record["epoch"]})
    return folder


def _launch(folder: RunFolder, trials: int) -> dict[str, Any]:
    return {
        "kind": "launch",
        "time": 1.0,
        "trials": trials,
        "command": "search",
        "asked": f"--trials {trials} --max-epochs {folder.spec.max_epochs}",
        "concurrency": 2,
        "max_epochs": folder.spec.max_epochs,
        "rungs": [2],
        "time_budget": None,
        "cpus_per_trial": 1,
        "gpus_per_trial": 0,
        "search": changes.fixed(folder.spec),
        "data": "0" * 64,
        "train_images": 1000,
        "validation_images": IMAGES,
    }


def _values(rng: np.random.Generator) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model.network": str(rng.choice(["resnet", "enresnet"])),
        "pruning.method": str(rng.choice(["rvsm", "rgsm"])),
    }
    if values["model.network"] == "enresnet":
        values["model.enresnet.gamma"] = float(rng.uniform(0.02, 0.2))
    if values["pruning.method"] == "rvsm":
        values["pruning.rvsm.beta"] = float(10 ** rng.uniform(-2, 0))
        values["pruning.rvsm.lambda_1"] = float(10 ** rng.uniform(-4, -2))
    else:
        values["pruning.rgsm.lambda_1"] = float(10 ** rng.uniform(-2, 0))
    return values


def _epochs(
    trial: str, values: dict[str, Any], quality: float, stop: int, shift: float
) -> list[dict[str, Any]]:
    """Sparsity grows with lambda, accuracy falls with sparsity, an ensemble is a little better."""
    strength = np.log10(values.get("pruning.rgsm.lambda_1", 100 * values.get("pruning.rvsm.lambda_1", 0)))
    sparsity = float(1 / (1 + np.exp(-2.5 * (strength + 1) - quality)))
    base = 0.9 - 0.5 * sparsity**3 + 0.04 * (values["model.network"] == "enresnet") + 0.02 * quality
    found = []
    for epoch in range(1, stop + 1):
        share = 1 - 0.5**epoch
        fractions = {
            "natural_accuracy": min(1.0, base * share + 0.06),
            "robust_accuracy": min(1.0, max(0.0, 0.8 * base * share + shift)),
            "channel_sparsity": sparsity * share,
            "weight_sparsity": min(1.0, sparsity * share + 0.05),
            "removable_channels": 0.8 * sparsity * share,
        }
        counted = {n: round(fractions[n] * IMAGES) / IMAGES for n in metrics.of_images()}
        cost = {
            "macs": int(1e6 * (1 - sparsity * share)) + 1000,
            "parameters": int(7e4 * (1 - sparsity * share)) + 100,
        }
        rung = {"rung": 2, "rung_position": 1, "rung_size": 3, "rung_quota": 1} if epoch == 2 else {}
        decision = "continue" if epoch < stop else "finish" if stop == 4 else "stop"
        seconds = {
            "train_seconds": 1.5,
            "eval_seconds": 0.2,
            "images": IMAGES if epoch in (2, 4) else IMAGES // 4,
        }
        found.append(
            {"kind": "epoch", "trial": trial, "epoch": epoch, "decision": decision}
            | dict.fromkeys(("rung", "rung_position", "rung_size", "rung_quota"))
            | rung
            | fractions
            | counted
            | cost
            | seconds
        )
    return found


def _break(writer: Any, trial: str, turn: int, time: float) -> None:
    status = ("failed", "diverged")[turn % 2]
    end = {"kind": "end", "trial": trial, "status": status, "epoch": 1, "error": "<b>bad</b>"}
    writer.append(end | {"time": time})
