"""The host of a shared GPU as a Ray actor, and a worker's calls to it (`rtune.worker.gpu_host`)."""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rtune import clock
from rtune.storage.places import StorageError
from rtune.worker import messages
from rtune.worker.gpu_host import MAX_TRIALS, Host
from rtune.worker.task import Task

_PREFIX = "rtune-gpu-"
# Seconds without workers after which a host ends.
_IDLE_SECONDS = 60.0


class _Actor(Host):
    """A host whose process ends when it has no workers: its launch may have been killed."""

    def __init__(self) -> None:
        super().__init__()
        threading.Thread(target=self._exit_when_idle, daemon=True).start()

    def _exit_when_idle(self) -> None:
        used = clock.running()
        while clock.running() - used < _IDLE_SECONDS:
            time.sleep(1)
            if self.remove_dead_workers():
                used = clock.running()
        os._exit(0)


def reports(task: Task, data: dict[str, Any]) -> Iterator[messages.Report]:
    """Has the host of this worker's GPU train a trial; gives what the driver is to know.

    Args:
        task: the trial.
        data: the splits, from `rtune.worker.build.pack`.

    Raises:
        StorageError: a checkpoint cannot be read or written.
    """
    repeatable = task.config["training"]["deterministic"]
    host, key = _host(repeatable), uuid.uuid4().hex
    try:
        while True:
            answer: messages.Answer = ray.get(host.advance.remote(key, os.getpid(), task))
            match answer:
                case messages.NeedsData():
                    ray.get(host.give.remote(data, task.device, repeatable))
                case messages.StorageFailed(reason):
                    raise StorageError(reason)
                case messages.Ended():
                    return
                case messages.Diverged():
                    yield answer
                    return
                case _:
                    yield answer
    finally:
        host.close.remote(key)


def stop_hosts() -> None:
    """Ends the hosts that this launch's workers have started."""
    # They also end by themselves, only later: Ray itself may have failed.
    with contextlib.suppress(Exception):
        for name in ray.util.list_named_actors():
            if name.startswith(_PREFIX):
                ray.kill(ray.get_actor(name))


def _host(repeatable: bool) -> Any:
    node = ray.get_runtime_context().get_node_id()
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return (
        ray.remote(_Actor)
        .options(
            name=f"{_PREFIX}{node}-{card}-{repeatable}",
            get_if_exists=True,
            lifetime="detached",  # otherwise it would end with the worker that started it
            num_cpus=0,
            max_concurrency=MAX_TRIALS,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
            runtime_env={
                "env_vars": {"CUDA_VISIBLE_DEVICES": card, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
            },
        )
        .remote()
    )
