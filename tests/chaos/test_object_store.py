"""An object store that fails three requests in ten, for shards of the default size whose sources it has as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill import Client, Settings
from maskmill.errors import StoreUnavailable
from maskmill.storage.store import ATTEMPTS, Store
from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.chaos.account import check_account
from tests.chaos.fault_proxy import FAULTS, fault_proxy
from tests.chaos.form import LONG, record
from tests.conftest import StartWorker, settings_of

IMAGES = 5000 if LONG else 60
SHARE = 0.3
WAIT_SECONDS = 7200 if LONG else 600


@pytest.fixture
def settings(servers: embedded.Servers) -> Settings:
    """The default shards: nothing is given back piece by piece, so whatever fails must be tried again at once."""
    return settings_of(servers, lease_seconds=5)


@pytest.mark.parametrize("times", [3, 4])
def test_an_object_whose_body_breaks_off_is_read_again_three_times(
    settings: Settings, servers: embedded.Servers, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    Store(settings.out, settings.s3).put("some", bytes(5000))
    with fault_proxy(servers.s3_endpoint_url, share=0.0) as proxy:
        monkeypatch.setattr(proxy, "roll", lambda *_: next(faults, None))
        store = Store(settings.out, settings.s3.model_copy(update={"endpoint_url": proxy.url}))
        for read in (lambda: store.get("some"), lambda: store.download("some", 10_000).data):
            faults = iter(["torn answer"] * times)
            if times < ATTEMPTS:
                assert read() == bytes(5000)
            else:
                with pytest.raises(StoreUnavailable, match="ResponseStreamingError"):
                    read()


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_sources_and_masks_in_a_store_that_fails_three_requests_in_ten(
    client: Client, settings: Settings, servers: embedded.Servers, start_worker: StartWorker, tmp_path: Path
) -> None:
    sources = Store(f"s3://{settings.bucket}/{settings.prefix}-source", settings.s3)
    paths = write_good(tmp_path / "some", IMAGES)
    for path in paths:
        sources.put(path.name, path.read_bytes())
    uris = [f"{sources.url}/{path.name}" for path in paths]
    with fault_proxy(servers.s3_endpoint_url, share=SHARE, seed=2) as proxy:
        worker = start_worker(AWS_ENDPOINT_URL_S3=proxy.url)
        job = client.submit(f"{sources.url}/", model="demo")
        job.wait(timeout=WAIT_SECONDS - 10)
        injected = proxy.injected
    account = check_account(job, uris)
    record(account.row("store with sources: 30 % of requests fail, dawdle or are torn", sum(injected.values())))
    assert set(injected) == set(FAULTS)
    assert account.stored == IMAGES
    assert account.lost == account.duplicated == account.failed == 0
    assert worker.log.read_text().count("shard_given_back") < IMAGES / 4
