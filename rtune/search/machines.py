"""The machines of a cluster: which may run trials, which come late, which are gone."""

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rtune import machine
from rtune.search.resources import Limits, ResourceError, Room, fit
from rtune.storage import Place, StorageError

# Seconds between two looks at the cluster, and for a machine to answer at launch.
_PERIOD, _PATIENCE = 2.0, 60.0


class Machines(Callback):
    """Checks every machine before trials run there, and those that join later as they come.

    A machine that lacks something is set aside: a placement group takes all its room, so that Ray Tune
    finds none there. Trials that had begun on it go on elsewhere.

    Args:
        limits: of the launch.
        storage: folder that all machines must share.
        say: is given a sentence for the person.

    Attributes:
        versions: what all machines must have (`rtune.machine.versions`).
        room: trials at once on the machines that may run any.
    """

    def __init__(self, limits: Limits, storage: Place, say: Callable[[str], None]) -> None:
        self._limits = limits
        self._storage = storage
        self._say = say
        self.versions = machine.versions()
        self._names: dict[str, str] = {}
        self._checks: dict[ray.ObjectRef[Any], tuple[str, str]] = {}
        self._aside: dict[str, PlacementGroup] = {}
        self._looked = 0.0
        self.room = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled for `Tuner.restore`, which rtune never uses

    def survey(self, room: Room) -> None:
        """Checks what is there when a launch begins.

        Raises:
            ResourceError: no machine can run trials, and none is to come; or the storage cannot be written.
        """
        nodes = self._with_room()
        found: dict[str, str] = {}
        deadline = time.monotonic() + _PATIENCE
        try:
            for node in nodes:
                self._begin_check(node)
            while self._checks:
                found.update(self._results(max(0.0, deadline - time.monotonic()), deadline))
        except StorageError as error:
            raise ResourceError(f"{self._storage} cannot be used for run folders: {error}") from None
        if found and len(found) == len(nodes) and not room.may_grow:
            name, problem = next(iter(found.items()))
            others = f" (and {len(found) - 1} more that cannot)" if len(found) > 1 else ""
            raise ResourceError(f"no trial can run on machine {self._names[name]}{others}: {problem}")
        for name, problem in found.items():
            self._set_aside(name, problem)
        self._count()

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        if time.monotonic() - self._looked < _PERIOD:
            return
        # A store that does not answer now is asked again at the next look.
        with contextlib.suppress(StorageError):
            self._look()
        self._looked = time.monotonic()

    def _look(self) -> None:
        nodes = {node["NodeID"]: node for node in self._with_room()}
        for name in self._names.keys() - nodes:
            self._say(f"machine {self._names.pop(name)} is gone; its trials go on elsewhere")
            self._aside.pop(name, None)
        for name in nodes.keys() - self._names:
            self._begin_check(nodes[name])
            self._say(f"machine {self._names[name]} has joined")
        for name, problem in self._results(0.0).items():
            self._set_aside(name, problem)
        self._count()

    def _count(self) -> None:
        usable = (node for node in self._with_room() if node["NodeID"] not in self._aside)
        self.room = sum(fit(self._limits, node["Resources"]) for node in usable)

    def blame(self, node: str, problem: str) -> bool:
        """A trial could not run on a machine: sets it aside. False if no other is left."""
        if node not in self._aside:
            self._set_aside(node, problem)
        return any(n["NodeID"] not in self._aside for n in self._with_room())

    def close(self) -> None:
        """The launch has ended."""
        for _, probe in self._checks.values():
            with contextlib.suppress(StorageError):
                machine.answered(self._storage, probe)
        self._checks.clear()

    def _with_room(self) -> list[dict[str, Any]]:
        return [n for n in ray.nodes() if n["Alive"] and fit(self._limits, n["Resources"])]

    def _begin_check(self, node: dict[str, Any]) -> None:
        probe = f".probe-{uuid.uuid4().hex}"
        (self._storage / probe).write(b"")
        name = node["NodeID"]
        self._names[name] = f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"
        there = self._storage / probe
        where = str(there.local.resolve() if there.local else there)
        pinned = NodeAffinitySchedulingStrategy(name, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(machine.problem).options(scheduling_strategy=pinned)
        self._checks[task.remote(self.versions, where)] = (name, probe)

    def _results(self, timeout: float, deadline: float | None = None) -> dict[str, str]:
        """Machines whose checks have found a problem; at the deadline those that have not answered too."""
        if not self._checks:
            return {}
        done, _ = ray.wait(list(self._checks), num_returns=len(self._checks), timeout=timeout)
        late = deadline is not None and time.monotonic() >= deadline
        found: dict[str, str] = {}
        for check in list(self._checks) if late else done:
            node, probe = self._checks.pop(check)
            problem = _outcome(check) if check in done else f"no answer within {_PATIENCE:g} seconds"
            seen = machine.answered(self._storage, probe)
            if problem is None and not seen:
                problem = machine.not_shared(str(self._storage / probe))
            if problem is not None:
                found[node] = problem
        return found

    def _set_aside(self, node: str, problem: str) -> None:
        self._say(f"machine {self._names.get(node, node)} is left out: {problem}")
        (resources,) = [n["Resources"] for n in ray.nodes() if n["NodeID"] == node] or [{}]
        room = {kind: resources[kind] for kind in ("CPU", "GPU") if resources.get(kind)}
        if room:
            self._aside[node] = placement_group([room], bundle_label_selector=[{"ray.io/node-id": node}])


def _outcome(check: ray.ObjectRef[Any]) -> str | None:
    try:
        found: str | None = ray.get(check)
    except (ray.exceptions.NodeDiedError, ray.exceptions.WorkerCrashedError):
        return "it died"
    except Exception as error:
        # The last line names the error: that a module is missing, above all rtune itself.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"it cannot run rtune: {lines[-1] if lines else type(error).__name__}"
    return found
