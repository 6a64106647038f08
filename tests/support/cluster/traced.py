"""`rtune ARGS` whose workers write down what they do, and fail where they are told to.

    python -m tests.support.cluster.traced ARGS

    TRACE   a file that gets a line `begin t0001 3` or `saved t0001 3` for each epoch, and before a trial
            that asks for GPUs `gpu t0001 0 False`: those that Ray has given it, and whether its images
            are its own copy
    DEVICE  where trials train, whatever they asked for: GPUs may be pretended
    FAULTS  {"t0002": {"epoch": 2, "times": 1, "how": "exit"}}; a fault happens so often in all

The workers import this module: no test code in rtune itself.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from rtune.storage.places import StorageError
from rtune.worker import checkpoint, loop, trainable


def run(config: dict[str, Any], data: dict[str, Any]) -> None:
    """What Ray Tune calls instead of `rtune.worker.trainable.run`."""
    name = config["trial"]
    if config["device"] == "cuda":
        # Not writable: the machine's one copy.
        say(f"gpu {name} {os.environ.get('CUDA_VISIBLE_DEVICES', '')} {data['train'][0].flags.writeable}")
    config = {**config, "device": os.environ.get("DEVICE", config["device"])}
    measure, write = loop.measure_epoch, checkpoint.write

    def measured(trainer: Any, *args: Any) -> dict[str, Any]:
        say(f"begin {name} {trainer.epoch + 1}")
        misbehave(name, trainer.epoch + 1)
        return measure(trainer, *args)

    def written(folder: Any, saved: Any) -> Any:
        path = write(folder, saved)
        say(f"saved {name} {saved.epoch}")
        return path

    # Ray uses a worker again for the next trial: what is replaced is put back.
    loop.measure_epoch, checkpoint.write = measured, written
    try:
        trainable.run(config, data)
    finally:
        loop.measure_epoch, checkpoint.write = measure, write


def say(line: str) -> None:
    if "TRACE" not in os.environ:
        return
    descriptor = os.open(os.environ["TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def misbehave(name: str, epoch: int) -> None:
    fault = json.loads(os.environ.get("FAULTS", "{}")).get(name)
    if fault is None or fault["epoch"] != epoch:
        return
    for number in range(fault["times"]):
        try:
            Path(f"{os.environ['TRACE']}.{name}.{number}").touch(exist_ok=False)
        except FileExistsError:
            continue
        _FAULTS[fault["how"]]()


def _raise() -> None:
    raise ValueError("as told, 0x7f3a")


def _hold_the_lock() -> None:
    (10**7) ** (10**7)  # C code that never lets another thread of the process run


def _eat() -> None:
    held = []
    while True:
        held.append(torch.ones(2**24))


def _storage() -> None:
    raise StorageError("the disk is on fire")


_FAULTS = {
    "storage": _storage,
    "raise": _raise,
    "exit": lambda: os._exit(7),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sleep": lambda: time.sleep(10_000),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "gil": _hold_the_lock,
    "memory": _eat,
}


def main() -> None:
    """Runs the command line with these workers."""
    from rtune.cli import app
    from rtune.cluster import launch

    launch.trainable = SimpleNamespace(run=run)  # type: ignore[assignment]
    app.main()


if __name__ == "__main__":
    # Not as __main__: the workers know the module by its name.
    from tests.support.cluster import traced

    sys.exit(traced.main())
