"""Amazon's EC2, IAM and CloudFormation on this machine, moto's, in a process of its own.

`python -m tests.support.services.aws` serves until its standard input ends. Spot capacity can be taken away.
"""

import contextlib
import io
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support.services.s3 import ENVIRONMENT, Application, serve_until_end, served

_SPOT = "/-/spot"  # asked by path: PUT `yes` or `no`


class Cloud:
    """A running server; `serve` starts one."""

    def __init__(self, port: int, region: str) -> None:
        self.region = region
        self.environment = {
            **ENVIRONMENT,
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }

    def enforce(self) -> None:
        """From now on nobody may do what no policy allows; this process is an administrator."""
        iam = self.client("iam")
        iam.create_user(UserName="admin")
        everything = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
        }
        iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=json.dumps(everything))
        key = iam.create_access_key(UserName="admin")["AccessKey"]
        os.environ["AWS_ACCESS_KEY_ID"] = key["AccessKeyId"]
        os.environ["AWS_SECRET_ACCESS_KEY"] = key["SecretAccessKey"]
        self._ask("/moto-api/reset-auth", b"0", "POST")

    def as_role(self, name: str) -> dict[str, str]:
        """The environment of a user with the role's policies; moto lets nobody assume a role now."""
        iam = self.client("iam")
        user = f"{name}-{len(iam.list_users()['Users'])}"
        iam.create_user(UserName=user)
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.attach_user_policy(UserName=user, PolicyArn=policy["PolicyArn"])
        key = iam.create_access_key(UserName=user)["AccessKey"]
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def spot(self, there: bool) -> None:
        """Whether there is spot capacity from now on."""
        self._ask(_SPOT, b"yes" if there else b"no", "PUT")

    def _ask(self, path: str, body: bytes, method: str) -> None:
        url = self.environment["AWS_ENDPOINT_URL"] + path
        request = urllib.request.Request(url, body, {"Content-Type": "text/plain"}, method=method)
        urllib.request.urlopen(request, timeout=20).close()

    def client(self, service: str) -> Any:
        import boto3

        return boto3.Session().client(service)

    def instances(self) -> list[dict[str, Any]]:
        """All that are not gone, each with its tags as a dict under `tags`."""
        found = [
            {**instance, "tags": {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}}
            for group in self.client("ec2").describe_instances()["Reservations"]
            for instance in group["Instances"]
        ]
        return [i for i in found if i["State"]["Name"] in ("pending", "running")]


def forget() -> None:
    """Lets Ray's AWS code, which keeps clients, look at the environment anew."""
    import boto3
    from ray.autoscaler._private.aws.utils import client_cache, resource_cache

    resource_cache.cache_clear()
    client_cache.cache_clear()
    boto3.DEFAULT_SESSION = None


@contextlib.contextmanager
def serve(region: str, home: Path) -> Iterator[Cloud]:
    """Context in which a server runs, and this process is its client, at home in `home`."""
    with served("tests.support.services.aws", MOTO_IAM_LOAD_MANAGED_POLICIES="true") as port:
        cloud = Cloud(port, region)
        with mock.patch.dict(os.environ, {**cloud.environment, "HOME": str(home)}):
            yield cloud


class Scarce:
    """moto's application, which can run out of spot machines."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._spot = True

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = b""
        if length := int(environ.get("CONTENT_LENGTH") or 0):
            body = environ["wsgi.input"].read(length)
            environ["wsgi.input"] = io.BytesIO(body)
        if environ["PATH_INFO"] == _SPOT:
            self._spot = body == b"yes"
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b""]
        asked = dict(urllib.parse.parse_qsl(body.decode(errors="replace")))
        spot = asked.get("InstanceMarketOptions.MarketType") == "spot"
        if asked.get("Action") == "RunInstances" and spot and not self._spot:
            start_response("500 Internal Server Error", [("Content-Type", "text/xml")])
            code, message = "InsufficientInstanceCapacity", "There is no Spot capacity available."
            return [
                f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
                "<RequestID>1</RequestID></Response>".encode()
            ]
        return self._application(environ, start_response)


if __name__ == "__main__":
    serve_until_end(Scarce)
