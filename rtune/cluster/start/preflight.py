"""Checks within seconds whether Ray can be used; Ray itself tries for minutes, or ends this process."""

import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping

import psutil

from rtune.cluster import SETTINGS
from rtune.errors import ResourceError

_TIMEOUT = 5.0


def check_environment() -> None:
    """Checks what every launch needs, before Ray is imported.

    Raises:
        ResourceError: there is no folder for temporary files, or a setting of Ray has a value that it cannot
            read: Ray would end this process with a segmentation fault.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ResourceError(f"{error.strerror}; set TMPDIR to a folder that can be written") from None
    settings = [name for name in SETTINGS if re.match("RAY_[a-z]", name)]
    if not settings or _can_import_ray(os.environ):
        return
    others = {name: value for name, value in os.environ.items() if name not in settings}
    wrong = [name for name in settings if not _can_import_ray(others | {name: os.environ[name]})]
    raise ResourceError(
        f"Ray cannot read {', '.join(f'{name}={os.environ[name]}' for name in wrong or settings)} in the "
        "environment; correct or unset it"
    )


def _can_import_ray(environment: Mapping[str, str]) -> bool:
    command = [sys.executable, "-c", "import ray._raylet"]
    return subprocess.run(command, env=environment, capture_output=True).returncode >= 0


def from_environment(address: str | None) -> bool:
    """Whether an address is that of the variable RAY_ADDRESS."""
    return address is not None and os.environ.get("RAY_ADDRESS") == address


def check(address: str) -> None:
    """Checks an `--address`.

    Raises:
        ResourceError: nothing listens there, the token is wrong, or this machine is not in the cluster.
    """
    try:
        _check(address)
    except ResourceError as error:
        if not from_environment(address):
            raise
        raise ResourceError(
            f"{error}; the address is from RAY_ADDRESS in the environment: unset it to use this machine alone"
        ) from None


def _check(address: str) -> None:
    if address.startswith("ray://"):
        raise ResourceError(
            f"{address} is for Ray Client, which cannot run a search: on the cluster's head use "
            "--address auto, elsewhere 'ray job submit -- rtune search ...'"
        )
    if address.startswith(("http://", "https://")):
        raise ResourceError(
            f"{address} is for jobs ('ray job submit --address'); the --address (or RAY_ADDRESS) of a search "
            "is auto, or such as 10.0.0.1:6379"
        )
    if address != "auto" and ":" not in address:
        raise ResourceError(
            f"--address (or RAY_ADDRESS) is {address!r}; it must be auto, or such as 10.0.0.1:6379"
        )
    found = address if ":" in address else _canonical(address)
    if found is None:
        return  # `auto`, and no cluster on this machine: Ray reports that immediately
    host, _, port = found.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_TIMEOUT).close()
    except (OSError, OverflowError, ValueError) as error:
        raise ResourceError(
            f"no Ray cluster can be used at {address}: {error}; is it up, and this its address?"
        ) from None
    _check_membership(address, found)


def _canonical(address: str) -> str | None:
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found: str | None = canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError):
        return None
    return found


def _check_membership(address: str, found: str) -> None:
    """Raises ResourceError if the cluster does not accept this machine's token or does not list it."""
    import grpc
    from ray._private.authentication import authentication_token_setup
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated.gcs_pb2 import GcsNodeInfo
    from ray.core.generated.gcs_service_pb2 import GetAllNodeInfoRequest
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
    from ray.exceptions import AuthenticationError

    token = (
        f"the Ray cluster at {address} does not accept this machine's token: put that of its head "
        "(~/.ray/auth_token there) into ~/.ray/auth_token here, and set RAY_AUTH_MODE=token"
    )
    # Otherwise it prints that it has found a token.
    logging.getLogger(authentication_token_setup.__name__).setLevel(logging.ERROR)
    try:
        authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        with init_grpc_channel(found) as channel:
            stub = NodeInfoGcsServiceStub(channel)
            reply = stub.GetAllNodeInfo(GetAllNodeInfoRequest(), timeout=_TIMEOUT)
    except AuthenticationError:  # this machine requires a token but has none
        raise ResourceError(token) from None
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise ResourceError(token) from None
        raise ResourceError(
            f"no Ray cluster can be used at {address}: what listens there is not the head of a Ray cluster"
        ) from None
    alive = {node.node_manager_address for node in reply.node_info_list if node.state == GcsNodeInfo.ALIVE}
    here = {entry.address for entries in psutil.net_if_addrs().values() for entry in entries}
    if not alive & here:
        raise ResourceError(
            f"this machine is not one of the Ray cluster at {address}: run rtune on its head, send it "
            "there with 'ray job submit -- rtune search ...', or add this machine to the cluster with "
            f"'ray start --address={found}'"
        )
