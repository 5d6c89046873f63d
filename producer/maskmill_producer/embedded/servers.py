"""The pair of servers: start, stop, status, and use by several processes at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
import psutil

from maskmill.errors import UsageError
from maskmill.machine import check_room, require_room
from maskmill_producer.embedded.broker import Broker
from maskmill_producer.embedded.errors import EmbeddedServersFailed
from maskmill_producer.embedded.lifecycle import failure, launch, take_down
from maskmill_producer.embedded.object_store import ObjectStore
from maskmill_producer.embedded.process import owner
from maskmill_producer.embedded.state import State

REGION = "us-east-1"
BUCKET = "maskmill"
# Not a secret. A bucket belongs to the key that made it, so this one stays even if the secrets are made anew.
ACCESS_KEY_ID = "maskmill"
START_SECONDS = 60.0


@dataclass(frozen=True)
class Servers:
    """Where a running pair is, and how to get in."""

    broker_url: str = field(repr=False)
    s3_endpoint_url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str
    bucket: str
    state_dir: Path

    def environment(self) -> dict[str, str]:
        """Variables for a child process that shall use this pair, whatever our own environment says."""
        return {
            "MASKMILL_BROKER_URL": self.broker_url,
            "MASKMILL_BUCKET": self.bucket,
            "MASKMILL_TRUST_SUBMITTERS": "true",  # who has the password is at home on this machine
            "AWS_ENDPOINT_URL_S3": self.s3_endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_SESSION_TOKEN": "",  # one for another store would make this store refuse every request
            "AWS_REGION": self.region,
        }


@dataclass(frozen=True)
class ServerStatus:
    """One server: its pid, its resident bytes and the port that clients use, all None while it is down."""

    name: str
    pid: int | None
    rss_bytes: int | None
    port: int | None
    log: Path


@dataclass(frozen=True)
class Status:
    """The pair and the pids of its users; `keep`: it stays up when the last of them leaves."""

    servers: tuple[ServerStatus, ...]
    users: tuple[int, ...]
    keep: bool
    state_dir: Path

    @property
    def running(self) -> bool:
        """Whether both servers have a live process."""
        return all(server.pid is not None for server in self.servers)


def start(state_dir: Path | None = None, *, timeout_seconds: float = START_SECONDS) -> Servers:
    """Start what is not yet running, and let it run until `stop`.

    Raises `EmbeddedServersFailed` if a server is not installed or not healthy within `timeout_seconds`, and
    `UsageError` where the disk is too full for one that must be launched.
    """
    state = _state(state_dir)
    state.make()
    with state.lock():
        try:
            servers = _bring_up(state, timeout_seconds)
        except BaseException:
            _take_down_unused(state)
            raise
        state.set_keep(True)
    return servers


def stop(state_dir: Path | None = None) -> bool:
    """Stop the pair, users or not; True if something ran. Data and credentials stay."""
    state = _state(state_dir)
    if not state.root.exists():
        return False
    with state.lock():
        state.set_keep(False)
        return _take_down(state)


def status(state_dir: Path | None = None) -> Status:
    """What runs now and who uses it; changes nothing."""
    state = _state(state_dir)
    servers = tuple(_server_status(state, name) for name in (Broker.name, ObjectStore.name))
    return Status(servers, tuple(state.users()), state.keeps(), state.root)


def require(state_dir: Path | None = None) -> None:
    """Raise `EmbeddedServersFailed` if a server that should run has ended, as on a full disk."""
    found = status(state_dir)
    for server in found.servers:
        if server.pid is None:
            why = check_room(found.state_dir).problem or "its log may say why"
            raise failure(server.name, State(found.state_dir), f"has ended: {why}; then run the same again")


@contextmanager
def running(
    state_dir: Path | None = None,
    *,
    keep: bool = False,
    timeout_seconds: float = START_SECONDS,
    on_launch: Callable[[Servers], None] | None = None,
) -> Iterator[Servers]:
    """Use the pair for a block. The last user to leave stops it, unless `keep` or `start` asked to keep it.

    `on_launch` hears where the pair will be as soon as its processes run: what has to start, too, can do so meanwhile.
    A server that ends at once comes back on other ports, so that the pair of the block may be another one.
    Raises `EmbeddedServersFailed` like `start`.
    """
    state = _state(state_dir)
    state.make()
    with state.lock():
        state.sweep()
        user = state.join()
    try:
        with state.lock():
            servers = _bring_up(state, timeout_seconds, on_launch)
            if keep:
                state.set_keep(True)
        yield servers
    finally:
        with state.lock():
            state.leave(user)
            _take_down_unused(state)


def require_room_of_servers(state_dir: Path | None = None) -> None:
    """Raise `UsageError` where the disk is too full for the servers: they would end at their next write."""
    try:
        require_room(_state(state_dir).root)
    except UsageError as error:
        raise UsageError(f"the embedded servers need room, too: {error} (MASKMILL_STATE_DIR)") from error


def _state(state_dir: Path | None) -> State:
    if os.name != "posix":
        raise EmbeddedServersFailed(
            "the embedded servers run on Linux and macOS; elsewhere start the ones of the compose file"
        )
    root = state_dir or platformdirs.user_data_path("maskmill") / "servers"
    return State(root.expanduser().absolute())


def _bring_up(state: State, timeout_seconds: float, on_launch: Callable[[Servers], None] | None = None) -> Servers:
    """Launch both, then wait for both: the store takes a second or two, and the broker none."""
    deadline = time.monotonic() + timeout_seconds
    if not _both_run(state):
        require_room_of_servers(state.root)
    secrets = state.credentials()
    broker = Broker(secrets.broker_password)
    store = ObjectStore(ACCESS_KEY_ID, secrets.secret_access_key, REGION, BUCKET)
    rising = launch(broker, state), launch(store, state)

    def servers(broker_ports: tuple[int, ...], store_ports: tuple[int, ...]) -> Servers:
        addresses = broker.url(broker_ports), store.url(store_ports)
        return Servers(*addresses, ACCESS_KEY_ID, secrets.secret_access_key, REGION, BUCKET, state.root)

    if on_launch:
        on_launch(servers(*(each.record.ports for each in rising)))
    return servers(*(each.wait(deadline) for each in rising))


def _take_down_unused(state: State) -> None:
    state.sweep()
    if not state.users() and not state.keeps():
        _take_down(state)


def _take_down(state: State) -> bool:
    """Broker first, so that nobody is given work whose results have nowhere to go."""
    return take_down(state, Broker, ObjectStore)


def _both_run(state: State) -> bool:
    return all(_server_status(state, name).pid for name in (Broker.name, ObjectStore.name))


def _server_status(state: State, name: str) -> ServerStatus:
    record = state.record(name)
    process = owner(state.folder(name), record.pid) if record else None
    if record is None or process is None:
        return ServerStatus(name, None, None, None, state.log(name))
    rss_bytes = None
    with suppress(psutil.Error):
        rss_bytes = process.memory_info().rss
    return ServerStatus(name, process.pid, rss_bytes, record.ports[0], state.log(name))
