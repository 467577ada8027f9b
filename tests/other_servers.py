"""Servers of other kinds of stores on this machine: Google Cloud Storage, Azure, sftp."""

import asyncio
import contextlib
import importlib.util
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import pytest

from batchage.places.connections import filesystem_of
from tests.command import ROOT
from tests.s3_server import HOST, free_port, wait_until_it_answers

# The account that every emulator of Azure's storage has.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
USER, PASSWORD = "tester", "secret"


@dataclass(slots=True)
class Server:
    """A server of one kind of stores.

    Attributes:
        base: The beginning of its URLs.
        process: Its process.
        make: Makes a bucket, container or folder of that name.
        environment: By which libraries find it.
    """

    base: str
    process: subprocess.Popen
    make: Callable[[str], None]
    environment: dict[str, str] = field(default_factory=dict)

    def place(self) -> str:
        """The URL of a new bucket, container or folder."""
        name = f"place-{uuid.uuid4().hex[:12]}"
        self.make(name)
        return f"{self.base}{name}"

    def upload(self, folder: Path, url: str) -> None:
        """Put a folder's files there, at the same paths."""
        files, root = filesystem_of(url)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                target = f"{root}/{path.relative_to(folder).as_posix()}"
                if not files.async_impl:
                    files.makedirs(target.rpartition("/")[0], exist_ok=True)
                files.pipe_file(target, path.read_bytes())


@contextmanager
def _started(command: list[str], port: int, folder: Path) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
    )
    try:
        wait_until_it_answers(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def _require(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


def _own(kind: str, port: int) -> list[str]:
    return [sys.executable, "-m", "tests.other_servers", kind, str(port)]


@contextmanager
def _google(folder: Path) -> Iterator[Server]:
    _require("gcsfs", "gcp_storage_emulator")
    port = free_port()
    endpoint = f"http://{HOST}:{port}"

    def make(name: str) -> None:
        import requests

        url = f"{endpoint}/storage/v1/b"
        requests.post(url, json={"name": name}, timeout=60).raise_for_status()

    with _started(_own("google", port), port, ROOT) as process:
        yield Server("gs://", process, make, {"STORAGE_EMULATOR_HOST": endpoint})


@contextmanager
def _azure(folder: Path) -> Iterator[Server]:
    _require("adlfs")
    azurite = shutil.which("azurite-blob")
    if azurite is None:
        pytest.skip("azurite-blob is not installed: npm install --global azurite")
    port = free_port()
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=http://{HOST}:{port}/{ACCOUNT};"
    )

    def make(name: str) -> None:
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(connection) as client:
            client.create_container(name)

    command = [azurite, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry"]
    with _started([*command, f"--blobPort={port}"], port, folder) as process:
        yield Server("az://", process, make, {"AZURE_STORAGE_CONNECTION_STRING": connection})


@contextmanager
def _sftp(folder: Path) -> Iterator[Server]:
    _require("paramiko", "asyncssh")
    if importlib.util.find_spec("sshfs"):
        pytest.skip("sshfs is installed and takes the place of paramiko")
    port = free_port()
    with _started([*_own("sftp", port), str(folder)], port, ROOT) as process:
        base = f"sftp://{USER}:{PASSWORD}@{HOST}:{port}/"
        yield Server(base, process, lambda name: (folder / name).mkdir())


KINDS = {"gs": _google, "az": _azure, "sftp": _sftp}


@contextmanager
def running_server(kind: str, folder: Path) -> Iterator[Server]:
    """A server, with the environment set so that the libraries find it."""
    with KINDS[kind](folder) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


async def _serve_sftp(port: int, folder: str) -> None:
    import asyncssh

    class Login(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (USER, PASSWORD)

    async with asyncssh.listen(
        HOST,
        port,
        server_factory=Login,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=folder.encode()),
    ) as listener:
        await listener.wait_closed()


def _serve_google(port: int) -> None:
    """The emulator, with what it doesn't know: to put only what is new, to end an upload."""
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.server import HANDLERS, create_server

    upload = objects._multipart_upload

    def upload_if_allowed(request, response, storage) -> None:
        if request.query.get("ifGenerationMatch") == ["0"]:
            with contextlib.suppress(NotFound):
                storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
        upload(request, response, storage)

    def end_upload(request, response, storage) -> None:
        response.status = HTTPStatus.NO_CONTENT

    objects._multipart_upload = upload_if_allowed
    for _, handlers in HANDLERS:
        if handlers.get("PUT") is objects.upload_partial:
            handlers["DELETE"] = end_upload
    create_server(HOST, port, in_memory=True).run()


if __name__ == "__main__":
    kind, port, *more = sys.argv[1:]
    if kind == "google":
        _serve_google(int(port))
    else:
        asyncio.run(_serve_sftp(int(port), *more))
