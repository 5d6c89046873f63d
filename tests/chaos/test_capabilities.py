"""Servers and machines that lack what is usual: conditional puts, sane checksums, shared memory, a broker alone."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from PIL import Image
from pydantic import SecretStr

from maskmill import Client, Settings
from maskmill.errors import MaskmillError
from maskmill.storage.store import Store
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.conftest import WORKER, StartWorker, settings_of, wait_for, worker_starter
from tests.integration.s3_modes import answering
from tests.integration.valkey import client as redis_of
from tests.integration.valkey import url, valkey

IMAGES = 200 if LONG else 16
WAIT_SECONDS = 840

SMALL_SHM = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && df -B1 /dev/shm | tail -1 && exec "$@"'
IN_OWN_MOUNTS = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", SMALL_SHM, "sh")


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    return settings_of(servers, lease_seconds=5, shard_size=4, max_attempts=3)


@pytest.mark.timeout(WAIT_SECONDS)
def test_a_store_without_conditions_and_one_worker_that_is_killed(
    client: Client, servers: embedded.Servers, start_worker: StartWorker, tmp_path: Path
) -> None:
    images, kills = write_good(tmp_path / "some", IMAGES), 3 if LONG else 1
    with answering(servers.s3_endpoint_url, "conditions answered with 501 (Backblaze B2)") as proxy:
        alone = {"AWS_ENDPOINT_URL_S3": proxy.url, "MASKMILL_STORE_WITHOUT_CONDITIONS": "single-writer"}
        job = client.submit(str(tmp_path / "some"), model="demo")
        worker, slowest = start_worker(**alone), 0.0
        for _ in range(kills):
            done = job.status().counts.total
            wait_for(lambda done=done: job.status().counts.total > done, job.status)
            worker.pool_child.kill()
            worker.process.kill()
            killed = time.monotonic()
            worker = start_worker(**alone)
            done = job.status().counts.total
            wait_for(lambda done=done: job.status().counts.total > done or job.status().finished, job.status)
            slowest = max(slowest, time.monotonic() - killed)
        manifest = job.wait(timeout=WAIT_SECONDS - 90)
    account = check_account(job, [str(image) for image in images])
    record(account.row("store: without conditional puts, its one worker killed", kills, slowest))
    assert manifest.counts.stored == IMAGES
    assert account.lost == account.duplicated == account.failed == 0


@pytest.mark.timeout(WAIT_SECONDS)
def test_a_store_whose_answers_carry_wrong_checksums(
    client: Client, servers: embedded.Servers, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Sources and results; the second job asks for each image with the version that it knows, and hears 304."""
    images = write_good(tmp_path / "some", IMAGES)
    sources = Store(f"{client.settings.out}-sources", client.settings.s3)
    for image in images:
        sources.put(image.name, image.read_bytes(), "image/jpeg")
    uris = [f"{sources.url}/{image.name}" for image in images]
    with answering(servers.s3_endpoint_url, "a wrong checksum on each answer (rclone's 304, a cache)") as proxy:
        start_worker(AWS_ENDPOINT_URL_S3=proxy.url)
        first = client.submit(f"{sources.url}/", model="demo")
        stored = first.wait(timeout=WAIT_SECONDS / 2).counts
        again = client.submit(f"{sources.url}/", model="demo").wait(timeout=WAIT_SECONDS / 2).counts
    account = check_account(first, uris)
    record(account.row("store: wrong checksums on each answer", len(proxy.seen)))
    assert (stored.stored, again.reused) == (IMAGES, IMAGES)
    assert account.lost == account.duplicated == account.failed == 0


@pytest.mark.timeout(WAIT_SECONDS)
def test_shared_memory_of_64_mb(client: Client, environment: dict[str, str], tmp_path: Path) -> None:
    """What Docker and Kubernetes give, and several loader processes with images of 23 megapixels."""
    folder, number = tmp_path / "big", 8 if LONG else 4
    folder.mkdir()
    Image.effect_noise((4800, 4800), 60).convert("RGB").save(folder / "0.jpg")
    for index in range(1, number):
        shutil.copy(folder / "0.jpg", folder / f"{index}.jpg")
    with worker_starter(environment | {"MASKMILL_NUM_WORKERS": "2"}, tmp_path, (*IN_OWN_MOUNTS, *WORKER)) as start:
        worker = start()
        job = client.submit(str(folder), model="demo")
        manifest = job.wait(timeout=WAIT_SECONDS - 90)
        log = worker.log.read_text()
    account = check_account(job, [str(folder / f"{index}.jpg") for index in range(number)])
    record(account.row("machine: 64 MB of /dev/shm, images of 23 megapixels", 1))
    assert "67108864" in log, "the worker had that /dev/shm"
    assert manifest.counts.stored == number
    assert account.lost == account.duplicated == account.failed == 0


@contextmanager
def cache_beside(port: int) -> Iterator[None]:
    """Another application that fills the broker, so that it evicts keys, whosoever they are."""
    redis, stopped = redis_of(port), threading.Event()

    def fill() -> None:
        number = 0
        while not stopped.wait(0.02):
            with redis.pipeline(transaction=False) as pipe:
                for number in range(number, number + 200):  # noqa: B020 - it goes on where it was
                    pipe.set(f"cache:{number}", "x" * 1000)
                pipe.execute()

    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 3_000_000)
    thread = threading.Thread(target=fill)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@pytest.mark.timeout(WAIT_SECONDS)
def test_a_broker_that_evicts_keys(settings: Settings, start_worker: StartWorker, tmp_path: Path) -> None:
    """`maskmill resume` brings the job on, again and again, and to its end once the eviction is over."""
    images, evictions = write_good(tmp_path / "some", IMAGES), 3 if LONG else 1
    with valkey(tmp_path, "maxmemory-policy allkeys-random") as port:
        client = Client(settings.model_copy(update={"broker_url": SecretStr(url(port))}))
        redis = redis_of(port)
        job = client.submit(str(tmp_path / "some"), model="demo")
        worker = start_worker(MASKMILL_BROKER_URL=url(port))
        wait_for(lambda: job.status().counts.total > 0, worker.log.read_text)
        own = f"maskmill:{settings.queue}:{job.id}:*"
        for _ in range(evictions):
            with suppress(MaskmillError):
                job.resume()
            before = set(redis.keys(own))
            with cache_beside(port):
                wait_for(lambda before=before: bool(before - set(redis.keys(own))), lambda: redis.info("stats"))
        redis.config_set("maxmemory", 0)
        recovered = time.monotonic()
        job.resume()
        manifest = job.wait(timeout=WAIT_SECONDS - 90)
        seconds = time.monotonic() - recovered
        account = check_account(job, [str(image) for image in images])
        record(account.row("broker: evicts the job's keys", redis.info("stats")["evicted_keys"], seconds))
        worker.stop()
    assert manifest.counts.stored == IMAGES
    assert account.lost == account.duplicated == account.failed == 0
    assert "maxmemory-policy" in worker.log.read_text(), "and it was said at the start"
