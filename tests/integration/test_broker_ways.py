"""The ways to a broker: through sentinels, a socket, TLS; and what is said when one of them is closed."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from maskmill import Job, Settings
from maskmill.broker.connection import connect
from maskmill.errors import BrokerRefused, BrokerUnavailable
from maskmill.ledger.broker import check_broker
from maskmill.services import Services
from maskmill.watch import PATIENCE_SECONDS
from maskmill_producer.embedded.broker import binary
from maskmill_producer.embedded.ports import HOST, free_ports
from tests.conftest import wait_for
from tests.integration.ledger_jobs import JOB, LEASE, create
from tests.integration.valkey import client, listening, url, valkey
from tests.tls import tls_in_front_of


def services_at(address: str) -> Services:
    return Services.connect(Settings(broker_url=SecretStr(address), queue="q"))


def works(address: str) -> None:
    """Ledger and queue both reach the same database."""
    services = services_at(address)
    create(services.ledger)
    assert services.ledger.claim_next("a", LEASE).job == JOB
    services.queue.notify(3)
    assert services.ledger.queue_length("q") == 3
    assert [check.problem for check in check_broker(services.ledger.redis, "q") if not check.ok] == []


@contextmanager
def sentinel(folder: Path, primary: int, *lines: str) -> Iterator[int]:
    """A real sentinel that watches one primary, named `mine`."""
    [port] = free_ports(1)
    config = folder / f"sentinel-{port}.conf"
    watched = (f"sentinel monitor mine {HOST} {primary} 1", "sentinel down-after-milliseconds mine 1000", *lines)
    config.write_text("\n".join([f"port {port}", f"bind {HOST}", f"dir {folder}", *watched]))
    process = subprocess.Popen([binary(), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
    with listening(process, port):
        yield port


# Ways


@pytest.mark.parametrize("form", ["unix://{path}?db=3", "redis+socket://{path}?virtual_host=3"])
def test_a_socket_leads_ledger_and_queue_to_one_database(tmp_path: Path, form: str) -> None:
    path = f"/tmp/maskmill-{os.getpid()}.sock"  # a socket's name may have 107 bytes
    with valkey(tmp_path, f"unixsocket {path}") as port:
        works(form.format(path=path))
        assert client(port).execute_command("INFO", "keyspace").keys() == {"db3"}


def test_a_socket_takes_a_password(tmp_path: Path) -> None:
    path = f"/tmp/maskmill-{os.getpid()}-pw.sock"
    with valkey(tmp_path, f"unixsocket {path}", "requirepass hunter2"):
        works(f"unix://:hunter2@{path}")
        with pytest.raises(BrokerRefused, match="password"):
            services_at(f"unix://:wrong@{path}").queue.notify()


def test_sentinels_lead_both_to_the_primary_and_after_a_failover_to_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "replica").mkdir()
    with (
        valkey(tmp_path, "requirepass hunter2", "masterauth hunter2") as old,
        valkey(tmp_path / "replica", f"replicaof {HOST} {old}", "requirepass hunter2", "masterauth hunter2") as new,
        sentinel(tmp_path, old, "sentinel auth-pass mine hunter2") as port,
    ):
        address = f"sentinel://:hunter2@{HOST}:{port}/0?master_name=mine"
        works(address)
        services = services_at(address)
        sentinels = client(port)
        until(lambda: len(sentinels.execute_command("SENTINEL", "REPLICAS", "mine")) == 1)
        until(lambda: bool(connect(url(new, ":hunter2@")).exists(services.ledger.key(JOB, "meta"))))
        until(lambda: succeeds(lambda: sentinels.execute_command("SENTINEL", "FAILOVER", "mine")))
        until(lambda: connect(url(new, ":hunter2@")).info("replication")["role"] == "master")
        until(lambda: succeeds(lambda: services.queue.notify(1)) and succeeds(services.ledger.open_jobs))
        until(lambda: services.ledger.redis.info("server")["tcp_port"] == new)
        assert services.ledger.open_jobs() == [JOB]


def test_a_primary_that_no_sentinel_knows_is_said(tmp_path: Path) -> None:
    with valkey(tmp_path) as primary, sentinel(tmp_path, primary) as port:
        services = services_at(f"sentinel://{HOST}:{port}/0?master_name=another")
        for ask in (services.ledger.open_jobs, services.queue.notify):
            with pytest.raises(BrokerUnavailable, match="no sentinel knows a primary of this master_name"):
                ask()


def until(condition: Callable[[], bool]) -> None:
    wait_for(condition, lambda: "it never came true", 120)


def succeeds(act: Callable[[], object]) -> bool:
    with suppress(Exception):
        act()
        return True
    return False


# What is said of a closed one, by ledger and queue alike


def says(address: str, kind: type[BrokerUnavailable], text: str) -> None:
    services = services_at(address)
    for ask in (services.ledger.open_jobs, services.queue.notify):
        with pytest.raises(kind, match=text) as caught:
            ask()
        assert type(caught.value) is kind
        assert "hunter2" not in str(caught.value)


def test_tls_with_its_ca_works_for_both_and_a_stranger_s_certificate_for_none(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with valkey(tmp_path) as plain, tls_in_front_of(plain, authority) as port:
        works(f"rediss://{HOST}:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}")
        says(f"rediss://{HOST}:{port}/0", BrokerRefused, "certificate is not trusted.*MASKMILL_BROKER_CA")


def test_tls_is_told_from_none(tmp_path: Path) -> None:
    with valkey(tmp_path) as plain, tls_in_front_of(plain, trustme.CA()) as safe:
        says(f"rediss://{HOST}:{plain}/0?socket_connect_timeout=1", BrokerUnavailable, "does not answer to TLS")
        says(f"redis://{HOST}:{safe}/0", BrokerUnavailable, "does it want TLS")


def test_a_client_s_certificate_that_is_wanted_is_named(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    newest = ssl.TLSVersion.TLSv1_2  # later ones say it after the handshake, or only hang up
    with valkey(tmp_path) as plain, tls_in_front_of(plain, authority, clients=authority, newest=newest) as port:
        address = f"rediss://{HOST}:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
        says(address, BrokerRefused, "MASKMILL_BROKER_CERT")
        authority.issue_cert("me@maskmill.lan").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "me.pem"))
        works(f"{address}&ssl_certfile={tmp_path / 'me.pem'}&ssl_keyfile={tmp_path / 'me.pem'}")


@pytest.mark.parametrize(
    ("lines", "address", "kind", "text"),
    [
        (["requirepass hunter2"], "redis://127.0.0.1:{port}/0", BrokerRefused, "user or password"),
        (["requirepass hunter2"], "redis://:hunter3@127.0.0.1:{port}/0", BrokerRefused, "user or password"),
        (
            ["user q on >hunter2 ~other* &* +@all"],
            "redis://q:hunter2@127.0.0.1:{port}/0",
            BrokerRefused,
            "give its user the rights",
        ),
        (["replicaof 127.0.0.1 1"], "redis://127.0.0.1:{port}/0", BrokerUnavailable, "read-only replica"),
        (
            ["maxmemory 1", "maxmemory-policy noeviction"],
            "redis://127.0.0.1:{port}/0",
            BrokerUnavailable,
            "memory is full",
        ),
        ([], "redis://127.0.0.1:{port}/99", BrokerRefused, "no database of this number"),
        ([], "redis://127.0.0.1:1/0", BrokerUnavailable, "nothing listens there"),
        ([], "redis://no.such.host.invalid:1/0", BrokerUnavailable, "host name cannot be resolved"),
        ([], "unix:///no/such.sock", BrokerUnavailable, "no such socket"),
    ],
)
def test_password_rights_role_memory_and_absence_are_told_apart_by_both(
    tmp_path: Path, lines: list[str], address: str, kind: type[BrokerUnavailable], text: str
) -> None:
    with valkey(tmp_path, *lines) as port:
        services = services_at(address.format(port=port))
        for ask in (lambda: services.ledger.alive("w"), services.queue.notify):
            with pytest.raises(kind, match=text) as caught:
                ask()
            assert type(caught.value) is kind
            assert "hunter" not in str(caught.value)


def test_a_web_server_is_told_from_a_broker_with_and_without_tls() -> None:
    with socket.create_server((HOST, 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        there = f"{HOST}:{listener.getsockname()[1]}/0"
        says(f"redis://{there}", BrokerRefused, "does not speak the Redis protocol")
        says(f"rediss://{there}", BrokerRefused, "does not speak TLS")


def test_who_waits_for_a_job_hears_of_a_wrong_password_at_once(tmp_path: Path) -> None:
    with valkey(tmp_path) as port:
        services = services_at(url(port))
        create(services.ledger)
        client(port).config_set("requirepass", "hunter2")
        connect(url(port, ":hunter2@")).execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        started = time.monotonic()
        with pytest.raises(BrokerRefused, match="user or password"):
            Job(JOB, "s3://bucket/out", services).wait()
        assert time.monotonic() < started + PATIENCE_SECONDS / 2
