"""cluster.yaml is a valid `ray up` file, as far as Ray can say without credentials, and a bit more."""

from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).resolve().parent.parent / "cluster.yaml"


@pytest.fixture
def cluster() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_ray_refuses_a_broken_one(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    cluster["max_worker"] = 1
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(cluster))


def test_workers_are_gpu_spot_instances_from_zero_and_the_head_takes_no_trial(
    cluster: dict[str, Any],
) -> None:
    types = cluster["available_node_types"]
    assert types[cluster["head_node_type"]]["resources"] == {"CPU": 0, "GPU": 0}
    (worker,) = [kind for name, kind in types.items() if name != cluster["head_node_type"]]
    assert worker["min_workers"] == 0
    assert worker["max_workers"] > 0
    assert worker["resources"]["GPU"] > 0
    assert worker["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"


def test_keys_that_ray_passes_on_unchecked_are_aws_keys(cluster: dict[str, Any]) -> None:
    """`node_config` goes to EC2's RunInstances as it is; botocore knows what that takes."""
    import botocore.session

    service = botocore.session.get_session().get_service_model("ec2")
    known = set(service.operation_model("RunInstances").input_shape.members)
    for kind in cluster["available_node_types"].values():
        assert set(kind["node_config"]) <= known
        assert kind["node_config"]["InstanceType"] in service.shape_for("InstanceType").enum
    assert set(cluster["provider"]) <= {"type", "region", "availability_zone", "cache_stopped_nodes"}


def test_the_dashboard_stays_on_loopback(cluster: dict[str, Any]) -> None:
    assert any("--dashboard-host=127.0.0.1" in command for command in cluster["head_start_ray_commands"])
