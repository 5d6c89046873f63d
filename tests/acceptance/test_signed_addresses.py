"""Images behind user, password and signature: fetched with them by a real worker, and shown without them anywhere."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from maskmill import Client, Settings
from maskmill.schema import Counts
from tests.acceptance.images import jpeg
from tests.conftest import StartWorker
from tests.serving import serving

WAIT_SECONDS = 600
PHOTO = jpeg((64, 48))
MASKMILL = str(Path(sys.executable).parent / "maskmill")
SECRETS = ("u-ser", "pass-word", "sig-nature", base64.b64encode(b"u-ser:pass-word").decode())


class Gate(ThreadingHTTPServer):
    """Has `missing` once it is `found`."""

    found = False


class Handler(BaseHTTPRequestHandler):
    """A JPEG for whoever has password and signature; `broken` is none, `missing` is not there."""

    server: Gate

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        signed_today = query.startswith("X-Amz-Signature=sig-nature")
        known = self.headers["Authorization"] == f"Basic {SECRETS[3]}" and signed_today
        missing = path == "/missing.jpg" and not self.server.found
        status = 403 if not known else 404 if missing else 200
        body = b"no image" if path == "/broken.jpg" else PHOTO
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Gate]:
    with serving(Gate(("127.0.0.1", 0), Handler)) as server:
        yield server


def test_a_whole_job_shows_addresses_without_user_password_and_query(
    client: Client,
    settings: Settings,
    start_worker: StartWorker,
    environment: dict[str, str],
    server: Gate,
    tmp_path: Path,
) -> None:
    host = f"127.0.0.1:{server.server_port}"
    names = ("a", "b", "missing", "broken")
    signed = [f"http://u-ser:pass-word@{host}/{name}.jpg?X-Amz-Signature=sig-nature" for name in names]
    (tmp_path / "list.txt").write_text("\n".join(signed))
    worker = start_worker(MASKMILL_LOG_JSON="true")

    job = client.submit(str(tmp_path / "list.txt"), model="demo")
    manifest = job.wait(WAIT_SECONDS)

    def maskmill(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [MASKMILL, *arguments, "--json"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=WAIT_SECONDS)

    assert manifest.counts == Counts(stored=2, failed=2)
    status, failures, results = (maskmill(each, job.id) for each in ("status", "failures", "results"))
    assert json.loads(status.stdout)["failures"] == {"not_found": 1, "not_an_image": 1}, status.stderr
    asked = [maskmill(each, job.id, "--reveal").stdout for each in ("results", "failures")]
    assert [json.loads(line)["uri"] for each in asked for line in each.splitlines()] == signed, "for a list to submit"
    downloaded = maskmill("results", job.id, "--download", str(tmp_path / "masks"))
    files = [path.read_text() for path in (tmp_path / "masks").iterdir() if path.is_file()]
    server.found = True
    assert job.retry() == 2
    assert job.wait(WAIT_SECONDS).counts == Counts(stored=3, failed=1), "fetched again, with all that it takes"
    (tmp_path / "list.txt").write_text("\n".join(f"{each}-of-today&X-Amz-Date=20261127" for each in signed))
    signed_anew = client.submit(str(tmp_path / "list.txt"), model="demo").wait(WAIT_SECONDS)
    assert signed_anew.counts == Counts(reused=3, failed=1), "a new signature is that of the same image"
    worker.stop()
    masks = [job.store.get(item.key) for item in job.store.list("masks/")]
    texts = [str(Image.open(io.BytesIO(mask)).info) for mask in masks]
    keys = [item.key for item in job.store.list()]
    redis = client.services.ledger.redis
    ledger = [str(redis.hgetall(key)) for key in redis.scan_iter(f"*{job.id}:meta")]
    shown = [*texts, *keys, *ledger, *files, str(manifest), worker.log.read_text()]
    shown += [text for each in (status, failures, results, downloaded) for text in (each.stdout, each.stderr)]
    assert not [(secret, text) for secret in SECRETS for text in shown if secret in text]
    for name in names[:2]:
        assert any(f"http://{host}/{name}.jpg" in text for text in texts), "the address itself is there"
    failed = {f"http://{host}/{name}.jpg" for name in names[2:]}
    assert {example.uri for example in manifest.examples.values()} == failed
