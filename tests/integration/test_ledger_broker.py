"""What the ledger says of brokers that cannot serve it: real servers with such settings."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import BusyLoadingError, ReadOnlyError, ResponseError

from maskmill.broker.connection import connect
from maskmill.broker.meaning import meaning
from maskmill.errors import BrokerRefused, BrokerUnavailable
from maskmill.ledger.broker import check_broker
from maskmill.ledger.ledger import Ledger
from maskmill.services import Services
from maskmill_producer.embedded.ports import free_ports
from tests.integration.ledger_jobs import JOB, LEASE, create
from tests.integration.valkey import client, url, valkey

USERS = (
    "user default on nopass ~* &* +@all",
    "user worker on >hunter2 ~maskmill* ~_kombu* ~unacked* resetchannels +@all -@dangerous +info",
    "user blind on >hunter2 ~maskmill* ~_kombu* ~unacked* &* +@all -@dangerous",
    "user reader on >hunter2 ~* &* +@read +@connection +@scripting +time +info",
    "user half on >hunter2 ~maskmill* resetchannels +@all -@dangerous +info",
    "user unpopped on >hunter2 ~* resetchannels +@all -@dangerous -brpop +info",
    "user stranger on >hunter2 ~other* &* +@all",
    "user mute on >hunter2 ~* &* +@all -@scripting",
)


@pytest.fixture
def acl(tmp_path: Path) -> Iterator[int]:
    with valkey(tmp_path, *USERS) as port:
        yield port


def ledger_at(port: int, user: str = "") -> Ledger:
    return Ledger(connect(url(port, user and f"{user}:hunter2@")), "q")


def problems(redis: Redis, queue: str = "maskmill") -> list[str]:
    return [check.problem for check in check_broker(redis, queue) if not check.ok]


def asks(ledger: Ledger) -> list[Callable[[], Any]]:
    return [
        lambda: create(ledger),
        lambda: ledger.claim_next("a", LEASE),
        lambda: ledger.progress(JOB),
        ledger.open_jobs,
    ]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def replica_of(port: int, folder: Path, *lines: str) -> Iterator[int]:
    """A replica that has all that its primary has."""
    folder.mkdir()
    with valkey(folder, f"replicaof 127.0.0.1 {port}", *lines) as replica:
        until(lambda: client(replica).info("replication")["master_link_status"] == "up")
        yield replica


# Errors


def test_a_broker_that_is_not_there_is_said_so_without_its_password() -> None:
    for ask in asks(Ledger(connect("redis://:hunter2@127.0.0.1:1/0"), "q")):
        with pytest.raises(BrokerUnavailable, match="cannot be reached") as caught:
            ask()
        assert "hunter2" not in str(caught.value)
        assert not isinstance(caught.value, BrokerRefused)


@pytest.mark.parametrize("user", ["worker:wrong@", "nobody:wrong@", ":wrong@"])
def test_a_wrong_user_or_password_is_said_so_and_no_outage(tmp_path: Path, user: str) -> None:
    with valkey(tmp_path, "user default on >secret ~* &* +@all", *USERS[1:]) as port:
        for ask in asks(Ledger(connect(url(port, user)), "q")):
            with pytest.raises(BrokerRefused, match="user or password") as caught:
                ask()
            assert "wrong" not in str(caught.value)
            assert not caught.value.retryable


def test_a_missing_right_is_said_so_and_no_outage(acl: int) -> None:
    create(ledger_at(acl))
    refused = [
        lambda: create(ledger_at(acl, "reader")),
        lambda: ledger_at(acl, "stranger").claim_next("a", LEASE),
        lambda: ledger_at(acl, "stranger").open_jobs(),
        lambda: ledger_at(acl, "mute").claim_next("a", LEASE),
    ]
    for ask in refused:
        with pytest.raises(BrokerRefused, match=r"[Pp]ermissions.*give its user the rights") as caught:
            ask()
        assert "hunter2" not in str(caught.value)
    assert ledger_at(acl, "worker").claim_next("a", LEASE)


def test_a_replica_and_one_without_its_primary_are_said_so(tmp_path: Path) -> None:
    with valkey(tmp_path) as primary:
        create(ledger_at(primary))
        with (
            pytest.raises(BrokerUnavailable, match="read-only replica"),
            replica_of(primary, tmp_path / "replica") as replica,
        ):
            ledger_at(replica).claim_next("a", LEASE)
    with valkey(tmp_path, "replicaof 127.0.0.1 1", "replica-serve-stale-data no") as alone:
        for ask in asks(ledger_at(alone)):
            with pytest.raises(BrokerUnavailable, match="lost its primary"):
                ask()


def test_a_full_broker_is_said_so_and_tells_what_it_knows(tmp_path: Path) -> None:
    with valkey(tmp_path, "maxmemory-policy noeviction") as port:
        ledger = ledger_at(port)
        create(ledger)
        client(port).config_set("maxmemory", 1_000_000)
        for ask in (lambda: ledger.claim_next("a", LEASE), lambda: ledger.cancel(JOB)):
            with pytest.raises(BrokerUnavailable, match="memory is full"):
                ask()
        assert ledger.progress(JOB).claimed == 0
        client(port).config_set("maxmemory", 0)
        assert ledger.claim_next("a", LEASE)


def test_what_passes_is_told_from_what_does_not() -> None:
    assert "loading" in str(meaning(BusyLoadingError("x")))
    assert not isinstance(meaning(BusyLoadingError("x")), BrokerRefused)
    assert not isinstance(meaning(ResponseError("MISCONF no disk")), BrokerRefused)
    assert isinstance(meaning(ResponseError("ACL failure in script", status_code="ERR")), BrokerRefused)


def test_a_key_of_another_type_is_said_to_be_the_broker_s(services: Services) -> None:
    services.ledger.redis.set(services.ledger.key("open"), "not a set")
    with pytest.raises(BrokerUnavailable, match="WRONGTYPE"):
        services.ledger.open_jobs()


class Switch:
    """A port behind which one server is, and later another; connections stay with the server that they had."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result()
        self.port: int = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer), return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


def test_after_a_role_swap_the_next_call_reaches_the_promoted_server(tmp_path: Path) -> None:
    with valkey(tmp_path) as old, replica_of(old, tmp_path / "replica") as new:
        switch = Switch(old)
        ledger = ledger_at(switch.port)
        create(ledger)
        until(lambda: bool(client(new).exists(ledger.key(JOB, "meta"))))
        client(new).execute_command("REPLICAOF", "NO", "ONE")
        client(old).execute_command("REPLICAOF", "127.0.0.1", str(new))
        switch.target = new
        with pytest.raises(BrokerUnavailable, match="read-only replica") as caught:
            ledger.claim_next("a", LEASE)
        assert isinstance(caught.value.__cause__, ReadOnlyError)
        assert ledger.claim_next("a", LEASE)


# The check at start


def test_a_broker_that_will_do_has_no_findings_and_keeps_nothing(acl: int) -> None:
    for user in ("worker", "blind", ""):
        assert problems(ledger_at(acl, user).redis) == []
    assert client(acl).dbsize() == 0


@pytest.mark.parametrize("user", ["worker", "", "configurer"])
def test_a_broker_that_may_evict_is_named(tmp_path: Path, user: str) -> None:
    """Whether the user may ask for INFO alone, for both, or for CONFIG alone."""
    configurer = "user configurer on >hunter2 ~maskmill* ~_kombu* ~unacked* &* +@all -info"
    with valkey(tmp_path, "maxmemory-policy allkeys-lru", "maxmemory 1gb", *USERS, configurer) as port:
        [line] = problems(ledger_at(port, user).redis)
    assert "allkeys-lru" in line
    assert "noeviction" in line


def test_a_replica_is_named(tmp_path: Path) -> None:
    with valkey(tmp_path) as primary, replica_of(primary, tmp_path / "replica") as replica:
        [line] = problems(ledger_at(replica).redis)
    assert "replica" in line
    assert "primary" in line


def test_a_cluster_is_named(tmp_path: Path) -> None:
    bus = free_ports(1)[0]  # by itself it would be 10,000 above the server's port, which may be too high
    with valkey(tmp_path, "cluster-enabled yes", f"cluster-port {bus}") as port:
        [line] = problems(ledger_at(port).redis)
    assert "Cluster" in line


@pytest.mark.parametrize("user", ["reader", "stranger", "mute"])
def test_missing_rights_are_named_with_their_cure(acl: int, user: str) -> None:
    for line in problems(ledger_at(acl, user).redis):
        assert "ermissions" in line
        assert "give its user the rights" in line
    assert problems(ledger_at(acl, user).redis)
    assert client(acl).dbsize() == 0


@pytest.mark.parametrize(("user", "named"), [("half", "_kombu.binding.maskmill"), ("unpopped", "brpop")])
def test_rights_that_celery_alone_needs_are_named(acl: int, user: str, named: str) -> None:
    [line] = problems(ledger_at(acl, user).redis)
    assert named in line
    assert "~_kombu* ~unacked*" in line
    assert client(acl).dbsize() == 0


def test_a_broker_that_cannot_be_asked_is_an_error() -> None:
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        check_broker(connect("redis://127.0.0.1:1/0"))
