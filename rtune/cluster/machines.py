"""The machines of a cluster: checks which can run trials, and follows those that join or leave."""

import contextlib
import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial as RayTrial
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rtune import clock
from rtune.cluster.interrupt import Interrupt
from rtune.cluster.resources import capacity
from rtune.errors import ResourceError
from rtune.search.limits import Limits
from rtune.storage.places import Place, StorageError
from rtune.worker import machine

# Seconds between two updates of the list of machines.
_PERIOD = 2.0
# Seconds that a machine has to answer when a launch begins.
_TIMEOUT = 60.0
# Seconds without a running trial after which the user is told.
_IDLE = 30.0


class Machines(Callback):
    """Checks every machine at launch, and later each machine that joins.

    A machine that cannot run trials is excluded: placement groups reserve its resources, one trial's share
    each, as they become free, so that Ray Tune places no trial there. A trial that starts there before that
    detects the problem itself (`rtune.worker.machine.UnfitMachineError`) and is retried on another machine.

    A context manager, which at its end removes the files of checks that are still open.

    Args:
        limits: of the launch.
        storage: folder that all machines must share.
        notify: called with each sentence for the user.

    Attributes:
        versions: what all machines must have (`rtune.worker.machine.versions`).
        slots: number of trials that the machines which can run trials have room for.
    """

    def __init__(self, limits: Limits, storage: Place, notify: Callable[[str], None]) -> None:
        self._limits = limits
        self._storage = storage
        self._notify = notify
        self.versions = machine.versions()
        self._names: dict[str, str] = {}
        self._checks: dict[ray.ObjectRef[Any], tuple[str, str]] = {}
        self._excluded: dict[str, list[PlacementGroup]] = {}
        self._updated = 0.0
        self._idle_since: float | None = None
        self.slots = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled for `Tuner.restore`, which rtune never uses

    def check_all(self, interrupt: Interrupt) -> None:
        """Checks all machines of the cluster before a launch begins.

        Raises:
            KeyboardInterrupt: the user has interrupted.
            ResourceError: there are machines, but none can run trials; or the storage cannot be written.
        """
        nodes = self._with_room()
        if not nodes:
            self._notify("no machine has room for a trial yet; waiting for one to join")
        found: dict[str, str] = {}
        deadline = clock.running() + _TIMEOUT
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
            self._exclude(name, problem)
        self._count_slots()

    def on_step_begin(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        if clock.running() - self._updated < _PERIOD:
            return
        # Storage that does not answer now is asked again at the next update.
        with contextlib.suppress(StorageError):
            self._update()
        self._count_slots()
        self._updated = clock.running()
        self._notify_if_idle(trials)

    def _notify_if_idle(self, trials: list[RayTrial]) -> None:
        """Tells the user once if no trial runs although there are machines; Ray gives no reason itself."""
        if self.slots == 0 or any(trial.status == RayTrial.RUNNING for trial in trials):
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._updated
        elif self._updated - self._idle_since > _IDLE:
            self._idle_since = math.inf
            self._notify(
                f"no trial has begun for {_IDLE:g} seconds: other work uses the cluster's resources "
                "('ray status' shows it), or its machines start slowly; waiting"
            )

    def _update(self) -> None:
        nodes = {node["NodeID"]: node for node in self._with_room()}
        for gone in self._names.keys() - nodes:
            self._notify(f"machine {self._names.pop(gone)} is gone; its trials go on elsewhere")
            # Waiting placement groups would make an autoscaler add another machine.
            for group in self._excluded.pop(gone, []):
                remove_placement_group(group)
        for node in [name for name in nodes if name not in self._names]:
            self._begin_check(nodes[node])
            self._notify(f"machine {self.name(node)} has joined")
        for node, problem in self._results(0.0):
            self._exclude(node, problem)

    def _count_slots(self) -> None:
        usable = (node for node in self._with_room() if node["NodeID"] not in self._excluded)
        self.slots = sum(capacity(self._limits, node["Resources"]) for node in usable)

    def exclude(self, machine_id: str, problem: str) -> bool:
        """Excludes a machine on which a trial could not run.

        Args:
            machine_id: its Ray node id or its address.
            problem: the reason.

        Returns:
            False if no other machine is left that can run trials.
        """
        for node in self._with_room():
            if machine_id in (node["NodeID"], node["NodeManagerAddress"]):
                self._exclude(node["NodeID"], problem)
        return any(n["NodeID"] not in self._excluded for n in self._with_room())

    def name(self, node: str) -> str:
        """Address and host name of a machine, given by its Ray node id or its address."""
        if node not in self._names:
            found = [n for n in ray.nodes() if node in (n["NodeID"], n["NodeManagerAddress"])]
            return _name(found[0]) if found else node
        return self._names[node]

    def __enter__(self) -> "Machines":
        return self

    def __exit__(self, *_: object) -> None:
        for _node, probe in self._checks.values():
            with contextlib.suppress(StorageError):
                machine.take_answer(self._storage, probe)

    def _with_room(self) -> list[dict[str, Any]]:
        return [n for n in ray.nodes() if n["Alive"] and capacity(self._limits, n["Resources"])]

    def _begin_check(self, node: dict[str, Any]) -> None:
        probe = f".probe-{uuid.uuid4().hex}"
        (self._storage / probe).write(b"")
        self._names[node["NodeID"]] = _name(node)
        pinned = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(machine.problem).options(scheduling_strategy=pinned)
        self._checks[task.remote(self.versions, self._storage.absolute, probe)] = (node["NodeID"], probe)

    def _results(self, timeout: float, deadline: float | None = None) -> Iterator[tuple[str, str]]:
        """Machines whose checks have found a problem, and after the deadline those without an answer.

        A generator, so that results are kept if the storage fails at a later machine.
        """
        if not self._checks:
            return
        done, _ = ray.wait(list(self._checks), num_returns=len(self._checks), timeout=timeout)
        late = deadline is not None and clock.running() >= deadline
        for check in list(self._checks) if late else done:
            node, probe = self._checks[check]
            seen = machine.take_answer(self._storage, probe)
            del self._checks[check]
            try:
                problem = _outcome(check) if check in done else f"no answer within {_TIMEOUT:g} seconds"
            except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
                continue  # the machine is gone, which `_update` handles
            if problem is None and not seen:
                problem = machine.not_shared_message(self._storage.absolute)
            if problem is not None:
                yield node, problem

    def _exclude(self, node: str, problem: str) -> None:
        if node in self._excluded:
            return
        self._notify(f"machine {self.name(node)} is left out: {problem}")
        shares = {"CPU": self._limits.cpus_per_trial, "GPU": self._limits.gpus_per_trial}
        share = {kind: float(amount) for kind, amount in shares.items() if amount}
        there = [n["Resources"] for n in ray.nodes() if n["NodeID"] == node and n["Alive"]]
        self._excluded[node] = [
            placement_group([share], bundle_label_selector=[{"ray.io/node-id": node}])
            for resources in there
            for _ in range(capacity(self._limits, resources))
        ]


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})"


def _outcome(check: ray.ObjectRef[Any]) -> str | None:
    try:
        found: str | None = ray.get(check)
    except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
        raise
    except Exception as error:
        # The last line names the error, most often a missing module such as rtune itself.
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return machine.import_failed_message(lines[-1] if lines else type(error).__name__)
    return found
