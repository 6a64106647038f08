"""What a launch asks of machines, and whether they have it. Knows nothing of Ray itself."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import joblib

from rtune.config import SearchSettings


class ResourceError(Exception):
    """What is asked for is not there; the message says what is needed and what there is."""


@dataclass(frozen=True)
class Limits:
    """What may differ from launch to launch of one run.

    Attributes:
        trials: trials of the whole run.
        max_epochs: length of a full training.
        time_budget: seconds of this launch, None for no limit.
        concurrency: trials at once, None for as many as fit.
        cpus_per_trial: CPU cores, and threads, of a trial.
        gpus_per_trial: share of a GPU, or whole GPUs.
        max_failures: times a trial is tried again without getting an epoch further.
        report_timeout: seconds without an epoch after which a worker is taken to hang.
    """

    trials: int
    max_epochs: int
    time_budget: float | None
    concurrency: int | None
    cpus_per_trial: int
    gpus_per_trial: float
    max_failures: int
    report_timeout: float

    @classmethod
    def of(cls, search: SearchSettings, trials: int, max_epochs: int) -> "Limits":
        return cls(
            trials,
            max_epochs,
            search.time_budget,
            search.concurrency,
            search.cpus_per_trial,
            search.gpus_per_trial,
            search.max_failures,
            search.report_timeout,
        )


def local() -> dict[str, float]:
    """This machine's CPUs (within its affinity and container limits) and GPUs."""
    import torch  # heavy; a cluster's client does without it here

    return {"CPU": joblib.cpu_count(), "GPU": torch.cuda.device_count()}


def fitting(limits: Limits, nodes: list[dict[str, float]]) -> int:
    """How many trials run at once on nodes with these resources.

    Raises:
        ResourceError: not a single one does, or fewer than `limits.concurrency`. A cluster that
            may still grow: there nothing is refused.
    """
    need = {"CPU": float(limits.cpus_per_trial), "GPU": limits.gpus_per_trial}
    fit = sum(min(_fit(node.get(k, 0), n) for k, n in need.items() if n) for node in nodes)
    if grows():
        return limits.concurrency or max(fit, 1)
    have = ", ".join(f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes)
    each = f"a trial needs {need['CPU']:g} CPU and {need['GPU']:g} GPU"
    there = f"the {'nodes have' if len(nodes) > 1 else 'machine has'} {have}"
    if fit == 0:
        raise ResourceError(f"{each}, but {there}; lower --gpus-per-trial or search.cpus_per_trial")
    if limits.concurrency is not None and limits.concurrency > fit:
        raise ResourceError(
            f"--concurrency is {limits.concurrency} and {each}, but {there}: at most {fit} at once"
        )
    return limits.concurrency or fit


def grows() -> bool:
    """Whether this is the head of a cluster to which an autoscaler adds nodes when trials wait.

    `ray up` leaves a file there. On Kubernetes nothing tells it from a cluster of fixed size, so the
    manifest says so itself.
    """
    return (
        Path("~/ray_bootstrap_config.yaml").expanduser().exists()
        or os.environ.get("RTUNE_CLUSTER_GROWS") == "1"
    )


def _fit(have: float, need: float) -> int:
    """How many times; a share of a GPU never spans two."""
    return int(have) * int(1 / need + 1e-9) if need < 1 else int(have / need + 1e-9)


def check_answers(address: str) -> None:
    """Raises ResourceError where nothing listens; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # `auto` and the like: Ray knows at once
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ResourceError(f"no Ray cluster can be used at {address}: {error}") from None
