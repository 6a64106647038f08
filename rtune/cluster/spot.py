"""How Ray's autoscaler picks the next machine of a cluster: one that can be had.

`cluster.yaml` names `scorer` to Ray's autoscaler v1. Ray's own scorer is given what launches have failed of
late and does not look: where there is no spot capacity it asks for spot for ever, and no on-demand
machine comes. (Ray 2.60's autoscaler v2 does the same, and cannot be told otherwise.)
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
    """Ray's score of a node type for what waits, below all others while its launches fail.

    Returns:
        Greater is better; None where nothing that waits fits. Of equals Ray takes the last by name.
    """
    score = _default_utilization_scorer(
        node_resources, demands, node_type, node_availability_summary=node_availability_summary
    )
    if score is None:
        return None
    record = node_availability_summary.node_availabilities.get(node_type)
    return (record is None or record.is_available, *score)
