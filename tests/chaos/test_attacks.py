"""References and models by which a submitter would have a worker read what is not for them: each is refused."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from maskmill import Client
from tests.acceptance.images import jpeg, write_good
from tests.chaos.account import check_account
from tests.chaos.form import record
from tests.conftest import StartWorker
from tests.serving import serving

WAIT_SECONDS = 600
GOOD = 12
SECRET = "the-secret-that-nobody-may-read"


class Site(ThreadingHTTPServer):
    """Allowed as `localhost` and not as 127.0.0.1, so that every other way to the same address is an attack."""

    daemon_threads = True

    def __init__(self) -> None:
        self.reached = 0
        super().__init__(("127.0.0.1", 0), Page)


class Page(BaseHTTPRequestHandler):
    """`/image` counts who gets there; `/to/…` leads there; `/endless` and `/slow` never stop."""

    server: Site

    def do_GET(self) -> None:
        with suppress(OSError):  # they hang up on us
            getattr(self, self.path.strip("/").partition("/")[0])()

    def image(self) -> None:
        self.server.reached += 1
        self._head(200)
        self.wfile.write(jpeg())

    def to(self) -> None:
        self._head(302, Location=self.path.removeprefix("/to/"))

    def endless(self) -> None:
        self._head(200)
        while True:
            self.wfile.write(bytes(2**16))

    def slow(self) -> None:
        self._head(200)
        while True:
            self.wfile.write(b"x")
            time.sleep(0.2)

    def _head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """No line a request."""


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as running:
        yield running


def attacks(folder: Path, port: int) -> dict[str, str]:
    """References, and the code that each must end with. `folder` is the only one that the worker may read."""
    (folder.parent / "secret.png").write_text(SECRET)
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "up").symlink_to(folder.parent)
    here = [f"{host}:{port}/image" for host in ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost.", "[::1]")]
    here += [f"[::ffff:127.0.0.1]:{port}/image"]
    others = ["169.254.169.254/latest/meta-data/", "10.0.0.1/", "[fd00:ec2::254]/latest/", "0/", "[fe80::1]/"]
    paths = ["/etc/passwd", "/proc/self/environ", "/dev/zero", f"{folder}/../secret.png", "file:///etc/hostname"]
    paths += [f"{folder}/link.png", f"{folder}/up/secret.png", f"{folder}/up/up/secret.png", f"{folder}2/secret.png"]
    refused = [f"http://{place}" for place in here + others]
    refused += [f"http://localhost:{port}/to/http://{place}" for place in here + others]
    refused += ["s3://somebody-else/secret.png", *paths]
    loop = f"http://localhost:{port}/to/http://localhost:{port}"
    others_codes = {
        f"{loop}/to/{loop}/to/{loop}/to/{loop}/to/{loop}/to/{loop}/image": "fetch_failed",
        f"http://localhost:{port}/to/file:///etc/passwd": "unsupported",
        f"http://localhost:{port}/endless": "too_large",
        f"http://localhost:{port}/slow": "timeout",
    }
    return dict.fromkeys(refused, "refused") | others_codes


def uri_of(reference: str) -> str:
    """What the account calls it: local paths without `file://` and `..`."""
    path = reference.removeprefix("file://")
    return os.path.normpath(path) if path.startswith("/") else reference


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_a_submitter_gets_nothing_that_the_worker_may_not_read(
    client: Client, start_worker: StartWorker, site: Site, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    good = [str(path) for path in write_good(folder, GOOD)]
    codes = attacks(folder, site.server_port)
    names = tmp_path / "list.txt"
    names.write_text("\n".join([*codes, *good]))
    worker = start_worker(
        MASKMILL_ALLOW_PRIVATE_HOSTS="localhost",
        MASKMILL_ALLOWED_ROOTS=str(folder),
        MASKMILL_ALLOWED_BUCKETS=client.settings.bucket,
        MASKMILL_ALLOWED_MODELS="demo",
        MASKMILL_MAX_IMAGE_BYTES="1000000",
        MASKMILL_FETCH_TIMEOUT_SECONDS="3",
    )
    codes = {uri_of(reference): code for reference, code in codes.items()}
    job = client.submit(str(names), model="demo")
    job.wait(timeout=WAIT_SECONDS)

    account = check_account(job, [*codes, *good])
    record(account.row("attacks of a submitter: hosts, redirects, paths, links, buckets, bodies", len(codes)))
    ends = {outcome.uri: (outcome.code, outcome.reason) for outcome in job.failures()}
    wrong = {uri: ends.get(uri) for uri, code in codes.items() if ends.get(uri, ("", ""))[0] != code}
    assert not wrong
    assert account.stored == GOOD
    assert account.lost == account.duplicated == 0
    assert site.reached == 0
    assert SECRET not in worker.log.read_text() + str(ends)

    for model in (str(tmp_path / "evil"), f"{tmp_path}/photos/../evil", "somebody/evil", "../../etc"):
        assert set(client.submit(good, model=model).wait(WAIT_SECONDS).failures) == {"model_refused"}
    assert worker.process.poll() is None
