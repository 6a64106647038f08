"""cluster.yaml and its roles taken to an AWS on this machine, through Ray's bootstrap to instances."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from tests.support.cluster.cluster_file import load
from tests.support.cluster.searches import TINY
from tests.support.command import Rtune
from tests.support.paths import ROOT
from tests.support.services import aws
from tests.support.services.s3 import closed_port
from tests.support.waiting import wait_for

pytestmark = pytest.mark.aws

REST = 10  # seconds before spot is tried again, here


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[aws.Cloud]:
    """With the roles of cluster-roles.yaml, as a user's account is before `ray up`."""
    with aws.serve(load()["provider"]["region"], tmp_path_factory.mktemp("home")) as cloud:
        cloud.client("cloudformation").create_stack(
            StackName="rtune",
            TemplateBody=(ROOT / "cluster-roles.yaml").read_text(),
            Parameters=[{"ParameterKey": "Bucket", "ParameterValue": "my-runs"}],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        cloud.client("s3").create_bucket(
            Bucket="my-runs", CreateBucketConfiguration={"LocationConstraint": cloud.region}
        )
        cloud.enforce()
        aws.forget()
        yield cloud
        aws.forget()


def _statements(iam: Any, role: str) -> list[dict[str, Any]]:
    """All that a role may do."""
    found = []
    for policy in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
        arn = policy["PolicyArn"]
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
        found += document["Statement"]
    return found


def test_workers_can_only_use_the_bucket_and_the_head_can_pass_their_role(cloud: aws.Cloud) -> None:
    iam = cloud.client("iam")
    for name in ("rtune-head", "rtune-worker"):
        profile = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        (role,) = profile["Roles"]
        assert role["RoleName"] == name
        (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert trusted["Principal"] == {"Service": "ec2.amazonaws.com"}
    worker, head = _statements(iam, "rtune-worker"), _statements(iam, "rtune-head")
    assert {s["Resource"] for s in worker} == {"arn:aws:s3:::my-runs", "arn:aws:s3:::my-runs/*"}
    assert all(action.startswith("s3:") for s in worker for action in s["Action"])
    assert all(statement in head for statement in worker)
    (passing,) = (s for s in head if s["Action"] == "iam:PassRole")
    assert passing["Resource"] == iam.get_role(RoleName="rtune-worker")["Role"]["Arn"]


def test_a_worker_can_start_no_machine(cloud: aws.Cloud) -> None:
    with mock.patch.dict(os.environ, cloud.as_role("rtune-worker")):
        ec2 = cloud.client("ec2")
    with pytest.raises(ec2.exceptions.ClientError, match="not authorized"):
        ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)


@pytest.fixture(scope="module")
def cluster(cloud: aws.Cloud) -> dict[str, Any]:
    """cluster.yaml as `ray up` resolves it: network, key, security group."""
    from ray.autoscaler._private.commands import _bootstrap_config
    from ray.autoscaler._private.util import prepare_config

    found: dict[str, Any] = _bootstrap_config(prepare_config(load()), no_config_cache=True)
    return found


def _create(cluster: dict[str, Any], kind: str) -> None:
    """As `ray up` makes the head and the autoscaler a worker."""
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    is_head = kind == cluster["head_node_type"]
    config = {
        **cluster["available_node_types"][kind]["node_config"],
        **(cluster["head_node"] if is_head else {}),
    }
    tags = {
        "ray-node-type": "head" if is_head else "worker",
        "ray-user-node-type": kind,
        "ray-node-name": f"ray-rtune-{kind}",
        "ray-node-status": "up-to-date",
        "ray-launch-config": "hash",
    }
    AWSNodeProvider(cluster["provider"], cluster["cluster_name"]).create_node(config, tags, 1)


def test_started_instances_agree_with_the_cluster_file(cloud: aws.Cloud, cluster: dict[str, Any]) -> None:
    for kind in ("head", "gpu_spot", "gpu_on_demand"):
        _create(cluster, kind)
    found = {instance["tags"]["ray-user-node-type"]: instance for instance in cloud.instances()}
    assert found.keys() == {"head", "gpu_spot", "gpu_on_demand"}
    groups = set()
    for kind, instance in found.items():
        assert instance["InstanceType"] == ("m5.xlarge" if kind == "head" else "g5.xlarge")
        assert instance.get("InstanceLifecycle") == ("spot" if kind == "gpu_spot" else None)
        profile = "rtune-head" if kind == "head" else "rtune-worker"
        assert instance["IamInstanceProfile"]["Arn"].endswith(f":instance-profile/{profile}")
        assert instance["KeyName"] == "ray-autoscaler_us-west-2"
        assert instance["tags"]["ray-cluster-name"] == "rtune"
        assert instance["tags"]["Name"] == f"ray-rtune-{kind}"
        assert instance["PublicIpAddress"]
        groups |= {group["GroupId"] for group in instance["SecurityGroups"]}
        (volume,) = cloud.client("ec2").describe_volumes(
            VolumeIds=[mapping["Ebs"]["VolumeId"] for mapping in instance["BlockDeviceMappings"]]
        )["Volumes"]
        assert (volume["Size"], volume["VolumeType"]) == (100 if kind == "head" else 150, "gp3")
    key = Path(os.environ["HOME"], ".ssh", "ray-autoscaler_us-west-2.pem")
    assert key.stat().st_mode & 0o777 == 0o600

    (group,) = cloud.client("ec2").describe_security_groups(GroupIds=sorted(groups))["SecurityGroups"]
    outside = [rule for rule in group["IpPermissions"] if rule["IpRanges"] or rule.get("Ipv6Ranges")]
    assert [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in outside] == [("tcp", 22, 22)]
    inside = [rule for rule in group["IpPermissions"] if rule not in outside]
    assert [p["GroupId"] for rule in inside for p in rule["UserIdGroupPairs"]] == [group["GroupId"]]


def _kill(process: "subprocess.Popen[Any]") -> None:
    """Ends a `ray start --block` and what it started; `ray stop` would end every Ray of this machine."""
    started = psutil.Process(process.pid)
    for one in [*started.children(recursive=True), started]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


@pytest.fixture
def head(cloud: aws.Cloud, cluster: dict[str, Any], tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A real head with Ray's real autoscaler, by cluster.yaml's own command; address and log folder."""
    for instance in cloud.instances():
        cloud.client("ec2").terminate_instances(InstanceIds=[instance["InstanceId"]])
    _create(cluster, "head")
    home = Path(os.environ["HOME"])
    (home / "venv" / "bin").mkdir(parents=True, exist_ok=True)
    (home / "venv" / "bin" / "ray").write_text(
        f'#!/bin/sh\nexec {sys.executable} -m ray.scripts.scripts "$@"\n'
    )
    (home / "venv" / "bin" / "ray").chmod(0o755)
    (home / ".ray").mkdir(exist_ok=True)
    (home / ".ray" / "auth_token").write_text("a-token-of-this-test-which-is-long-enough")
    bootstrap = {key: value for key, value in cluster.items() if key != "head_node"}
    bootstrap["file_mounts"] = {}
    bootstrap["provider"] = {
        **cluster["provider"],
        "disable_node_updaters": True,
    }  # nobody is there to ssh to
    (home / "ray_bootstrap_config.yaml").write_text(json.dumps(bootstrap))

    port, place = closed_port(), f"/tmp/rt{os.getpid()}"
    command = cluster["head_start_ray_commands"][-1].replace("--port=6379", f"--port={port}")
    command += f" --temp-dir={place} --block --include-dashboard=false"
    hurry = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_NODE_AVAILABILITY_MAX_STALENESS_S": str(REST),
    }
    process = subprocess.Popen(
        ["bash", "-c", f"export RAY_enable_autoscaler_v2=1; {command}"],
        env={**os.environ, **cloud.as_role("rtune-head"), **hurry, "PYTHONPATH": str(ROOT)},
        stdout=(tmp_path / "head.log").open("w"), stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    yield f"127.0.0.1:{port}", Path(place)
    _kill(process)
    shutil.rmtree(place)


def _workers(cloud: aws.Cloud) -> list[str]:
    """Node types of the workers there are."""
    kinds = (i["tags"]["ray-user-node-type"] for i in cloud.instances())
    return sorted(kind for kind in kinds if kind != "head")


_WAITS = """
import ray, sys
ray.init(address=sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=1, num_gpus=1)
def trial(): pass
ray.get(trial.remote())
"""


def _driver(address: str, token: Path | None = None) -> "subprocess.Popen[str]":
    """A process whose trial waits for a GPU; by default with the token in its home."""
    path = {} if token is None else {"RAY_AUTH_TOKEN_PATH": str(token)}
    return subprocess.Popen(
        [sys.executable, "-c", _WAITS, address],
        env={**os.environ, "RAY_AUTH_MODE": "token", **path},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long
def test_waiting_trials_start_spot_workers_or_on_demand_without_spot_capacity(
    cloud: aws.Cloud, head: tuple[str, Path], tmp_path: Path
) -> None:
    address, logs = head
    drivers = [_driver(address)]
    try:
        wait_for(lambda: _workers(cloud) == ["gpu_spot"])
        cloud.spot(False)
        drivers.append(_driver(address))
        wait_for(lambda: _workers(cloud) == ["gpu_on_demand", "gpu_spot"])
        cloud.spot(True)
        time.sleep(REST + 2)
        drivers.append(_driver(address))
        wait_for(lambda: _workers(cloud) == ["gpu_on_demand", "gpu_spot", "gpu_spot"])

        # A worker by cluster.yaml's command, with what Ray tells it about itself: the trials run at last.
        start = load()["worker_start_ray_commands"][-1].replace(":6379", f":{address.partition(':')[2]}")
        worker = subprocess.Popen(
            ["bash", "-c", f"export RAY_HEAD_IP=127.0.0.1; {start} --block"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "RAY_OVERRIDE_RESOURCES": '{"CPU": 4, "GPU": 1}'},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            for driver in drivers:
                _, told = driver.communicate(timeout=120)
                assert driver.returncode == 0, told
        finally:
            _kill(worker)

        (tmp_path / "token").write_text("another-token-which-is-as-long-as-the-right-one")
        stranger = _driver(address, tmp_path / "token")
        drivers.append(stranger)
        assert "AuthenticationError" in stranger.communicate(timeout=120)[1]
        assert stranger.returncode == 1
    except Exception:
        print((logs / "session_latest" / "logs" / "monitor.log").read_text()[-9000:])
        raise
    finally:
        for driver in drivers:
            driver.kill()
            driver.communicate()


@pytest.mark.long
def test_a_worker_s_rights_are_enough_for_a_run_in_the_bucket(cloud: aws.Cloud, rtune: Rtune) -> None:
    """A whole search, as a machine that may do no more."""
    with mock.patch.dict(os.environ, cloud.as_role("rtune-worker")):
        done = rtune(
            "search", "digits", "--runs", "s3://my-runs/runs", "--name", "first", "--trials", "1",
            "--max-epochs", "2", "--set", "points=[]", *TINY,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kept = cloud.client("s3").list_objects_v2(Bucket="my-runs", Prefix="runs/first/")["Contents"]
    assert {"runs/first/search.yaml", "runs/first/report/index.html"} <= {item["Key"] for item in kept}
    with mock.patch.dict(os.environ, cloud.as_role("rtune-worker")):
        elsewhere = rtune("search", "digits", "--runs", "s3://another/runs", "--name", "first")
    assert elsewhere.returncode == 2
