"""An S3 server on this machine, and a proxy in front of it that delays and fails."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

HOST = "127.0.0.1"
STARTS_WITHIN = 60
_HOP = ("connection", "transfer-encoding", "keep-alive", "server", "date", "content-length")


@dataclass(slots=True)
class S3Server:
    """A server that speaks S3.

    Attributes:
        endpoint: Where it listens.
        process: Its process.
    """

    endpoint: str
    process: subprocess.Popen

    def bucket(self, name: str | None = None) -> str:
        """Make a bucket; its URL."""
        import boto3

        name = name or f"bucket-{uuid.uuid4().hex[:12]}"
        boto3.client("s3", endpoint_url=self.endpoint).create_bucket(Bucket=name)
        return f"s3://{name}"

    def upload(self, folder: Path, url: str) -> None:
        """Put a folder's files there, at the same paths."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{url}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def put(self, url: str, data: bytes) -> None:
        """Put one object."""
        import boto3

        bucket, _, key = url.removeprefix("s3://").partition("/")
        client = boto3.client("s3", endpoint_url=self.endpoint)
        client.put_object(Bucket=bucket, Key=key, Body=data)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """A server, with the environment set so that S3's libraries find it."""
    port = free_port()
    endpoint = f"http://{HOST}:{port}"
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
    before = {name: os.environ.get(name) for name in settings}
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_it_answers(port, process)
        os.environ.update(settings)
        yield S3Server(endpoint, process)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def wait_until_it_answers(port: int, process: subprocess.Popen) -> None:
    give_up = time.monotonic() + STARTS_WITHIN
    while process.poll() is None and time.monotonic() < give_up:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server doesn't start: is its package installed?")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def s3(s3_server) -> str:
    """The URL of a new bucket."""
    return s3_server.bucket()


@dataclass(slots=True)
class Proxy:
    """What a proxy does.

    Attributes:
        endpoint: Where it listens.
        delay: Seconds before each answer.
        fails: Told method and path of a request, the status to answer instead, or None.
        requests: Methods and paths, as they came.
    """

    endpoint: str = ""
    delay: float = 0.0
    fails: Callable[[str, str], int | None] = lambda method, path: None
    requests: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def running_proxy(target: str, **how) -> Iterator[Proxy]:
    """A proxy in front of the server at `target`."""
    proxy = Proxy(**how)
    host = target.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            proxy.requests.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            time.sleep(proxy.delay)
            status = proxy.fails(self.command, self.path)
            if status is not None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            connection = http.client.HTTPConnection(host)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            data = answer.read()
            length = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(length or 0))
            self.end_headers()
            self.wfile.write(data)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    with Server((HOST, 0), Handler) as server:
        proxy.endpoint = f"http://{HOST}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
