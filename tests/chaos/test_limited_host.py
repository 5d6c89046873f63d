"""A host that allows few requests a second: a job of its images is slow, and none of them fails."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from maskmill import Client
from tests.acceptance.images import jpeg
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.conftest import StartWorker
from tests.unit.limited_host import limited_host

IMAGES, PER_SECOND = (1000, 5) if LONG else (40, 10)
WAIT_SECONDS = 1200


@pytest.mark.timeout(WAIT_SECONDS)
def test_no_image_of_a_host_that_allows_few_requests_fails(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    with limited_host(PER_SECOND, jpeg((64, 48))) as host:
        uris = [host.url(f"{n}.jpg") for n in range(IMAGES)]
        (tmp_path / "list.txt").write_text("\n".join(uris))
        start_worker(MASKMILL_NUM_WORKERS="2")
        job = client.submit(str(tmp_path / "list.txt"), model="demo")
        started = time.monotonic()
        manifest = job.wait(timeout=WAIT_SECONDS - 60)
        seconds = time.monotonic() - started
    account = check_account(job, uris)
    record(account.row(f"image host: {PER_SECOND} requests a second, then 429 or 503", host.refused, seconds))
    assert manifest.counts.stored == account.stored == IMAGES
    assert account.lost == account.duplicated == account.failed == 0
    assert host.statuses[200] == IMAGES
    assert host.refused < IMAGES / 2, f"the host is left alone when it says so: {host.statuses}"
