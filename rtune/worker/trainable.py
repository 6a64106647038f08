"""The function that Ray Tune runs on a worker: it trains one trial and reports each epoch."""

import socket
from collections.abc import Iterator
from typing import Any

import ray
import torch
from ray import tune

from rtune.robust import Diverged
from rtune.robust.random import deterministic
from rtune.storage.places import StorageError, place
from rtune.worker import build, gpu_actor, loop, machine, messages
from rtune.worker.task import Task


def run(config: dict[str, Any], data: dict[str, Any]) -> None:
    """Trains the trial of a Ray Tune config.

    Args:
        config: from `Task.to_config`.
        data: the splits, from `rtune.worker.build.pack`.

    Raises:
        UnfitMachineError: this machine has other versions, does not see the run folder, or its storage fails.
    """
    _check_machine(config["versions"], config["run"])  # first: other versions may have other tasks
    task = Task.from_config(config)
    torch.set_num_threads(task.threads)
    try:
        for report in _reports(task, data):
            tune.report(messages.to_result(report))
    except StorageError as error:
        # The next trial on this machine would fail in the same way.
        raise machine.UnfitMachineError(f"{_node()}: {error} (worker on {socket.gethostname()})") from None


def _reports(task: Task, data: dict[str, Any]) -> Iterator[messages.Report]:
    if task.shares_gpu:
        yield from gpu_actor.reports(task, data)
        return
    notes: list[messages.Note] = []

    def new_notes() -> tuple[messages.Note, ...]:
        found = tuple(notes)
        notes.clear()
        return found

    # For this trial only: Ray reuses the worker for the next one.
    with deterministic(task.config["training"]["deterministic"]):
        try:
            for epoch, metrics in loop.epochs(task, *build.unpack(data, torch.device(task.device)), notes):
                yield messages.Epoch(epoch, metrics, new_notes())
        except Diverged as error:
            yield messages.Diverged(str(error), new_notes())


def _check_machine(versions: dict[str, str] | None, run: str) -> None:
    """Raises UnfitMachineError if this machine has other versions or does not see the run folder."""
    if versions is None:
        return
    problem = machine.version_mismatch(versions) or _unseen(run)
    if problem is not None:
        raise machine.UnfitMachineError(f"{_node()}: {problem}")


def _unseen(run: str) -> str | None:
    """A sentence if this machine does not see the run folder; None if it does."""
    # Checkpoints on this machine's own disk would be lost with the machine.
    try:
        seen = (place(run) / "search.yaml").with_retries().exists()
    except StorageError as error:
        return str(error)
    return None if seen else machine.not_shared_message(run)


def _node() -> str:
    return str(ray.get_runtime_context().get_node_id())
