"""What may be wrong with the manifests in clusters/kubernetes, in words; nothing if all is well."""

import json
import re
import shlex
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import click
import jsonschema
import yaml

from rtune import __version__
from rtune.cli.app import main
from rtune.cluster import resources
from rtune.config import spaces, spec
from rtune.errors import SpecError
from rtune.search.limits import Limits
from tests.support.paths import ROOT

FOLDER = ROOT / "clusters" / "kubernetes"
SCHEMA = json.loads((ROOT / "tests" / "support" / "kuberay" / "schema.json").read_text())
RAY = re.findall(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[0]
UNITS = {"": Decimal(1), "m": Decimal("0.001"), "Mi": Decimal(2**20), "Gi": Decimal(2**30)}
SECRET = re.compile("key|secret|token|password", re.IGNORECASE)


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def problems(document: dict[str, Any]) -> list[str]:
    """What the API server, the operator, Ray or rtune would refuse, or what a careful person would."""
    found = list(against_schema(document))
    if found or document["kind"] == "ServiceAccount":
        return found
    spec_ = document["spec"]
    is_job = document["kind"] == "RayJob"
    found = list(_cluster(spec_["rayClusterSpec"] if is_job else spec_))
    return found or (list(_job(spec_)) if is_job else [])


def against_schema(document: dict[str, Any]) -> Iterator[str]:
    """Unknown fields, wrong types, missing fields, as KubeRay's CRDs and Kubernetes have them."""
    kind = document.get("kind")
    name = kind if kind in SCHEMA["$defs"] else f"core.{kind}"
    if name not in SCHEMA["$defs"]:
        yield f"kind {kind!r} is unknown"
        return
    validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", **SCHEMA})
    for error in validator.iter_errors(document):
        yield f"{error.json_path}: {error.message}"


def derived(cluster: dict[str, Any]) -> dict[str, Any]:
    """What Ray's own autoscaler makes of a cluster: node types with their resources and numbers."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    metadata = {"name": "rtune", "namespace": "default"}
    found: dict[str, Any] = _derive_autoscaling_config_from_ray_cr({"metadata": metadata, "spec": cluster})
    return found


def options(entrypoint: str) -> dict[str, Any]:
    """The options of an rtune command, read by rtune's own command line.

    Raises:
        click.ClickException: rtune would not take them.
    """
    program, name, *arguments = shlex.split(entrypoint)
    if program != "rtune" or name not in main.commands:
        raise click.ClickException(f"{program} {name} is no rtune command")
    command = main.commands[name]
    return {"command": name, **command.make_context(name, arguments).params}


def _cluster(cluster: dict[str, Any]) -> Iterator[str]:
    head, workers = cluster["headGroupSpec"], cluster.get("workerGroupSpecs", [])
    if cluster.get("rayVersion") != RAY:
        yield f"rayVersion is not the {RAY} of constraints.txt"
    if cluster.get("authOptions", {}).get("mode") != "token":
        yield "anyone in the cluster may run code: no token"
    if not cluster.get("enableInTreeAutoscaling"):
        yield "no autoscaler brings workers"
    if head.get("serviceType") != "ClusterIP" or head.get("enableIngress") is not False:
        yield "the dashboard may be reached from outside"
    for group in workers:
        if not group["minReplicas"] == 0 <= group.get("replicas", 0) <= group["maxReplicas"]:
            yield f"{group['groupName']} does not start from zero"
    for group in [head, *workers]:
        yield from _pod(group["template"]["spec"])
    try:
        types = derived(cluster)["available_node_types"]
    except ValueError as error:
        yield f"Ray's autoscaler refuses it: {error}"
        return
    if (at_head := types["headgroup"]["resources"])["CPU"] or at_head.get("GPU"):
        yield "trials would run on the head"
    if not any(kind["resources"].get("GPU") for name, kind in types.items() if name != "headgroup"):
        yield "no worker has a GPU"


def _pod(pod: dict[str, Any]) -> Iterator[str]:
    if not pod.get("securityContext", {}).get("runAsNonRoot"):
        yield "the pod may run as root"
    if pod.get("restartPolicy", "Never") != "Never":
        yield "the operator refuses this restartPolicy with its autoscaler v2"
    for container in pod["containers"]:
        if not container["image"].endswith(f":{__version__}-ray{RAY}"):
            yield f"the image is not that of rtune {__version__} with Ray {RAY}"
        if container.get("securityContext", {}).get("allowPrivilegeEscalation") is not False:
            yield "the container may become root"
        for variable in container.get("env", []):
            if SECRET.search(variable["name"]) and "value" in variable:
                yield f"{variable['name']} is written down here"
        room = container.get("resources", {})
        wanted, most = room.get("requests", {}), room.get("limits", {})
        if not wanted or _numbers(wanted) != _numbers(most):
            yield "requests differ from limits"
        tolerated = {row.get("key") for row in pod.get("tolerations", [])}
        if "nvidia.com/gpu" in most and "nvidia.com/gpu" not in tolerated:
            yield "GPU nodes turn the pod away"


def _job(job: dict[str, Any]) -> Iterator[str]:
    if job.get("ttlSecondsAfterFinished") and not job.get("shutdownAfterJobFinishes"):
        yield "the operator refuses a time to live without shutdownAfterJobFinishes"
    if not job.get("shutdownAfterJobFinishes"):
        yield "the cluster would stay"
    try:
        asked = options(job["entrypoint"])
    except click.ClickException as error:
        yield f"rtune refuses the entrypoint: {error.format_message()}"
        return
    if asked["address"] != "auto":
        yield "the search would not run on the cluster"
    if not asked["runs"].startswith("s3://"):
        yield "the run would be lost with the cluster"
    if asked["command"] == "search":
        if job.get("backoffLimit") != 0 and asked["name"]:
            yield "a second try would be refused: the run exists"
        try:
            spec.load(spaces.find(asked["space"]))
        except SpecError as error:
            yield f"rtune refuses the space: {error}"
    yield from _fits(job["rayClusterSpec"], asked)


def _fits(cluster: dict[str, Any], asked: dict[str, Any]) -> Iterator[str]:
    """Whether --concurrency uses all workers, and no more: the autoscaler brings what trials wait for."""
    types = derived(cluster)["available_node_types"]
    nodes = [kind["resources"] for kind in types.values() for _ in range(kind["max_workers"])]
    limits = Limits(1, 1, None, None, 1, asked["gpus_per_trial"] or 0, 0, 1.0)
    if (most := sum(resources.capacity(limits, node) for node in nodes)) != asked["concurrency"]:
        yield f"--concurrency is {asked['concurrency']}, but {most} trials fit"


def _numbers(quantities: dict[str, str | int]) -> dict[str, Decimal]:
    found = {}
    for name, quantity in quantities.items():
        digits, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity)).groups()  # type: ignore[union-attr]
        found[name] = Decimal(digits) * UNITS[unit]
    return found
