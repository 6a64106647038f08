"""The machines of a cluster: which may run trials, which come late, which are gone."""

import contextlib
import math
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rtune.cluster.interrupt import Interrupt
from rtune.cluster.resources import fit
from rtune.errors import ResourceError
from rtune.search.limits import Limits
from rtune.storage.places import Place, StorageError
from rtune.worker import machine

# Seconds between two looks at the cluster, for a machine to answer at launch, and for a first trial to begin.
_PERIOD, _PATIENCE, _IDLE = 2.0, 60.0, 30.0


class Machines(Callback):
    """Checks every machine before trials run there, and those that join later as they come.

    A machine that lacks something is set aside: placement groups take its room, a trial's share each as it
    becomes free, so that Ray Tune finds none there. A trial that is quicker finds out by itself
    (`rtune.worker.machine.Unfit`) and goes on elsewhere.

    A context, at whose end nothing of the checks is left behind.

    Args:
        limits: of the launch.
        storage: folder that all machines must share.
        say: is given a sentence for the person.

    Attributes:
        versions: what all machines must have (`rtune.worker.machine.versions`).
        slots: trials at once on the machines that may run any.
    """

    def __init__(self, limits: Limits, storage: Place, say: Callable[[str], None]) -> None:
        self._limits = limits
        self._storage = storage
        self._say = say
        self.versions = machine.versions()
        self._names: dict[str, str] = {}
        self._checks: dict[ray.ObjectRef[Any], tuple[str, str]] = {}
        self._aside: dict[str, list[PlacementGroup]] = {}
        self._looked = 0.0
        self._idle_since: float | None = None
        self.slots = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled for `Tuner.restore`, which rtune never uses

    def survey(self, interrupt: Interrupt) -> None:
        """Checks what is there when a launch begins.

        Raises:
            KeyboardInterrupt: that is asked for.
            ResourceError: machines are there, and no trial can run on any; or the storage cannot be written.
        """
        nodes = self._with_room()
        if not nodes:
            self._say("no machine has room for a trial yet; waiting for one to join")
        found: dict[str, str] = {}
        deadline = time.monotonic() + _PATIENCE
        try:
            for node in nodes:
                self._begin_check(node)
            while self._checks:
                if interrupt.requested:
                    raise KeyboardInterrupt
                found.update(dict(self._results(0.5, deadline)))
        except StorageError as error:
            raise ResourceError(f"{self._storage} cannot be used for run folders: {error}") from None
        if found and len(found) == len(nodes):
            first, problem = next(iter(found.items()))
            others = f" (and {len(found) - 1} more that cannot)" if len(found) > 1 else ""
            raise ResourceError(f"no trial can run on machine {self.name(first)}{others}: {problem}")
        for name, problem in found.items():
            self._set_aside(name, problem)
        self._count()

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        if time.monotonic() - self._looked < _PERIOD:
            return
        # A store that does not answer now is asked again at the next look.
        with contextlib.suppress(StorageError):
            self._look()
        self._count()
        self._looked = time.monotonic()
        self._note_idleness(trials)

    def _note_idleness(self, trials: list[RayTrial]) -> None:
        """Says once when nothing runs though there are machines: a full cluster is silent by itself."""
        if self.slots == 0 or any(trial.status == RayTrial.RUNNING for trial in trials):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._looked
        elif self._looked - self._idle_since > _IDLE:
            self._idle_since = math.inf
            self._say(
                f"no trial has begun for {_IDLE:g} seconds: other work has the cluster's room ('ray status' "
                "shows it), or its machines are slow to start; waiting"
            )

    def _look(self) -> None:
        nodes = {node["NodeID"]: node for node in self._with_room()}
        for gone in self._names.keys() - nodes:
            self._say(f"machine {self._names.pop(gone)} is gone; its trials go on elsewhere")
            # An autoscaler would bring another machine for those that wait.
            for group in self._aside.pop(gone, []):
                remove_placement_group(group)
        for node in [name for name in nodes if name not in self._names]:
            self._begin_check(nodes[node])
            self._say(f"machine {self.name(node)} has joined")
        for node, problem in self._results(0.0):
            self._set_aside(node, problem)

    def _count(self) -> None:
        usable = (node for node in self._with_room() if node["NodeID"] not in self._aside)
        self.slots = sum(fit(self._limits, node["Resources"]) for node in usable)

    def blame(self, which: str, problem: str) -> bool:
        """A trial could not run on a machine, by id or address: sets it aside. False if no other is left."""
        for node in self._with_room():
            if which in (node["NodeID"], node["NodeManagerAddress"]):
                self._set_aside(node["NodeID"], problem)
        return any(n["NodeID"] not in self._aside for n in self._with_room())

    def name(self, node: str) -> str:
        """Address and host name of a machine, of which Ray tells the id or the address, here and there."""
        if node not in self._names:
            found = [n for n in ray.nodes() if node in (n["NodeID"], n["NodeManagerAddress"])]
            return _name(found[0]) if found else node
        return self._names[node]

    def __enter__(self) -> "Machines":
        return self

    def __exit__(self, *_: object) -> None:
        for _node, probe in self._checks.values():
            with contextlib.suppress(StorageError):
                machine.answered(self._storage, probe)

    def _with_room(self) -> list[dict[str, Any]]:
        return [n for n in ray.nodes() if n["Alive"] and fit(self._limits, n["Resources"])]

    def _begin_check(self, node: dict[str, Any]) -> None:
        probe = f".probe-{uuid.uuid4().hex}"
        (self._storage / probe).write(b"")
        self._names[node["NodeID"]] = _name(node)
        pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(machine.problem).options(scheduling_strategy=pinned)
        self._checks[task.remote(self.versions, self._storage.absolute, probe)] = (node["NodeID"], probe)

    def _results(self, timeout: float, deadline: float | None = None) -> Iterator[tuple[str, str]]:
        """Machines whose checks have found a problem; at the deadline those that have not answered too.

        One at a time: a store that fails at the next leaves what was found before.
        """
        if not self._checks:
            return
        done, _ = ray.wait(list(self._checks), num_returns=len(self._checks), timeout=timeout)
        late = deadline is not None and time.monotonic() >= deadline
        for check in list(self._checks) if late else done:
            node, probe = self._checks[check]
            seen = machine.answered(self._storage, probe)
            del self._checks[check]
            try:
                problem = _outcome(check) if check in done else f"no answer within {_PATIENCE:g} seconds"
            except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
                continue  # it has gone, which is seen elsewhere
            if problem is None and not seen:
                problem = machine.not_shared(self._storage.absolute)
            if problem is not None:
                yield node, problem

    def _set_aside(self, node: str, problem: str) -> None:
        if node in self._aside:
            return
        self._say(f"machine {self.name(node)} is left out: {problem}")
        shares = {"CPU": self._limits.cpus_per_trial, "GPU": self._limits.gpus_per_trial}
        share = {kind: float(amount) for kind, amount in shares.items() if amount}
        there = [n["Resources"] for n in ray.nodes() if n["NodeID"] == node and n["Alive"]]
        self._aside[node] = [
            placement_group([share], bundle_label_selector=[{"ray.io/node-id": node}])
            for resources in there
            for _ in range(fit(self._limits, resources))
        ]


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"


def _outcome(check: ray.ObjectRef[Any]) -> str | None:
    try:
        found: str | None = ray.get(check)
    except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
        raise
    except Exception as error:
        # The last line names the error: that a module is missing, above all rtune itself.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return machine.cannot_run(lines[-1] if lines else type(error).__name__)
    return found
