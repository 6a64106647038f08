"""An S3 server on this machine, moto's, in a process of its own; it can be made to fail for a while.

`python -m tests.support.services.s3` serves until its standard input ends, so that it ends with the process
that started it.
"""

import contextlib
import ctypes
import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

from tests.support.paths import ROOT

# For this process's and its children's clients: no keys of this machine's user, no look at Amazon's network.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
# Asked by path, which no bucket has: the requests answered so far by method, and what to do with the next.
_COUNTS, _SWITCH = "/-/counts", "/-/switch"
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Server:
    """A running server; `serve` starts one."""

    def __init__(self, port: int) -> None:
        self.port = port

    def uri(self, path: str) -> str:
        """The URI of BUCKET/PATH on this server."""
        return f"s3://{path}?endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def counts(self) -> dict[str, int]:
        """Requests so far by method, those that met an outage under `failed`."""
        found: dict[str, int] = json.loads(self.ask(_COUNTS))
        return found

    @contextlib.contextmanager
    def outage(self, how: str = "SlowDown", methods: str = "", times: int = -1) -> Iterator[None]:
        """Context in which requests fail; arguments as of `switch`."""
        self.switch(how, methods, times)
        try:
            yield
        finally:
            self.switch("")

    def switch(self, how: str, methods: str = "", times: int = -1, seconds: float = 0.5) -> None:
        """Begins an outage, or ends it with an empty `how`.

        Args:
            how: an error's code, answered with the status it has; `drop` cuts connections, `reset` resets
                them, `half` does what is asked, sends half of the answer and cuts, `hang` never answers,
                `slow` answers late.
            methods: only these, such as "PUT POST"; all if empty.
            times: how many of them; all if negative.
            seconds: how late at most, each time another.
        """
        self.ask(_SWITCH, json.dumps([how, methods.split(), times, seconds]).encode(), "PUT")

    def ask(self, path: str, body: bytes | None = None, method: str = "GET") -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            data: bytes = answer.read()
        return data


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """Context in which a server runs that has a bucket `bucket`, and the environment is its clients'."""
    with served("tests.support.services.s3") as port:
        server = Server(port)
        server.ask("/bucket", b"", "PUT")  # pyarrow makes none
        with environment():
            yield server


@contextlib.contextmanager
def served(module: str, **more: str) -> Iterator[int]:
    """Context in which a module runs that calls `serve_until_end`; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT, **more},
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """Context in which clients of this process and its children have what they need to ask a server."""
    with mock.patch.dict(os.environ, ENVIRONMENT):
        yield


def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


class Faulty:
    """moto's application, with outages on demand; strangers are turned away, which moto does not do."""

    _STATUS = {"SlowDown": "503 Slow Down", "InternalError": "500 Error", "AccessDenied": "403 Forbidden"}

    def __init__(self, application: Application) -> None:
        self._application = application
        self._switch: list[Any] = ["", [], -1, 0.0]
        self._counts: dict[str, int] = {"failed": 0}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path in (_COUNTS, _SWITCH):
            if path == _SWITCH:
                self._switch = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self._counts).encode()]
        if not self._take_body(environ):
            return self._fail("drop", environ, start_response)
        how, methods, times, seconds = self._switch
        hit = how and times and (not methods or method in methods)
        if hit:
            self._switch[2] -= 1
            self._counts["failed"] += 1
            if how not in ("slow", "half"):
                return self._fail(how, environ, start_response)
            time.sleep(random.uniform(0, seconds) if how == "slow" else 0)
        signed = environ.get("HTTP_AUTHORIZATION", "Credential=test/")
        if "Credential=test/" not in signed:
            return self._fail("AccessDenied", environ, start_response)
        self._counts[method] = self._counts.get(method, 0) + 1
        answer = self._application(environ, start_response)
        return self._half(b"".join(answer), environ) if hit and how == "half" else answer

    def _take_body(self, environ: dict[str, Any]) -> bool:
        """Whether a request is whole: moto would keep the half that a killed client has sent."""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        try:
            body = environ["wsgi.input"].read(length) if length else b""
        except OSError:
            return False
        if length:
            environ["wsgi.input"] = io.BytesIO(body)
        return len(body) == length

    def _fail(self, how: str, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if how == "hang":
            time.sleep(3600)
        if how == "reset":
            _reset(environ["werkzeug.socket"])
            return []
        if how in ("drop", "hang"):
            _cut(environ["werkzeug.socket"])
            return []
        start_response(self._STATUS[how], [("Content-Type", "application/xml")])
        return [f"<Error><Code>{how}</Code><Message>an outage of the test</Message></Error>".encode()]

    @staticmethod
    def _half(body: bytes, environ: dict[str, Any]) -> Iterator[bytes]:
        if body:  # the status line and the headers go with the first part
            yield body[: len(body) // 2] or body
        _cut(environ["werkzeug.socket"])


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    """Ends a connection by a reset: what connecting a socket to no address (AF_UNSPEC) does on Linux."""
    ctypes.CDLL(None).connect(connection.fileno(), bytes(16), 16)


def serve_until_end(around: Callable[[Application], Application]) -> None:
    """Serves moto's application with another around it until standard input ends; prints the port."""
    from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    application = around(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    serve_until_end(Faulty)
