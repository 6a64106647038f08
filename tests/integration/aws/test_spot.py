"""Spot machines first, on-demand ones while there are none, as Ray's own scheduler decides."""

import logging
import time
from typing import Any

import pytest

from tests.support.cluster.cluster_file import load

SPOT, ON_DEMAND = "gpu_spot", "gpu_on_demand"
WAITING = [{"CPU": 1.0, "GPU": 0.25}] * 4  # four trials


class Cloud:
    """A provider with a head and nothing else, which has no machine of the types in `empty`."""

    def __init__(self) -> None:
        self.empty: set[str] = set()

    def node_tags(self, node: str) -> dict[str, str]:
        return {"ray-node-type": "head", "ray-user-node-type": "head"}

    def internal_ip(self, node: str) -> str:
        return "10.0.0.1"

    def create_node_with_resources_and_labels(
        self, config: Any, tags: dict[str, str], count: int, resources: Any, labels: Any
    ) -> dict[str, Any]:
        from ray.autoscaler.node_launch_exception import NodeLaunchException

        if tags["ray-user-node-type"] in self.empty:
            raise NodeLaunchException("InsufficientInstanceCapacity", "none left", None)
        return {}


class Autoscaler:
    """What Ray's autoscaler v1 does for trials that wait, on a clock of one's own."""

    def __init__(self) -> None:
        from ray.autoscaler._private.constants import AUTOSCALER_NODE_AVAILABILITY_MAX_STALENESS_S
        from ray.autoscaler._private.event_summarizer import EventSummarizer
        from ray.autoscaler._private.node_launcher import BaseNodeLauncher
        from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
        from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
        from ray.autoscaler._private.util import ConcurrentCounter, prepare_config

        self.cloud, self.later = Cloud(), 0.0
        self.rest = AUTOSCALER_NODE_AVAILABILITY_MAX_STALENESS_S
        self._config = prepare_config(load())
        self._tracker = NodeProviderAvailabilityTracker(lambda: time.time() + self.later, self.rest)
        self._pending = ConcurrentCounter()
        self._launcher = BaseNodeLauncher(
            self.cloud, self._pending, EventSummarizer(), self._tracker,
            session_name="test", node_types=self._config["available_node_types"],
        )  # fmt: skip
        self._scheduler = ResourceDemandScheduler(
            self.cloud, self._config["available_node_types"], 8, "head", upscaling_speed=1
        )

    def plan(self, waiting: list[dict[str, float]] = WAITING) -> dict[str, int]:
        nodes, _ = self._scheduler.get_nodes_to_launch(
            ["the head"], {}, waiting, {"10.0.0.1": {"CPU": 0, "GPU": 0}}, [], {}, [], self._tracker.summary()
        )
        return dict(nodes)

    def launch(self) -> dict[str, int]:
        """Plans and tries it."""
        planned = self.plan()
        for kind, count in planned.items():
            self._pending.inc(kind, count)
            self._launcher.launch_node(self._config, count, kind)
        return planned


@pytest.fixture
def autoscaler(monkeypatch: pytest.MonkeyPatch) -> Autoscaler:
    """With the scorer that cluster.yaml names."""
    start = load()["head_start_ray_commands"][-1]
    words = dict(word.split("=", 1) for word in start.split() if word.startswith("RAY_"))
    monkeypatch.setenv("RAY_AUTOSCALER_UTILIZATION_SCORER", words["RAY_AUTOSCALER_UTILIZATION_SCORER"])
    monkeypatch.setattr(logging.getLogger("ray.autoscaler._private.node_launcher"), "disabled", True)
    return Autoscaler()


def test_spot_is_used_while_available(autoscaler: Autoscaler) -> None:
    assert autoscaler.launch() == {SPOT: 1}
    assert autoscaler.launch() == {SPOT: 1}  # a success changes nothing


def test_on_demand_follows_a_failed_spot_launch_and_spot_is_tried_again_later(autoscaler: Autoscaler) -> None:
    autoscaler.cloud.empty = {SPOT}
    assert autoscaler.launch() == {SPOT: 1}
    assert autoscaler.launch() == {ON_DEMAND: 1}
    autoscaler.later = autoscaler.rest - 60
    assert autoscaler.launch() == {ON_DEMAND: 1}
    autoscaler.later = autoscaler.rest + 60
    assert autoscaler.plan() == {SPOT: 1}
    autoscaler.cloud.empty = set()
    assert autoscaler.launch() == autoscaler.launch() == {SPOT: 1}


def test_without_capacity_spot_and_on_demand_are_tried_alternately(autoscaler: Autoscaler) -> None:
    autoscaler.cloud.empty = {SPOT, ON_DEMAND}
    assert [autoscaler.launch() for _ in range(3)] == [{SPOT: 1}, {ON_DEMAND: 1}, {SPOT: 1}]


def test_demand_that_fits_no_machine_starts_none(autoscaler: Autoscaler) -> None:
    assert autoscaler.plan([{"GPU": 2.0}]) == {}
    assert autoscaler.plan([]) == {}


def test_ray_without_the_scorer_asks_for_spot_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why there is a scorer. If this fails, Ray has learnt it, and the scorer can go."""
    monkeypatch.delenv("RAY_AUTOSCALER_UTILIZATION_SCORER", raising=False)
    alone = Autoscaler()
    alone.cloud.empty = {SPOT}
    assert [alone.launch() for _ in range(4)] == [{SPOT: 1}] * 4


def test_autoscaler_v2_does_not_avoid_a_refused_type() -> None:
    """Why the head starts v1: v2 lowers a type's place after a time-out, not after a refused launch."""
    from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import CloudResourceMonitor
    from ray.core.generated.instance_manager_pb2 import Instance, InstanceUpdateEvent

    def scores(status: Any) -> dict[str, float]:
        monitor = CloudResourceMonitor()
        monitor.notify([InstanceUpdateEvent(instance_type=SPOT, new_instance_status=status)])
        found: dict[str, float] = monitor.get_recoverable_resource_availabilities()
        return found

    assert scores(Instance.ALLOCATION_TIMEOUT) == {SPOT: 0.0}
    assert scores(Instance.ALLOCATION_FAILED) == {}
