"""Stores as they are: real ones, and a proxy that answers as others are reported to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from maskmill import Client, Settings
from maskmill.errors import MaskmillError, ObjectForbidden, StoreRefused, StoreUnavailable, UsageError
from maskmill.settings import S3Settings, load_settings
from maskmill.storage import client as clients
from maskmill.storage.probe import check_store, require_store
from maskmill.storage.sole_writer import SoleWriterStore
from maskmill.storage.store import Store
from tests.acceptance.images import write_good
from tests.integration.s3_modes import AFTER, BEFORE, Proxy, answering
from tests.integration.store_needs import lets_the_first_win, serves
from tests.serving import serving
from tests.tls import tls_in_front_of


def store_at(url: str, settings: Settings, kind: type[Store] = Store) -> Store:
    return kind(settings.out, settings.s3.model_copy(update={"endpoint_url": url}), attempts=2)


@contextmanager
def store_in_mode(mode: str, moto: str, settings: Settings, kind: type[Store] = Store) -> Iterator[tuple[Store, Proxy]]:
    """Behind the proxy is moto, which minds no signature over headers that a mode takes away."""
    store_at(moto, settings).ensure_bucket()
    with answering(moto, mode) as proxy:
        yield store_at(proxy.url, settings, kind), proxy


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


# Real ones


def test_seaweedfs_does_all_that_is_needed(settings: Settings) -> None:
    store = Store(settings.out, settings.s3)
    serves(store)
    lets_the_first_win(store)
    assert all(check.ok for check in check_store(store))
    assert list(store.list("probes/")) == [], "a probe leaves nothing"


def test_moto_does_all_that_is_needed(moto: str, settings: Settings) -> None:
    store = store_at(moto, settings)
    store.ensure_bucket()
    store.ensure_bucket()
    serves(store)
    lets_the_first_win(store)
    assert all(check.ok for check in check_store(store))


# Modes

FINE = [
    "checksum headers refused (B2, GCS)",
    "checksum mode refused",
    "Content-MD5 wanted for batch deletions (GCS, older MinIO)",
    "no batch deletions (GCS)",
    "ETags that are no MD5 (SSE-KMS)",
    "a wrong checksum on each answer (rclone's 304, a cache)",
    "no ETags",
]


@pytest.mark.parametrize("mode", FINE)
def test_what_is_odd_and_harmless_is_served(mode: str, moto: str, settings: Settings) -> None:
    assert mode in {**BEFORE, **AFTER}
    with store_in_mode(mode, moto, settings) as (store, _):
        serves(store)
        assert store.put_if_absent("report", b"first")
        assert not store.put_if_absent("report", b"second")


WITHOUT = [
    "conditions answered with 501 (Backblaze B2)",
    "conditions answered with 400 (Wasabi)",
    "conditions ignored (rclone, older Ceph)",
    "If-Match answered with 501 (an older R2)",
]


@pytest.mark.parametrize("mode", WITHOUT)
def test_a_store_without_conditions_is_refused_with_the_way_out(mode: str, moto: str, settings: Settings) -> None:
    with store_in_mode(mode, moto, settings) as (store, _):
        with pytest.raises(StoreRefused, match="MASKMILL_STORE_WITHOUT_CONDITIONS=single-writer") as caught:
            require_store(store)
        assert settings.out in str(caught.value)
        assert "conditional puts" in str(caught.value)
        wrong = [check.name for check in check_store(store) if not check.ok]
        first = [] if "If-Match" in mode else ["store: conditional put"]
        assert wrong == [*first, "store: conditional replacement"]
    assert list(store_at(moto, settings).list("probes/")) == []


@pytest.mark.parametrize("mode", WITHOUT)
def test_a_single_writer_needs_no_conditions(mode: str, moto: str, settings: Settings) -> None:
    with store_in_mode(mode, moto, settings, SoleWriterStore) as (store, proxy):
        require_store(store)
        serves(store)
        lets_the_first_win(store)
        assert not any(request.has("if-none-match", "if-match") for request in proxy.seen if request.method == "PUT")


def test_objects_that_others_left_prove_nothing(moto: str, settings: Settings) -> None:
    """A store that ignores conditions, and in which somebody's probe lies."""
    store_at(moto, settings).ensure_bucket()
    store_at(moto, settings).put("probes/0123456789abcdef", b"left behind")
    with store_in_mode("conditions ignored (rclone, older Ceph)", moto, settings) as (store, _):
        assert any(not check.ok for check in check_store(store))


@pytest.mark.parametrize(
    ("mode", "check", "said"),
    [
        ("no right to list", "store: list", "policy for s3:ListBucket (AccessDenied: not here)"),
        ("no right to put without SSE-KMS", "store: put", "policy for s3:PutObject (AccessDenied: not here)"),
        ("no right to delete", "store: delete", "policy for s3:DeleteObject (AccessDenied: not here)"),
        ("another region", "store: put", "AWS_REGION"),
    ],
)
def test_a_missing_right_is_found_by_the_check_of_its_name(
    mode: str, check: str, said: str, moto: str, settings: Settings
) -> None:
    with store_in_mode(mode, moto, settings) as (store, _):
        [wrong] = [each for each in check_store(store) if not each.ok]
        assert wrong.name == check
        assert said in wrong.problem
        assert wrong.fatal is (check != "store: delete")


def test_a_store_that_is_away_is_no_finding_but_an_outage(settings: Settings) -> None:
    with pytest.raises(StoreUnavailable, match="AWS_ENDPOINT_URL_S3"):
        check_store(store_at("http://127.0.0.1:1", settings))


# Answers that are no S3


class Odd(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    status, kind, text = 200, "text/html", b"<html><body>please log in"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = b"" if self.command == "PUT" and self.kind.startswith("binary") else self.text
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET  # noqa: N815 - names of the base class

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def odd_server(**answer: Any) -> Iterator[str]:
    handler = type("Odder", (Odd,), answer)
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


def test_a_login_page_is_told_from_a_store(settings: Settings) -> None:
    with odd_server() as url, pytest.raises(StoreUnavailable, match="a web page answers"):
        require_store(store_at(url, settings))


def test_a_server_error_whose_page_is_no_xml_is_an_outage(settings: Settings) -> None:
    with odd_server(status=502) as url, pytest.raises(StoreUnavailable):
        list(store_at(url, settings).list())


def test_a_store_that_changes_bytes_is_refused(settings: Settings) -> None:
    """As those do that keep an upload's chunk headers (aws-chunked)."""
    raw = {"kind": "binary/octet-stream", "text": b"9\\r\\nthe first\\r\\n"}
    with odd_server(**raw) as url, pytest.raises(StoreRefused, match="other bytes come back"):
        require_store(store_at(url, settings))


@pytest.mark.parametrize(
    ("status", "code", "kind", "said"),
    [
        (403, "SignatureDoesNotMatch", ObjectForbidden, "AWS_SECRET_ACCESS_KEY"),
        (403, "InvalidAccessKeyId", ObjectForbidden, "AWS_ACCESS_KEY_ID"),
        (400, "ExpiredToken", ObjectForbidden, "AWS_SESSION_TOKEN"),
        (403, "RequestTimeTooSkewed", StoreUnavailable, "clock"),
        (403, "QuotaExceeded", StoreRefused, "quota"),
        (507, "XMinioStorageFull", StoreUnavailable, "disk is full"),
        (409, "OperationAborted", StoreUnavailable, "OperationAborted"),
        (501, "NotImplemented", StoreRefused, "NotImplemented"),
    ],
)
def test_answers_say_what_they_mean(
    status: int, code: str, kind: type[MaskmillError], said: str, settings: Settings
) -> None:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode()
    with odd_server(status=status, kind="application/xml", text=text) as url:
        with pytest.raises(kind, match=said) as caught:
            store_at(url, settings).put("a", b"")
        assert type(caught.value) is kind


# Settings, and boto3's own


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder of AWS's own files, and nothing of it in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)
    clients._session.cache_clear()
    yield tmp_path
    clients._session.cache_clear()


def address_of(settings: S3Settings) -> str:
    signed = clients.new_client(settings).generate_presigned_url("get_object", {"Bucket": "bkt", "Key": "k"})
    return signed.split("?")[0]


def test_a_profile_gives_endpoint_style_region_and_keys(aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aws / "config").write_text(
        "[profile lab]\nregion = lab-1\nendpoint_url = https://store.lan\ns3 =\n  addressing_style = virtual\n"
    )
    (aws / "credentials").write_text(
        "[lab]\naws_access_key_id = LAB\naws_secret_access_key = x\naws_session_token = t\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    made = clients.new_client(load_settings().s3)
    assert address_of(load_settings().s3) == "https://bkt.store.lan/k"
    assert made.meta.region_name == "lab-1"
    assert made.meta.config.request_checksum_calculation == "when_required", "as for any store but AWS"
    signed = made.generate_presigned_url("get_object", {"Bucket": "bkt", "Key": "k"})
    assert "LAB" in signed
    assert "Token" in signed or "token" in signed


def test_paths_are_the_style_of_other_stores_unless_it_is_set(aws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://localhost:1")
    assert address_of(load_settings().s3) == "http://localhost:1/bkt/k"
    monkeypatch.setenv("MASKMILL_S3", json.dumps({"endpoint_url": "http://localhost:1", "addressing_style": "virtual"}))
    assert address_of(load_settings().s3) == "http://bkt.localhost:1/k"
    (aws / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    clients._session.cache_clear()
    monkeypatch.delenv("MASKMILL_S3")
    assert address_of(load_settings().s3) == "http://bkt.localhost:1/k"


def test_checksums_are_aws_s_alone(aws: Path) -> None:
    for endpoint, expected in (
        (None, "when_supported"),
        ("https://s3.eu-central-1.amazonaws.com", "when_supported"),
        ("https://storage.googleapis.com", "when_required"),
        ("https://amazonaws.com.evil.lan", "when_required"),
    ):
        made = clients.new_client(S3Settings(endpoint_url=endpoint, region="eu-central-1"))
        assert made.meta.config.request_checksum_calculation == expected, endpoint
        assert made.meta.config.response_checksum_validation == expected, endpoint


def test_a_put_has_no_trailer_on_its_way_through_tls(aws: Path) -> None:
    keys = S3Settings(endpoint_url="https://store.lan", access_key_id="a", secret_access_key=SecretStr("b"), region="x")
    store, seen = Store("s3://bucket/x", keys, attempts=1), list[dict[str, str]]()

    def stop(request: Any, **_: Any) -> None:
        seen.append({name.lower(): str(value) for name, value in request.headers.items()})
        raise StoreRefused("nothing is sent")

    store.client.meta.events.register("before-send.s3", stop)
    for act in (lambda: store.put("k", b"mask"), lambda: store.put_if_absent("k", b"mask")):
        with pytest.raises(StoreRefused, match="nothing is sent"):
            act()
    for headers in seen:
        assert not [name for name in headers if "checksum" in name or "trailer" in name or name == "content-encoding"]
        assert "STREAMING" not in headers.get("x-amz-content-sha256", "")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AWS_PROFILE": "nobody"}, "AWS_PROFILE"),
        ({"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY"),
        ({}, "no S3 credentials"),
        ({"AWS_REGION": "not a region!"}, "AWS_REGION"),
        ({"AWS_ENDPOINT_URL_S3": "http://a b"}, "AWS_ENDPOINT_URL_S3"),
    ],
)
def test_settings_that_boto3_cannot_use_are_one_line(
    aws: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=said):
        Store("s3://bucket/x", load_settings().s3, attempts=1).get("k")


def test_an_untrusted_certificate_names_the_setting(settings: Settings) -> None:
    assert settings.s3.endpoint_url
    plain = int(settings.s3.endpoint_url.rpartition(":")[2])
    with tls_in_front_of(plain, trustme.CA()) as port, pytest.raises(StoreRefused, match="AWS_CA_BUNDLE"):
        store_at(f"https://127.0.0.1:{port}", settings).get("k")


# Before work begins


def test_a_job_is_not_submitted_to_a_store_that_will_not_do(settings: Settings, tmp_path: Path) -> None:
    write_good(tmp_path / "some", 2)
    assert settings.s3.endpoint_url
    with answering(settings.s3.endpoint_url, "conditions answered with 501 (Backblaze B2)") as proxy:
        client = Client(settings.model_copy(update={"s3": settings.s3.model_copy(update={"endpoint_url": proxy.url})}))
        with pytest.raises(StoreRefused, match="single-writer"):
            client.submit(tmp_path / "some", model="demo")
    assert list(Store(settings.out, settings.s3).list()) == []
    assert client.jobs() == []
