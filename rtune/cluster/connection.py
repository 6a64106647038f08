"""Connects to a Ray cluster, or starts one on this machine, and tells its resources."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_exists
from ray.job_config import JobConfig

from rtune.cluster import SETTINGS, resources
from rtune.cluster.resources import Room
from rtune.cluster.start import local_ray
from rtune.errors import ResourceError, StartError


@contextlib.contextmanager
def connect(address: str | None) -> Iterator[None]:
    """Context in which the Ray cluster at `address` is connected; None starts one on this machine.

    Raises:
        ResourceError: there is no cluster at the address, or this machine lacks what Ray needs.
        StartError: Ray did not start on this machine.
    """
    with contextlib.ExitStack() as stack:
        # Before Ray connects, so that it ends after Ray has.
        folder = stack.enter_context(local_ray.prepared()) if address is None else None
        stack.callback(ray.shutdown)
        if folder is not None:
            _start(folder)
        else:
            _join(address)
        yield


def _start(folder: Path) -> None:
    """Starts Ray on this machine, with its files in `folder`."""
    (here,) = resources.local().nodes
    try:
        ray.init(
            address="local",  # without it Ray would join any cluster that it finds on this machine
            num_cpus=int(here["CPU"]),
            num_gpus=int(here["GPU"]),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=256 * 1024**2,
            _temp_dir=str(folder),
            job_config=_same_search_path(),
        )
    except Exception as error:
        logs = [str(found / "logs") for found in folder.glob(f"session_*_{os.getpid()}")]
        raise StartError(
            f"Ray could not be started on this machine: {_reason(error)}"
            + (f"; its logs are in {logs[-1]}" if logs else "")
            + (f"; the environment sets {', '.join(SETTINGS)}" if SETTINGS else "")
        ) from None


def _join(address: str | None) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        reason = _reason(error)
        remedy = "; install the same versions on both" if reason.startswith("Version mismatch") else ""
        raise ResourceError(f"no Ray cluster can be used at {address}: {reason}{remedy}") from None


def _reason(error: Exception) -> str:
    """Ray's words in one line, 300 characters at most."""
    return (" ".join(str(error).split()) or type(error).__name__)[:300].rstrip(".")


def _same_search_path() -> JobConfig:
    """Makes this machine's workers look for modules where this process does, in the same order.

    Ray would put the working directory first: a `random.py` there would replace that of the standard library.
    `_client_job` has no other effect.
    """
    return JobConfig(_client_job=True, _py_driver_sys_path=sys.path[::-1])  # each is put before the others


def room() -> Room:
    """Where trials can run on the connected cluster."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    config = _autoscaler_config()
    if config is None:
        return Room(nodes, may_grow=_has_kuberay_autoscaler())
    to_come, grows = resources.to_come(config, len(nodes))
    return Room(nodes, to_come=to_come, may_grow=grows)


def _autoscaler_config() -> dict[str, Any] | None:
    """The `ray up` file of this cluster's autoscaler; None if no autoscaler runs on this machine."""
    head = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    option = "--autoscaling-config="
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        files = [argument.removeprefix(option) for argument in arguments if argument.startswith(option)]
        if files and head in arguments:
            with contextlib.suppress(OSError, yaml.YAMLError):
                found: dict[str, Any] = yaml.safe_load(Path(files[0]).expanduser().read_text())
                return found
    return None


def _has_kuberay_autoscaler() -> bool:
    """Whether KubeRay's autoscaler may add machines; it and its file are in a container of their own.

    Its head starts without Ray's own monitor, which elsewhere writes the same key.
    """
    return "RAY_CLUSTER_NAME" in os.environ and (
        is_autoscaler_v2() or _internal_kv_exists(b"__autoscaling_status")
    )
