"""A store that refuses for good: the job says so, nothing is segmented in vain, and it goes on when that is mended."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from maskmill import Client, Job, Settings
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.chaos import fault_proxy as proxies
from tests.chaos.account import check_account
from tests.chaos.fault_proxy import fault_proxy
from tests.chaos.form import record
from tests.conftest import StartWorker, settings_of

IMAGES = 12
SHARD_SIZE = 4
WAIT_SECONDS = 600

REFUSALS = {"no such operation": (501, "NotImplemented"), "no right": (403, "AccessDenied")}


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    return settings_of(servers, lease_seconds=5, shard_size=SHARD_SIZE, max_attempts=2)


def trouble_of(job: Job) -> str:
    deadline = time.monotonic() + 60
    while not (trouble := job.status().trouble):
        assert time.monotonic() < deadline, job.status()
        time.sleep(0.2)
    return trouble


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.timeout(WAIT_SECONDS)
def test_a_store_that_refuses_masks_is_named_by_the_job_which_goes_on_when_it_is_mended(
    client: Client,
    servers: embedded.Servers,
    start_worker: StartWorker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusal: str,
) -> None:
    images = write_good(tmp_path / "some", IMAGES)
    monkeypatch.setattr(proxies, "ERRORS", REFUSALS)
    with fault_proxy(servers.s3_endpoint_url, share=0.0) as proxy:
        refused = list[str]()

        def roll(command: str, path: str) -> str | None:
            if command != "PUT":
                return None
            refused.append(path)
            return refusal

        monkeypatch.setattr(proxy, "roll", roll)
        worker = start_worker("--device", "cpu", "--json", AWS_ENDPOINT_URL_S3=proxy.url)
        job = client.submit(str(tmp_path / "some"), model="demo")

        trouble = trouble_of(job)
        code = REFUSALS[refusal][1]
        assert code in trouble
        while not any("/probes/" in path for path in refused):
            time.sleep(0.1)
        masks = [path for path in refused if "/masks/" in path]
        assert len(masks) <= 2 * SHARD_SIZE, "once is enough to see that the store refuses"
        assert not job.status().finished

        monkeypatch.setattr(proxy, "roll", lambda *_: None)
        manifest = job.wait(timeout=WAIT_SECONDS - 90)
    account = check_account(job, [str(image) for image in images])
    record(account.row(f"store: refuses puts ({code}), then mended", len(refused)))
    assert manifest.counts.stored == account.stored == IMAGES
    assert account.lost == account.duplicated == account.failed == 0
    assert job.status().trouble is None
    assert worker.process.poll() is None
