"""What a worker may read, by its settings: hosts, folders, buckets, models."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from maskmill.access import Access, is_public, model_allowed
from maskmill.errors import ImageRefused, InvalidSettings
from maskmill.images.fetch import Fetcher
from maskmill.images.limits import FetchLimits
from maskmill.settings import Settings, load_settings
from maskmill.storage.download import Download
from tests.serving import serving

PRIVATE = [
    "127.0.0.1",
    "127.255.0.3",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "::127.0.0.1",
    "::ffff:0:10.0.0.1",
    "fec0::1",
    "192.0.0.192",
    "168.63.129.16",
    "100.100.100.200",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


class Handler(BaseHTTPRequestHandler):
    """`/to/HOST` redirects to that host, `/image` answers."""

    def do_GET(self) -> None:
        name, _, rest = self.path.strip("/").partition("/")
        self.send_response(302 if name == "to" else 200)
        if name == "to":
            self.send_header("Location", f"http://{rest}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """No line a request."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_port


def fetch(uri: str, *hosts: str) -> bytes:
    return Fetcher(FetchLimits(timeout_seconds=5, attempts=1), access=Access(hosts=hosts)).fetch(uri)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST.", "127.1", "2130706433", "0x7f.1", "[::1]"])
def test_private_hosts_are_refused_however_they_are_written(port: int, host: str) -> None:
    with pytest.raises(ImageRefused, match="MASKMILL_ALLOW_PRIVATE_HOSTS"):
        fetch(f"http://{host}:{port}/image")


@pytest.mark.parametrize("target", ["169.254.169.254/latest/meta-data", "10.0.0.1:1/", "[::ffff:10.0.0.1]/", "0/"])
def test_a_redirect_to_a_private_host_is_refused(port: int, target: str) -> None:
    with pytest.raises(ImageRefused):
        fetch(f"http://127.0.0.1:{port}/to/{target}", "127.0.0.1")


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "all"])
def test_allowed_hosts_and_networks(port: int, allowed: str) -> None:
    assert fetch(f"http://127.0.0.1:{port}/image", allowed) == b""


def test_the_address_that_was_checked_is_the_one_connected_to(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers differently each time (DNS rebinding) cannot get past the check."""
    answers = iter(["93.184.216.34", "127.0.0.1"])

    def rebinding(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", (next(answers), port))]

    monkeypatch.setattr("maskmill.access.socket.getaddrinfo", rebinding)
    assert Access(hosts=()).addresses("rebinding.example", port) == ["93.184.216.34"]
    with pytest.raises(ImageRefused):
        Access(hosts=()).addresses("rebinding.example", port)


def test_of_several_addresses_only_the_public_ones_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(2, 1, 6, "", (address, 80)) for address in ("10.0.0.1", "1.1.1.1", "1.1.1.1")]
    monkeypatch.setattr("maskmill.access.socket.getaddrinfo", lambda *_, **__: found)
    assert Access(hosts=()).addresses("mixed.example", 80) == ["1.1.1.1"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    (tmp_path / "photos2").mkdir()
    for name in ("photos/a.png", "photos/deep/b.png", "photos2/c.png", "secret.png"):
        (tmp_path / name).write_bytes(b"image")
    (tmp_path / "photos" / "out.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "photos" / "in.png").symlink_to(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path / "photos" / "loop")
    return tmp_path


def read(tree: Path, name: str) -> bytes:
    return Fetcher(access=Access(roots=(str(tree / "photos"),))).fetch(f"{tree}/{name}")


@pytest.mark.parametrize("name", ["photos/a.png", "photos/deep/b.png", "photos/in.png", "photos2/../photos/a.png"])
def test_paths_below_a_root(tree: Path, name: str) -> None:
    assert read(tree, name) == b"image"


@pytest.mark.parametrize("name", ["secret.png", "photos/../secret.png", "photos/out.png", "photos2/c.png", "nowhere"])
def test_paths_that_lead_out_of_the_roots_are_refused(tree: Path, name: str) -> None:
    with pytest.raises(ImageRefused, match="MASKMILL_ALLOWED_ROOTS"):
        read(tree, name)


def test_a_loop_of_links_is_one_images_error(tree: Path) -> None:
    with pytest.raises(ImageRefused):
        read(tree, "photos/loop")


def test_buckets() -> None:
    fetcher = Fetcher(read_object=lambda *_: Download("v", b"image"), access=Access(buckets=("photos",)))
    assert fetcher.fetch("s3://photos/a.png") == b"image"
    for uri in ("s3://private/a.png", "s3://photos.private/a.png", "s3:///photos/a.png"):
        with pytest.raises(ImageRefused, match="MASKMILL_ALLOWED_BUCKETS"):
            fetcher.fetch(uri)


@pytest.mark.parametrize(
    "broker", ["rediss://:secret@broker.lan:6379/0", "redis://localhost:6379/0", "redis://127.0.0.1"]
)
def test_submitters_get_no_files_and_one_bucket_unless_they_are_trusted(broker: str) -> None:
    """However near the broker looks: a tunnel or a sidecar makes a far one 127.0.0.1."""
    strangers = Settings(broker_url=broker, bucket="results").access
    assert (strangers.hosts, strangers.roots, strangers.buckets) == ((), (), ("results",))
    trusted = Settings(broker_url=broker, trust_submitters=True).access
    assert (trusted.hosts, trusted.roots, trusted.buckets) == ((), None, None)
    some = Settings(broker_url=broker, trust_submitters=True, allowed_roots=("/images",), allowed_buckets=()).access
    assert (some.roots, some.buckets) == (("/images",), ())


def test_all_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKMILL_ALLOWED_ROOTS", "all")
    monkeypatch.setenv("MASKMILL_ALLOWED_BUCKETS", "photos, all")
    assert (Settings().access.roots, Settings().access.buckets) == (None, None)


@pytest.mark.parametrize("name", ["TRUSTED_MODELS", "ALLOWED_MODELS", "ALLOWED_ROOTS", "ALLOWED_BUCKETS"])
def test_a_yes_in_place_of_names_trusts_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for yes in ("true", "True", "1", "yes", " on "):
        monkeypatch.setenv(f"MASKMILL_{name}", yes)
        with pytest.raises(InvalidSettings, match=f"MASKMILL_{name}: .*names nothing: write names, or all"):
            load_settings()
    for no in ("false", "0", "no", "", "off"):
        monkeypatch.setenv(f"MASKMILL_{name}", no)
        assert getattr(load_settings(), name.lower()) == ()


def test_bounds_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKMILL_BROKER_URL", "redis://broker:6379/0")
    monkeypatch.setenv("MASKMILL_ALLOWED_ROOTS", "/images, /more")
    monkeypatch.setenv("MASKMILL_ALLOWED_BUCKETS", "photos")
    monkeypatch.setenv("MASKMILL_ALLOW_PRIVATE_HOSTS", "images.lan, 10.0.0.0/8")
    access = Settings().access
    assert access == Access(("images.lan", "10.0.0.0/8"), ("/images", "/more"), ("photos",))
    monkeypatch.setenv("MASKMILL_ALLOW_PRIVATE_HOSTS", "true")
    assert Settings().access.hosts == ("all",)
    monkeypatch.setenv("MASKMILL_ALLOW_PRIVATE_HOSTS", "no")
    assert Settings().access.hosts == ()


def test_models(tmp_path: Path) -> None:
    patterns = ("demo", "facebook/*", f"{tmp_path}/models/*")
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "evil").mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "evil")
    for name in ("demo", "facebook/detr-resnet-50-panoptic", f"{tmp_path}/models/mine"):
        assert model_allowed(name, patterns)
    for name in ("evil/detr", "facebook", f"{tmp_path}/models/../evil", f"{tmp_path}/models/link", "facebook/../evil"):
        assert not model_allowed(name, patterns)
    assert model_allowed("whoever/whatever", ("all",))
    assert not model_allowed("demo", ())
