"""TLS: broker and store must prove who they are, to each connection that we make; and we to them, where they ask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from pydantic import SecretStr

from maskmill import Settings
from maskmill.access import Access
from maskmill.broker.connection import connect
from maskmill.errors import BrokerUnavailable, FetchFailed, InvalidSettings, MaskmillError, StoreRefused
from maskmill.images.connections import ssl_context
from maskmill.images.fetch import Fetcher
from maskmill.images.limits import FetchLimits
from maskmill.ledger.ledger import Ledger
from maskmill.queue import Queue
from maskmill.settings import load_settings
from maskmill.storage.store import Store
from tests.tls import tls_in_front_of
from tests.unit.limited_host import limited_host


@dataclass
class Papers:
    """An authority, and a certificate that it gave us, as files."""

    authority: trustme.CA
    ca: Path
    cert: Path
    key: Path


def papers(folder: Path) -> Papers:
    folder.mkdir(exist_ok=True)
    authority = trustme.CA()
    mine = authority.issue_cert("me@maskmill.example")
    made = Papers(authority, folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(made.ca)
    made.cert.write_bytes(b"".join(blob.bytes() for blob in mine.cert_chain_pems))
    mine.private_key_pem.write_to_path(made.key)
    return made


def ask_ledger(settings: Settings) -> None:
    client = connect(settings.broker_url.get_secret_value(), settings.broker_tls)
    Ledger(client, settings.queue).queue_length(settings.queue)


def ask_queue(settings: Settings) -> None:
    Queue(settings).notify()


def listen_as_a_worker_does(settings: Settings) -> None:
    """By the connection that Celery's consumer has."""
    try:
        with Queue(settings).app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)
            connection.default_channel.client.ping()
    except Exception as error:
        raise BrokerUnavailable(str(error)) from error


BROKER_DOORS = [ask_ledger, ask_queue, listen_as_a_worker_does]


def behind_tls(settings: Settings, port: int, **more: Path | None) -> Settings:
    broker = urlsplit(settings.broker_url.get_secret_value())
    url = SecretStr(f"rediss://:{broker.password}@127.0.0.1:{port}/0")
    return settings.model_copy(update={"broker_url": url, **more})


def port_of(settings: Settings) -> int:
    port = urlsplit(settings.broker_url.get_secret_value()).port
    assert port
    return port


@pytest.mark.parametrize("ask", BROKER_DOORS)
def test_an_impostor_in_place_of_the_broker_gets_no_password(
    settings: Settings, tmp_path: Path, ask: Callable[[Settings], None]
) -> None:
    ours, heard = papers(tmp_path), bytearray()
    with tls_in_front_of(port_of(settings), trustme.CA(), heard=heard) as port, pytest.raises(BrokerUnavailable):
        ask(behind_tls(settings, port, broker_ca=ours.ca))
    assert not heard, "not a byte of the protocol"
    with tls_in_front_of(port_of(settings), ours.authority, heard=heard) as port:
        ask(behind_tls(settings, port, broker_ca=ours.ca))
    assert b"AUTH" in heard


@pytest.mark.parametrize("ask", BROKER_DOORS)
def test_the_name_in_the_brokers_certificate_counts(
    settings: Settings, tmp_path: Path, ask: Callable[[Settings], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = papers(tmp_path)
    issue = ours.authority.issue_cert
    monkeypatch.setattr(ours.authority, "issue_cert", lambda _: issue("another.example"))
    with tls_in_front_of(port_of(settings), ours.authority) as port, pytest.raises(BrokerUnavailable):
        ask(behind_tls(settings, port, broker_ca=ours.ca))


@pytest.mark.parametrize("ask", BROKER_DOORS)
def test_a_broker_that_asks_for_our_certificate_gets_it(
    settings: Settings, tmp_path: Path, ask: Callable[[Settings], None]
) -> None:
    theirs, ours = papers(tmp_path / "theirs"), papers(tmp_path / "ours")
    with tls_in_front_of(port_of(settings), theirs.authority, clients=ours.authority) as port:
        ask(behind_tls(settings, port, broker_ca=theirs.ca, broker_cert=ours.cert, broker_key=ours.key))
        with pytest.raises(BrokerUnavailable):
            ask(behind_tls(settings, port, broker_ca=theirs.ca, broker_cert=theirs.cert, broker_key=theirs.key))


def put_and_get(settings: Settings, port: int, **more: Path | None) -> bytes:
    s3 = settings.s3.model_copy(update={"endpoint_url": f"https://127.0.0.1:{port}", **more})
    store = Store(settings.out, s3, attempts=1)
    store.put("a b.txt", b"text")
    assert [item.key for item in store.list()] == ["a b.txt"]
    return store.get("a b.txt")


def test_a_store_behind_tls_must_be_vouched_for_by_the_authority_that_is_named(
    settings: Settings, tmp_path: Path
) -> None:
    ours, store_port = papers(tmp_path), urlsplit(settings.s3.endpoint_url or "").port or 0
    with tls_in_front_of(store_port, ours.authority) as port:
        assert put_and_get(settings, port, ca_bundle=ours.ca) == b"text"
        with pytest.raises(StoreRefused):
            put_and_get(settings, port)
    with tls_in_front_of(store_port, trustme.CA()) as port, pytest.raises(StoreRefused):
        put_and_get(settings, port, ca_bundle=ours.ca)


def test_a_store_that_asks_for_our_certificate_gets_it(settings: Settings, tmp_path: Path) -> None:
    theirs, ours = papers(tmp_path / "theirs"), papers(tmp_path / "ours")
    both = tmp_path / "both.pem"
    both.write_bytes(ours.cert.read_bytes() + ours.key.read_bytes())
    store_port = urlsplit(settings.s3.endpoint_url or "").port or 0
    with tls_in_front_of(store_port, theirs.authority, clients=ours.authority) as port:
        ca = {"ca_bundle": theirs.ca}
        assert put_and_get(settings, port, **ca, client_cert=ours.cert, client_key=ours.key) == b"text"
        assert put_and_get(settings, port, **ca, client_cert=both) == b"text"
        for wrong in ({}, {"client_cert": theirs.cert, "client_key": theirs.key}):
            with pytest.raises(MaskmillError):
                put_and_get(settings, port, **ca, **wrong)


def test_an_image_host_must_be_vouched_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, limits = papers(tmp_path), FetchLimits(attempts=1)

    def fetch(port: int) -> bytes:
        ssl_context.cache_clear()
        return Fetcher(limits, access=Access(("127.0.0.1",))).fetch(f"https://127.0.0.1:{port}/a.jpg")

    try:
        with limited_host(1000) as host, tls_in_front_of(host.server_port, ours.authority) as port:
            with pytest.raises(FetchFailed, match="certificate verify failed"):
                fetch(port)
            monkeypatch.setenv("SSL_CERT_FILE", str(ours.ca))
            assert fetch(port) == b"image"
    finally:
        ssl_context.cache_clear()


def test_papers_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours = papers(tmp_path)
    monkeypatch.setenv("MASKMILL_BROKER_URL", "rediss://broker:6380/0")
    for name, path in {"CA": ours.ca, "CERT": ours.cert, "KEY": ours.key}.items():
        monkeypatch.setenv(f"MASKMILL_BROKER_{name}", str(path))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(ours.ca))
    monkeypatch.setenv("AWS_CLIENT_CERT", str(ours.cert))
    found = load_settings()
    assert found.broker_tls["ssl_certfile"] == str(ours.cert)
    assert (found.s3.ca_bundle, found.source_s3.client_cert) == (ours.ca, ours.cert)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MASKMILL_BROKER_CA": "{ca}", "MASKMILL_BROKER_URL": "redis://broker:6379/0"}, "write MASKMILL_BROKER_URL="),
        ({"MASKMILL_BROKER_KEY": "{ca}", "MASKMILL_BROKER_URL": "rediss://broker:6379/0"}, "set both"),
        ({"MASKMILL_BROKER_CA": "{ca}.gone", "MASKMILL_BROKER_URL": "rediss://b:6379/0"}, "MASKMILL_BROKER_CA"),
        ({"AWS_CA_BUNDLE": "{ca}.gone"}, "AWS_CA_BUNDLE"),
        ({"AWS_CLIENT_KEY": "{ca}.gone"}, "AWS_CLIENT_KEY"),
    ],
)
def test_papers_that_cannot_be_meant_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(ca=papers(tmp_path).ca))
    with pytest.raises(InvalidSettings, match=message):
        load_settings()
