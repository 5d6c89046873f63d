"""The store against a real S3 server."""

from __future__ import annotations

import os
import pickle
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import trustme
from pydantic import SecretStr

from maskmill.addresses import split_url
from maskmill.errors import (
    MaskmillError,
    ObjectForbidden,
    ObjectNotFound,
    ObjectTooLarge,
    StoreUnavailable,
    UsageError,
)
from maskmill.services import Services
from maskmill.settings import S3Settings, Settings
from maskmill.storage.download import Download
from maskmill.storage.reader import ObjectReader
from maskmill.storage.store import Store


@pytest.fixture
def store(settings: Settings) -> Store:
    """A store below an output prefix of this test alone."""
    return Store(settings.out, settings.s3)


def keys(store: Store, prefix: str = "") -> list[str]:
    return [item.key for item in store.list(prefix)]


# Writing and reading


@pytest.mark.parametrize("body", [b"", b"text", bytes(range(256)) * 1000], ids=["nothing", "text", "256 kB"])
def test_an_object_comes_back_byte_for_byte(store: Store, body: bytes) -> None:
    store.put("a/b.bin", body)
    assert store.get("a/b.bin") == body


@pytest.mark.parametrize("key", ["masks/my cat (1).jpg.png", "masks/кот.png", "masks/a_b=c&d+e;f,'!$@~0123.png"])
def test_an_object_keeps_the_name_that_a_mask_may_have(store: Store, key: str) -> None:
    store.put(key, b"mask")
    assert store.get(key) == b"mask"
    assert keys(store, "masks/") == [key]


def test_a_second_put_replaces_the_first(store: Store) -> None:
    store.put("a", b"old and longer")
    store.put("a", b"new")
    assert store.get("a") == b"new"


def test_an_object_keeps_its_content_type(store: Store) -> None:
    store.put("a.png", b"mask", "image/png")
    head = store.client.head_object(Bucket=store.bucket, Key=f"{store.prefix}a.png")
    assert head["ContentType"] == "image/png"


def test_keys_are_below_the_output_prefix(store: Store, settings: Settings) -> None:
    store.put("a", b"mine")
    assert Store(f"s3://{settings.bucket}", settings.s3).get(f"{settings.prefix}/a") == b"mine"


def test_stores_of_two_prefixes_are_separate_even_if_one_begins_like_the_other(settings: Settings) -> None:
    one, other = Store(settings.out, settings.s3), Store(f"{settings.out}-2", settings.s3)
    other.put("a", b"other")
    assert not one.exists("a")
    assert keys(one) == []


def test_an_object_exists_once_it_is_put(store: Store) -> None:
    assert not store.exists("a")
    store.put("a", b"")
    assert store.exists("a")
    assert not store.exists("a/b")


# The first one wins


def test_put_if_absent_leaves_what_is_there(store: Store) -> None:
    assert store.put_if_absent("report", b"first")
    assert not store.put_if_absent("report", b"second")
    assert store.get("report") == b"first"


def test_of_sixteen_threads_that_put_one_key_exactly_one_wins(settings: Settings) -> None:
    stores, barrier = [Store(settings.out, settings.s3) for _ in range(2)], Barrier(16)

    def race(number: int) -> bytes | None:
        body = f"report of {number}".encode()
        barrier.wait()
        return body if stores[number % 2].put_if_absent("report", body) else None

    with ThreadPoolExecutor(16) as pool:
        winners = [body for body in pool.map(race, range(16)) if body is not None]
    assert winners == [stores[0].get("report")]


# Listing


def test_a_listing_has_keys_sizes_and_etags_in_key_order(store: Store) -> None:
    for key in ("b/2", "a", "b/10", "c"):
        store.put(key, key.encode())
    found = list(store.list("b/"))
    assert [(item.key, item.size) for item in found] == [("b/10", 4), ("b/2", 3)]
    assert keys(store) == ["a", "b/10", "b/2", "c"]


def test_the_etag_changes_with_the_object_and_not_without(store: Store) -> None:
    def etag_of(body: bytes) -> str:
        store.put("a", body)
        return next(store.list("a")).etag

    first, second, again = etag_of(b"1"), etag_of(b"2"), etag_of(b"1")
    assert first == again != second
    assert '"' not in first


def test_a_listing_of_more_than_one_page_is_complete(store: Store) -> None:
    names = [f"many/{number:04d}" for number in range(1001)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.put(name, b""), names))
    assert keys(store, "many/") == names


def test_a_prefix_without_objects_lists_none(store: Store) -> None:
    assert keys(store, "nothing/") == []
    assert list(store.folders("nothing/")) == []


def test_folders_are_only_those_directly_below(store: Store) -> None:
    for key in ("jobs/2/job.json", "jobs/2/shards/000000.jsonl", "jobs/1/job.json", "jobs/readme", "masks/a.png"):
        store.put(key, b"")
    assert list(store.folders("jobs/")) == ["1", "2"]


# Limits


def test_an_object_of_exactly_the_limit_is_read_and_one_above_is_not(store: Store) -> None:
    store.put("a", b"12345")
    assert store.download("a", max_bytes=5).data == b"12345"
    with pytest.raises(ObjectTooLarge, match=r"5 bytes; the limit is 4"):
        store.download("a", max_bytes=4)


def test_an_object_is_not_read_again_while_it_is_the_one_that_is_known(store: Store) -> None:
    store.put("a", b"12345")
    first = store.download("a", 100)
    assert store.download("a", 100, first.version) == Download(first.version)
    store.put("a", b"54321")
    again = store.download("a", 100, first.version)
    assert again.data == b"54321"
    assert again.version != first.version


def test_a_deleted_object_is_gone_and_deleting_it_again_is_nothing(store: Store) -> None:
    store.put("a", b"12345")
    store.delete("a")
    store.delete("a")
    assert not store.exists("a")


def test_a_listing_may_begin_after_a_key(store: Store) -> None:
    for key in ("masks/a.png", "masks/b.png", "masks/c.png"):
        store.put(key, b"")
    assert [item.key for item in store.list("masks/", after="masks/a.pn")] == [
        "masks/a.png",
        "masks/b.png",
        "masks/c.png",
    ]
    assert [item.key for item in store.list("masks/", after="masks/b.png")] == ["masks/c.png"]


def test_the_connection_is_usable_after_a_refusal(settings: Settings) -> None:
    store = Store(settings.out, settings.s3, connections=1)
    store.put("a", bytes(2**20))
    for _ in range(3):
        with pytest.raises(ObjectTooLarge):
            store.download("a", max_bytes=1)
    assert len(store.get("a")) == 2**20


# Errors


def of(settings: Settings, **changes: Any) -> S3Settings:
    return settings.s3.model_copy(update=changes)


def test_an_object_that_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(ObjectNotFound, match=f"{store.url}/a/b"):
        store.get("a/b")


def test_a_bucket_that_is_not_there_is_not_found(settings: Settings) -> None:
    store = Store("s3://no-such-bucket-here/out", settings.s3)
    with pytest.raises(ObjectNotFound, match="no-such-bucket-here"):
        store.get("a")
    with pytest.raises(ObjectNotFound, match="no-such-bucket-here"):
        store.put("a", b"")
    with pytest.raises(ObjectNotFound, match="no-such-bucket-here"):
        store.put_if_absent("a", b"")
    with pytest.raises(ObjectNotFound, match="no-such-bucket-here"):
        list(store.list())


def every_verb(store: Store) -> list[Any]:
    return [
        lambda: store.get("a"),
        lambda: store.put("a", b""),
        lambda: store.put_if_absent("a", b""),
        lambda: store.exists("a"),
        lambda: list(store.list()),
        lambda: list(store.folders("a/")),
    ]


def assert_every_verb_raises(store: Store, error: type[MaskmillError], *secrets: str) -> None:
    for verb in every_verb(store):
        with pytest.raises(error) as caught:
            verb()
        assert f"s3://{store.bucket}" in str(caught.value)
        assert not [secret for secret in secrets if secret in str(caught.value)]


def test_a_wrong_secret_is_forbidden_and_not_shown(settings: Settings) -> None:
    wrong = of(settings, secret_access_key=SecretStr("hunter2hunter2"))
    assert_every_verb_raises(Store(settings.out, wrong), ObjectForbidden, "hunter2")


def test_an_unknown_access_key_is_forbidden(settings: Settings) -> None:
    assert_every_verb_raises(Store(settings.out, of(settings, access_key_id="stranger")), ObjectForbidden)


def test_without_credentials_the_cure_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    nobody = of(settings, access_key_id=None, secret_access_key=None)
    with pytest.raises(ObjectForbidden, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Store(settings.out, nobody).get("a")


def test_a_server_that_cannot_be_reached_is_unavailable(settings: Settings) -> None:
    store = Store(settings.out, of(settings, endpoint_url="http://127.0.0.1:1"))
    with ThreadPoolExecutor(6) as pool:  # at once, because each waits between its attempts
        failures = list(pool.map(_error_of, every_verb(store)))
    assert [type(failure) for failure in failures] == [StoreUnavailable] * 6
    assert all("cannot be reached" in str(failure) and failure.__cause__ for failure in failures)


def _error_of(verb: Any) -> Exception:
    try:
        verb()
    except Exception as error:  # noqa: BLE001 - the test looks at its type
        return error
    raise AssertionError("it was reached")


@pytest.fixture
def torn_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An https server whose answer goes on, after a tenth of its body, in the clear."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError), context.wrap_socket(server.accept()[0], server_side=True) as client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(100))
                os.write(client.fileno(), b"no TLS record at all" * 100)

        threading.Thread(target=answer, daemon=True).start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"


def test_an_encryption_that_breaks_off_is_the_store_s_fault(settings: Settings, torn_tls: str) -> None:
    store = Store(settings.out, of(settings, endpoint_url=torn_tls), attempts=1)
    with pytest.raises(StoreUnavailable, match="SSLError"):
        store.get("a")


@pytest.mark.parametrize("url", ["", "bucket/key", "http://bucket/key", "s3://", "s3:///key", "S3://bucket"])
def test_what_is_no_s3_address_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(UsageError, match="write s3://bucket/prefix"):
        split_url(url)


def test_an_s3_address_is_split_into_bucket_and_key() -> None:
    assert split_url("s3://bucket") == ("bucket", "")
    assert split_url("s3://bucket/a/b c?d") == ("bucket", "a/b c?d")


def test_a_bucket_name_that_cannot_be_is_the_caller_s_error(settings: Settings) -> None:
    with pytest.raises(UsageError, match="not a valid S3 address"):
        Store("s3://no good/out", settings.s3).get("a")


# Buckets


def test_a_bucket_is_made_once_and_then_left_alone(settings: Settings) -> None:
    store = Store(f"s3://{settings.prefix}-new", settings.s3)
    store.ensure_bucket()
    store.put("a", b"kept")
    store.ensure_bucket()
    assert store.get("a") == b"kept"


def test_a_bucket_is_not_made_with_a_wrong_secret(settings: Settings) -> None:
    stranger = of(settings, secret_access_key=SecretStr("wrong"))
    with pytest.raises(ObjectForbidden):
        Store(f"s3://{settings.prefix}-new", stranger).ensure_bucket()


# Services and readers


def test_services_keep_one_store_for_each_output_prefix(services: Services, settings: Settings) -> None:
    assert services.store(settings.out) is services.store(settings.out)
    assert services.store(settings.out) is not services.store(f"{settings.out}/other")


def test_an_object_reader_reads_any_bucket(store: Store, settings: Settings) -> None:
    other = Store(f"s3://{settings.prefix}-new", settings.s3)
    other.ensure_bucket()
    other.put("b c.jpg", b"theirs")
    store.put("a.jpg", b"mine")
    read = ObjectReader(settings.s3)
    assert read(f"{store.url}/a.jpg", 100).data == b"mine"
    assert read(f"s3://{settings.prefix}-new/b c.jpg", 100).data == b"theirs"


def test_an_object_reader_may_travel_before_its_first_use(store: Store, settings: Settings) -> None:
    store.put("a.jpg", b"mine")
    read = pickle.loads(pickle.dumps(ObjectReader(settings.s3)))
    assert read(f"{store.url}/a.jpg", 100).data == b"mine"


def test_an_object_reader_says_what_is_missing_too_large_or_no_address(store: Store, settings: Settings) -> None:
    store.put("a.jpg", b"12345")
    read = ObjectReader(settings.s3)
    with pytest.raises(ObjectNotFound):
        read(f"{store.url}/b.jpg", 100)
    with pytest.raises(ObjectTooLarge):
        read(f"{store.url}/a.jpg", 4)
    with pytest.raises(UsageError):
        read("/local/a.jpg", 4)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/folder//a.jpg", "s3://bucket/a\nb.jpg"])
def test_an_odd_address_is_an_error_of_ours(url: str, settings: Settings) -> None:
    with pytest.raises(MaskmillError):
        ObjectReader(settings.s3)(url, 100)
