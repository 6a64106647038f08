"""How many trials machines have room for. Independent of Ray."""

from dataclasses import dataclass
from typing import Any

import joblib

from rtune.errors import ResourceError
from rtune.search.limits import Limits


@dataclass(frozen=True)
class Room:
    """The resources on which trials can run: `CPU` and `GPU` of each machine.

    Attributes:
        nodes: resources of each machine that is there now.
        here: whether it is only this machine, to which none can be added.
        to_come: resources of each machine that an autoscaler may add.
        may_grow: whether machines may be added, even if their resources are unknown.
    """

    nodes: list[dict[str, float]]
    here: bool = False
    to_come: tuple[dict[str, float], ...] = ()
    may_grow: bool = False


def local() -> Room:
    """This machine's CPUs (within its affinity and container limits) and GPUs."""
    import torch  # slow to import, and not needed for a cluster

    return Room([{"CPU": joblib.cpu_count(), "GPU": torch.cuda.device_count()}], here=True)


def concurrency(limits: Limits, room: Room) -> int | None:
    """How many trials are to run at once; None for as many as there is room for at any time.

    On a cluster it may exceed the present room: machines can join, and an autoscaler adds machines for the
    trials that wait.

    Raises:
        ResourceError: there is no room for a trial and none can be added; or this machine has room for fewer
            trials than `limits.concurrency`.
    """
    now = sum(capacity(limits, node) for node in room.nodes)
    later = sum(capacity(limits, node) for node in room.to_come)
    need = {"CPU": float(limits.cpus_per_trial), "GPU": limits.gpus_per_trial}
    have = ", ".join(f"{n.get('CPU', 0):g} CPU and {n.get('GPU', 0):g} GPU" for n in _kinds(room))
    each = f"a trial needs {need['CPU']:g} CPU and {need['GPU']:g} GPU"
    there = f"the {'machine has' if room.here else 'nodes have'} {have}"
    if now == later == 0 and (room.to_come or not room.may_grow):
        raise ResourceError(f"{each}, but {there}; lower --gpus-per-trial or search.cpus_per_trial")
    if room.here and limits.concurrency is not None and limits.concurrency > now:
        raise ResourceError(
            f"--concurrency is {limits.concurrency} and {each}, but {there}: at most {now} at once"
        )
    if limits.concurrency is not None or room.here:
        return limits.concurrency or now
    return now + later if later else None


def capacity(limits: Limits, node: dict[str, float]) -> int:
    """How many trials a machine with these resources can run at once."""
    need = {"CPU": float(limits.cpus_per_trial), "GPU": limits.gpus_per_trial}
    return min(_times(node.get(kind, 0), amount) for kind, amount in need.items() if amount)


def to_come(config: dict[str, Any], nodes: int) -> tuple[tuple[dict[str, float], ...], bool]:
    """The machines that the autoscaler of a `ray up` file may add.

    Args:
        config: content of the file.
        nodes: number of machines that the cluster has now, the head included.

    Returns:
        Resources of each machine that may be added, those with most GPUs first (empty if the file does not
        state them for all); and whether any machine may be added.
    """
    head = config.get("head_node_type")
    left = max(0, config.get("max_workers", 0) - (nodes - 1))
    most = {
        name: min(left, kind.get("max_workers", 0 if name == head else left))
        for name, kind in config["available_node_types"].items()
    }
    types = {name: config["available_node_types"][name] for name, count in most.items() if count}
    kinds = [
        {what: float((kind.get("resources") or {}).get(what, 0)) for what in ("CPU", "GPU")}
        for name, kind in types.items()
        for _ in range(most[name])
    ]
    kinds.sort(key=lambda kind: (kind["GPU"], kind["CPU"]), reverse=True)
    known = all(found.get("resources") for found in types.values())
    return tuple(kinds[:left]) if known else (), bool(kinds[:left])


def _kinds(room: Room) -> list[dict[str, float]]:
    """One machine of each kind, those with most GPUs first."""
    kinds = {(n.get("GPU", 0), n.get("CPU", 0)): n for n in [*room.nodes, *room.to_come]}
    return [kinds[key] for key in sorted(kinds, reverse=True)]


def _times(have: float, need: float) -> int:
    """How often `need` fits into `have`; a share of a GPU is on one GPU."""
    return int(have) * int(1 / need + 1e-9) if need < 1 else int(have / need + 1e-9)
