"""How Ray's autoscaler chooses the type of the next machine: prefers types that are available.

`cluster.yaml` names `scorer` to Ray's autoscaler v1. Ray's own scorer ignores the record of failed launches
that it is given: without spot capacity it requests spot machines for ever, and no on-demand machine is
started. (Ray 2.60's autoscaler v2 does the same, and its choice cannot be configured.)
"""

from typing import Any

from ray.autoscaler._private.node_provider_availability_tracker import NodeAvailabilitySummary
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer


def scorer(
    node_resources: dict[str, Any],
    demands: list[dict[str, Any]],
    node_type: str,
    *,
    node_availability_summary: NodeAvailabilitySummary,
) -> tuple[Any, ...] | None:
    """Ray's score of a node type for the waiting demands, below all other types while its launches fail.

    Returns:
        Greater is better; None if no demand fits. Among equal scores Ray takes the last type by name.
    """
    score = _default_utilization_scorer(
        node_resources, demands, node_type, node_availability_summary=node_availability_summary
    )
    if score is None:
        return None
    record = node_availability_summary.node_availabilities.get(node_type)
    return (record is None or record.is_available, *score)
