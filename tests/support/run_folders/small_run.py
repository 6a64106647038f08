"""A real run folder without a cluster: the search and its trials, one after the other in this process."""

from pathlib import Path
from typing import Any

import torch

from rtune.config import spec
from rtune.run.claim import create
from rtune.run.folder import RunFolder
from rtune.search import plan
from rtune.search.limits import Limits
from rtune.search.state import Search
from rtune.worker import build, loop
from rtune.worker.task import Task

TREE: dict[str, Any] = {
    "data": {"dataset": "digits"},
    "model": {"network": {"choice": ["resnet", "enresnet"]}, "width": 2, "enresnet": {"members": 2}},
    "attack": {"epsilon": 0.07, "step_size": 0.07, "steps": 1},
    "evaluation": {"epsilon": 0.07, "step_size": 0.02, "steps": 2},
    "pruning": {"method": "rgsm", "rgsm": {"lambda_1": {"log_uniform": [1e-3, 1]}, "lambda_2": 0.01}},
    "training": {"max_epochs": 2, "batch_size": 32},
    "points": [
        {"model.network": "resnet", "pruning.rgsm.lambda_1": 1e-3},
        {"model.network": "enresnet", "pruning.rgsm.lambda_1": 0.3},
    ],
    "search": {
        "trials": 2,
        "objectives": ["natural_accuracy", "robust_accuracy", "channel_sparsity"],
        "early_stopping": None,
    },
}


def make(runs: Path, tree: dict[str, Any] = TREE) -> RunFolder:
    """`runs/run`: every trial of `tree` trained to its end; t0001 ordinary, t0002 noisy."""
    folder = create(runs, "run", spec.from_tree(tree, {}, "test"), {})
    limits = Limits.of(folder.spec.search, folder.spec.trials, folder.spec.max_epochs)
    planned = plan.of_spec(folder.spec)
    data = build.fingerprint(folder.spec.file.data, folder.spec.search.seed)
    splits = build.splits(folder.spec.file.data, folder.spec.search.seed, torch.device("cpu"), download=False)
    begin = plan.launch_record(
        folder.spec, planned, limits, 1, data, (len(splits[0]), len(splits[1])), "search"
    )
    with folder.launch() as writer:
        writer.append(begin)
        search = Search(planned, [begin], writer.append)
        while (found := search.next_trial()) is not None:
            task = Task(
                trial=found.id,
                seed=found.seed,
                config=folder.spec.identity(found.values),
                run=folder.place.absolute,
                folder=folder.trial_folder(found.id).absolute,
                max_epochs=folder.spec.max_epochs,
            )
            for epoch, metrics in loop.epochs(task, *splits):
                search.report(found.id, epoch, metrics)
    return folder
