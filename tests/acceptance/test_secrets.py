"""Passwords and keys: a whole job through TLS and a password, and none of them anywhere but in the settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import trustme

from maskmill import Client, Settings
from maskmill.schema import Counts
from tests.acceptance.images import write_good
from tests.conftest import StartWorker
from tests.tls import tls_in_front_of

WAIT_SECONDS = 600
MASKMILL = str(Path(sys.executable).parent / "maskmill")


def all_text_of(client: Client) -> str:
    """Every message and key of the broker, and every object of the bucket that is text."""
    redis = client.services.ledger.redis
    texts = [*redis.scan_iter("*"), *redis.lrange(client.settings.queue, 0, -1)]
    store = client.services.store(client.settings.out)
    texts += [store.get(item.key).decode(errors="replace") for item in store.list()]
    return "\n".join(map(str, texts))


def command_lines(worker: psutil.Process) -> str:
    return "\n".join(" ".join(each.cmdline()) for each in [worker, *worker.children(recursive=True)])


def test_a_job_through_tls_and_a_password_shows_no_secret(
    settings: Settings, start_worker: StartWorker, environment: dict[str, str], tmp_path: Path
) -> None:
    broker, authority = urlsplit(settings.broker_url.get_secret_value()), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    write_good(tmp_path / "some", 8)
    assert broker.port
    with tls_in_front_of(broker.port, authority) as port:
        safe = {
            "MASKMILL_BROKER_URL": f"rediss://:{broker.password}@127.0.0.1:{port}/0",
            "MASKMILL_BROKER_CA": str(tmp_path / "ca.pem"),
        }
        worker = start_worker(**safe)
        command = [MASKMILL, "submit", str(tmp_path / "some"), "--model", "demo", "--json"]
        said = subprocess.run(command, env=environment | safe, capture_output=True, text=True, timeout=WAIT_SECONDS)
        assert said.returncode == 0, said.stderr
        client = Client(settings)
        manifest = client.job(json.loads(said.stdout)["job"]).wait(WAIT_SECONDS)
        assert manifest.counts == Counts(stored=8)
        lines = command_lines(psutil.Process(worker.process.pid))
        worker.stop()
        away = environment | safe | {"MASKMILL_BROKER_URL": f"rediss://:{broker.password}@127.0.0.1:1/0"}
        failed = subprocess.run(command, env=away, capture_output=True, text=True, timeout=WAIT_SECONDS)
        assert failed.returncode == 5
    shown = [said.stdout, said.stderr, failed.stdout, failed.stderr, worker.log.read_text(), lines, all_text_of(client)]
    assert settings.s3.secret_access_key
    for secret in (broker.password, settings.s3.secret_access_key.get_secret_value()):
        assert secret
        assert not any(secret in text for text in shown)


def test_a_certificate_of_a_stranger_is_refused(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    broker = urlsplit(settings.broker_url.get_secret_value())
    write_good(tmp_path / "some", 1)
    assert broker.port
    with tls_in_front_of(broker.port, trustme.CA()) as port:
        safe = {"MASKMILL_BROKER_URL": f"rediss://:{broker.password}@127.0.0.1:{port}/0"}
        command = [MASKMILL, "submit", str(tmp_path / "some"), "--model", "demo"]
        said = subprocess.run(command, env=environment | safe, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert said.returncode == 5
    assert "Traceback" not in said.stderr
