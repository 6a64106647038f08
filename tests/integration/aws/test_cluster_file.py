"""cluster.yaml is right as far as Ray can say without credentials, and where Ray does not look."""

import copy
import functools
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster.cluster_file import Cluster, load
from tests.support.paths import ROOT


def problems(cluster: Cluster) -> Iterator[str]:
    """What Ray refuses, and what it would only find out about from AWS, or never."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(copy.deepcopy(cluster)))
    except Exception as error:
        yield f"Ray: {error}"
    yield from _provider(cluster["provider"])
    for name, kind in cluster["available_node_types"].items():
        for problem in [*_launch(kind["node_config"]), *_hardware(kind)]:
            yield f"{name}: {problem}"
    for mount in cluster["file_mounts"].values():
        if not (ROOT / mount).exists() and not mount.startswith("~"):
            yield f"{mount} is not there"


@functools.cache
def _botocore() -> Any:
    import botocore.session

    return botocore.session.get_session()


@functools.cache
def _machines() -> dict[str, Any]:
    """AWS's answers to DescribeInstanceTypes, as moto keeps them, by instance type."""
    import moto

    with gzip.open(Path(moto.__file__).parent / "ec2" / "resources" / "instance_types.json.gz") as file:
        found: dict[str, Any] = json.load(file)
    return found


def _provider(provider: dict[str, Any]) -> Iterator[str]:
    """Ray passes whatever stands here on; the keys that mean something are those that its code reads."""
    import ray.autoscaler

    code = Path(ray.autoscaler.__file__).parent / "_private"
    files = [*(code / "aws").glob("*.py"), *(code / f"{name}.py" for name in ("autoscaler", "updater"))]
    read = re.compile(r'(?:provider_config|\["provider"\])(?:\[|\.get\(\s*)"(\w+)"')
    known = {"type", *(key for file in files for key in read.findall(file.read_text()))}
    for key in sorted(provider.keys() - known):
        yield f"the AWS provider does not know {key}"
    if provider["region"] not in _botocore().get_available_regions("ec2"):
        yield f"there is no region {provider['region']}"


def _launch(node_config: dict[str, Any]) -> Iterator[str]:
    """`node_config` goes to EC2's RunInstances as it stands, with what Ray adds."""
    from botocore.validate import ParamValidator

    shape = _botocore().get_service_model("ec2").operation_model("RunInstances").input_shape
    request = {"MinCount": 1, "MaxCount": 1, **node_config}
    if (report := ParamValidator().validate(request, shape)).has_errors():
        yield report.generate_report()
    yield from _not_listed(node_config, shape, "node_config")


def _not_listed(value: Any, shape: Any, path: str) -> Iterator[str]:
    """Words that are none of AWS's list for their place; botocore itself leaves that to the server."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for key in value.keys() & shape.members.keys():
            yield from _not_listed(value[key], shape.members[key], f"{path}.{key}")
    elif shape.type_name == "list" and isinstance(value, list):
        for item in value:
            yield from _not_listed(item, shape.member, path)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{path}: {value}"


def _hardware(kind: dict[str, Any]) -> Iterator[str]:
    """What Ray is promised is what the instance type has, or nothing."""
    machine = _machines().get(kind["node_config"].get("InstanceType"))
    if machine is None:
        return
    gpus = sum(gpu["Count"] for gpu in machine.get("GpuInfo", {}).get("Gpus", []))
    have = {"CPU": machine["VCpuInfo"]["DefaultVCpus"], "GPU": gpus}
    for resource, promised in kind["resources"].items():
        if promised not in (0, have[resource]):
            yield f"{promised} {resource}, the machine has {have[resource]}"


def test_cluster_file_has_no_problems() -> None:
    assert list(problems(load())) == []


def _set(path: str, value: Any) -> Callable[[Cluster], None]:
    def change(cluster: Cluster) -> None:
        *outer, last = path.split()
        for key in outer:
            cluster = cluster[int(key) if key.isdigit() else key]
        cluster[last] = value

    return change


_SPOT = "available_node_types gpu_spot"
_SPOT_NODE = f"{_SPOT} node_config"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_set("max_worker", 1), "max_worker"),
        (_set("head_node_type", "haed"), "head_node_type"),
        (_set(f"{_SPOT} max_worker", 1), "max_worker"),
        (_set(f"{_SPOT} resources GPU", 0.5), "0.5"),
        (_set("provider type", "aws2"), "aws2"),
        (_set("provider regoin", "us-west-2"), "does not know regoin"),
        (_set("provider region", "us-west-9"), "no region us-west-9"),
        (_set("provider cache_stopped_node", False), "does not know cache_stopped_node"),
        (_set("provider security_group", {"GroupNam": "x"}), "GroupNam"),
        (_set(f"{_SPOT_NODE} InstanceTyp", "g5.xlarge"), "InstanceTyp"),
        (_set(f"{_SPOT_NODE} InstanceType", "g5.xlarg"), "g5.xlarg"),
        (_set(f"{_SPOT_NODE} InstanceType", "g5.2xlarge"), "4 CPU, the machine has 8"),
        (_set(f"{_SPOT_NODE} InstanceType", "m5.xlarge"), "1 GPU, the machine has 0"),
        (_set(f"{_SPOT_NODE} InstanceMarketOptions MarketTyp", "spot"), "MarketTyp"),
        (_set(f"{_SPOT_NODE} InstanceMarketOptions MarketType", "spott"), "spott"),
        (_set(f"{_SPOT_NODE} IamInstanceProfile Nam", "x"), "Nam"),
        (_set(f"{_SPOT_NODE} BlockDeviceMappings 0 Ebs VolumeSiz", 1), "VolumeSiz"),
        (_set(f"{_SPOT_NODE} BlockDeviceMappings 0 Ebs VolumeSize", "150"), "VolumeSize"),
        (_set(f"{_SPOT_NODE} BlockDeviceMappings 0 Ebs VolumeType", "gp33"), "gp33"),
        (_set(f"{_SPOT} resources GPU", 2), "2 GPU, the machine has 1"),
        (_set("file_mounts ~/rtune/rtune", "rtun"), "rtun is not there"),
    ],
)
def test_each_mistake_in_the_cluster_file_is_found(change: Callable[[Cluster], None], told: str) -> None:
    cluster = copy.deepcopy(load())
    change(cluster)
    assert told in "\n".join(problems(cluster))


def test_workers_are_spot_or_on_demand_gpu_machines_and_the_head_runs_no_trial() -> None:
    cluster = load()
    types = cluster["available_node_types"]
    head, spot, other = (types[name] for name in ("head", "gpu_spot", "gpu_on_demand"))
    assert cluster["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert "max_workers" not in head
    assert spot["node_config"].pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot == other
    assert spot["min_workers"] == 0
    assert spot["max_workers"] == cluster["max_workers"] > 0


def test_copied_files_are_enough_to_run_rtune(tmp_path: Path) -> None:
    mounts = load()["file_mounts"]
    assert mounts.pop("~/.ray/auth_token") == "~/.ray/auth_token"
    for there, here in mounts.items():
        target = tmp_path / there.removeprefix("~/rtune/")
        if (ROOT / here).is_dir():
            shutil.copytree(ROOT / here, target)
        else:
            shutil.copy(ROOT / here, target)
    listed = subprocess.run(
        [sys.executable, "-c", "import analysis.report.write, rtune.cli.app; rtune.cli.app.main(['spaces'])"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "digits" in listed.stdout, listed.stderr
    assert {"pyproject.toml", "constraints.txt"} <= {path.name for path in tmp_path.iterdir()}
    assert not {".venv", ".git", "runs"} & {path.name for path in tmp_path.iterdir()}


def _run(commands: list[str], home: Path, before: str = "") -> str:
    """Runs commands as Ray does on a node, with a `ray` and a `uv` that tell how they were called."""
    shown = '#!/bin/sh\necho "$(basename $0) $*"\nenv | grep "^RAY_" | sort\n'
    for stub in (home / "venv" / "bin" / "ray", home / ".local" / "bin" / "uv"):
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text(shown)
        stub.chmod(0o755)
    (home / ".bashrc").touch()
    told = ""
    for command in commands:
        done = subprocess.run(
            ["bash", "--login", "-c", "-i", f"source ~/.bashrc; {before}{command}"],
            env={"HOME": str(home), "PATH": os.environ["PATH"], "RAY_HEAD_IP": "10.0.0.1"},
            capture_output=True, text=True, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told += done.stdout
    return told


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node's home, after its files came."""
    (tmp_path / "rtune").mkdir()
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    return tmp_path


def test_setup_installs_pinned_versions_and_can_be_repeated(node: Path) -> None:
    commands = load()["setup_commands"]
    first, before = _run(commands, node), (node / ".bashrc").read_text()
    assert "pip install --python " in first
    assert " -c constraints.txt -e .[aws]" in first  # without boto3 the head could start no worker
    _run(commands, node)
    assert (node / ".bashrc").read_text() == before
    assert (node / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


def test_every_ray_command_on_a_node_and_its_login_shell_use_the_token(node: Path) -> None:
    cluster = load()
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        for command in commands:
            assert "RAY_AUTH_MODE=token\n" in _run([command], node)
    _run(cluster["setup_commands"], node)
    shell = _run(["command -v ray; env"], node)
    assert f"{node}/venv/bin/ray\n" in shell
    assert "RAY_AUTH_MODE=token\n" in shell


def test_head_listens_on_loopback_and_uses_autoscaler_v1(node: Path) -> None:
    told = _run(load()["head_start_ray_commands"], node, before="export RAY_enable_autoscaler_v2=1; ")
    assert "ray start --head --port=6379 --dashboard-host=127.0.0.1 --autoscaling-config=" in told
    assert "RAY_enable_autoscaler_v2=0\n" in told.partition("ray start")[2]
    worker = _run(load()["worker_start_ray_commands"], node)
    assert "ray start --address=10.0.0.1:6379\n" in worker


def test_commands_in_the_guide_are_valid() -> None:
    from click.testing import CliRunner

    from rtune.cli.app import main

    guide = (ROOT / "docs" / "aws.md").read_text()
    found = re.findall(r"rtune (search|resume|status|report)\b((?:\\\n|[^'`#\n])*)", guide)
    assert {command for command, _ in found} == {"search", "resume", "status", "report"}
    for command, rest in found:
        helped = CliRunner().invoke(main, [command, "--help"]).output
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in helped, (command, option)
