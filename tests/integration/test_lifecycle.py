"""Deleting jobs: nothing of them is left, nothing of others goes, and a break at any point is harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from maskmill import Client, Job, Settings
from maskmill.errors import JobNotFound, UsageError
from maskmill.jobs import lifecycle
from maskmill.jobs.lifecycle import Deleted
from maskmill.schema import Deletion
from maskmill.storage import keys
from maskmill.storage.store import Store
from tests.integration.finished_jobs import finish, finished_job, key_of, submitted_job

NAMES = [f"{n:02d}" for n in range(8)]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"shard_size": 3})


@pytest.fixture
def store(client: Client, settings: Settings) -> Store:
    return client.services.store(settings.out)


def names(store: Store, prefix: str = "") -> list[str]:
    return [item.key for item in store.list(prefix)]


def masks_of(*found: str) -> list[str]:
    return [key_of(name) for name in found]


# One job


def test_a_deleted_job_is_gone_and_its_masks_stay(client: Client, store: Store) -> None:
    job = finished_job(client, NAMES, failed=["03"])
    records = names(store, "jobs/")

    deleted = job.delete()

    assert (deleted.records, deleted.masks, deleted.masks_kept) == (len(records), 0, 0)
    assert deleted.bytes > 0
    assert names(store) == masks_of(*(name for name in NAMES if name != "03"))
    assert client.jobs() == []
    with pytest.raises(JobNotFound):
        client.job(job.id)


def test_with_its_masks_nothing_is_left(client: Client, store: Store) -> None:
    deleted = finished_job(client, NAMES).delete(masks=True)
    assert (deleted.masks, deleted.masks_kept) == (len(NAMES), 0)
    assert names(store) == []


def test_with_its_masks_those_of_every_retry_round_go(client: Client, store: Store) -> None:
    job = finished_job(client, NAMES, failed=["03", "06", "07"])
    for still_failed in (["06", "07"], []):
        job.retry()
        finish(client, job, failed=dict.fromkeys(still_failed, "not_found"))

    deleted = job.delete(masks=True)

    assert (deleted.masks, deleted.masks_kept) == (len(NAMES), 0)
    assert names(store) == []


def test_masks_that_another_job_reused_in_a_retry_round_stay(client: Client, store: Store) -> None:
    first = finished_job(client, NAMES)
    second = finished_job(client, NAMES[6:], failed=["07"], reused=["06"])
    second.retry()
    finish(client, second, reused=["07"])

    deleted = first.delete(masks=True)

    assert (deleted.masks, deleted.masks_kept) == (6, 2)
    assert names(store, "masks/") == masks_of("06", "07")


@pytest.mark.parametrize("at_once", [1, 2, 100_000])
def test_masks_that_another_job_reuses_stay(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(lifecycle, "KEYS_AT_ONCE", at_once)
    first = finished_job(client, NAMES)
    second = finished_job(client, NAMES[5:], reused=NAMES[5:])

    deleted = first.delete(masks=True)

    assert (deleted.masks, deleted.masks_kept) == (5, 3)
    assert names(store, "masks/") == masks_of(*NAMES[5:])
    assert [result.segment_map.shape for result in second.results()] == [(4, 6)] * 3
    assert second.delete(masks=True).masks == 3
    assert names(store) == []


def test_masks_that_a_job_reuses_stay_when_that_job_goes(client: Client, store: Store) -> None:
    first = finished_job(client, NAMES)
    second = finished_job(client, NAMES, reused=NAMES)
    assert second.delete(masks=True).masks_kept == len(NAMES)
    assert len([result.segment_map for result in first.results()]) == len(NAMES)


def test_of_two_specs_under_one_prefix_each_takes_its_own(client: Client, store: Store) -> None:
    first = finished_job(client, NAMES)
    second = finished_job(client, NAMES[:3], threshold=0.3)

    assert first.delete(masks=True).masks == 5
    assert len([result.segment_map for result in second.results()]) == 3
    first = finished_job(client, NAMES[3:], threshold=0.9)
    third = finished_job(client, NAMES[3:], threshold=0.3)
    assert third.delete(masks=True).masks == 5, "the first one's are replaced: nobody else can read these"
    assert names(store, "masks/") == masks_of(*NAMES[:3])


def test_a_job_that_runs_protects_the_masks_of_all_its_images(client: Client, store: Store) -> None:
    first = finished_job(client, NAMES)
    running = submitted_job(client, NAMES[2:])

    deleted = first.delete(masks=True)

    assert (deleted.masks, deleted.masks_kept) == (2, 6)
    finish(client, running, reused=NAMES[2:])
    assert len([result.segment_map for result in running.results()]) == 6


def test_a_job_that_runs_is_not_deleted(client: Client, store: Store) -> None:
    job = submitted_job(client, NAMES)
    before = names(store)
    with pytest.raises(UsageError, match=f"maskmill cancel {job.id}"):
        job.delete(masks=True)
    assert names(store) == before
    job.cancel()
    job.delete(masks=True)
    assert names(store) == []


def test_a_job_whose_record_is_gone_from_the_bucket_can_be_deleted(client: Client, store: Store) -> None:
    job = submitted_job(client, NAMES)
    store.delete(keys.job_record(job.id))
    client.delete(job.id)
    assert names(store) == []
    assert client.services.ledger.open_jobs() == []


def test_a_prune_takes_a_job_whose_record_is_gone_from_the_ledger_too(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "BROKEN_AFTER", timedelta(0))
    job = submitted_job(client, NAMES)
    store.delete(keys.job_record(job.id))
    assert [each.job for each in client.prune(timedelta(days=30)).remains] == [job.id]
    assert client.services.ledger.open_jobs() == []


@pytest.mark.parametrize("job", ["20200101-000000-00000000", "../../masks", ""])
def test_what_is_no_job_is_not_deleted(client: Client, job: str) -> None:
    with pytest.raises(JobNotFound):
        client.delete(job)


class Broken(BaseException):
    """The power cut of these tests."""


@contextmanager
def breaking_after(store: Store, requests: int) -> Iterator[None]:
    """No request is answered after so many."""
    left = requests

    def count(**_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Broken

    store.client.meta.events.register_first("before-send.s3", count)
    try:
        yield
    finally:
        store.client.meta.events.unregister("before-send.s3", count)


def is_whole(client: Client, job: Job, kept: list[str]) -> bool:
    """Whether somebody who asks for the job gets all of it; False when there is no such job."""
    try:
        found = client.job(job.id)
    except JobNotFound:
        return False
    assert found.record().images == len(kept)
    assert found.manifest() is not None
    assert [result.mask_key for result in found.results()] == kept
    for result in found.results():
        assert result.segment_map.shape == (4, 6)
    return True


def test_a_break_at_any_point_leaves_a_whole_job_or_none_and_can_be_gone_on_with(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "KEYS_AT_ONCE", 3)
    some, shared, found = NAMES[:4], NAMES[:2], list[bool]()
    for requests in range(200):
        client = Client(settings.model_copy(update={"prefix": f"{settings.prefix}/{requests}"}))
        store = client.services.store(client.settings.out)
        job = finished_job(client, some)
        finished_job(client, shared, reused=shared)
        try:
            with breaking_after(store, requests):
                job.delete(masks=True)
            break
        except Broken:
            found.append(is_whole(client, job, masks_of(*some)))
        # Whoever goes on need not know that the masks were meant.
        client.delete(job.id, masks=found[-1])
        assert names(store, keys.job_folder(job.id)) == []
        assert names(store, "masks/") == masks_of(*shared)
    assert found.count(True) > 2
    assert found.count(False) > 10
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("again", [Job.resume, Job.retry], ids=["resume", "retry"])
def test_a_job_that_is_being_deleted_does_not_return(client: Client, store: Store, again: Callable[[Job], Any]) -> None:
    job = finished_job(client, NAMES, failed=["03"])
    marker = Deletion(job=job.id, created=job.record().created, masks=False)  # and here the deletion broke off
    store.put(keys.deletion(job.id), marker.to_json())
    client.services.ledger.forget(job.id)
    with pytest.raises(UsageError, match="is being deleted"):
        again(job)
    assert client.services.ledger.open_jobs() == []
    job.delete()
    assert names(store, keys.job_folder(job.id)) == []


# Many jobs


def test_a_prune_takes_ended_jobs_alone_and_says_before_what_it_will_do(client: Client, store: Store) -> None:
    first = finished_job(client, NAMES)
    second = finished_job(client, NAMES[4:], reused=NAMES[4:])
    running = submitted_job(client, ["aa", "bb"])
    before = names(store)

    young = client.prune(timedelta(hours=1), masks=True)
    told = client.prune(timedelta(0), masks=True, dry_run=True)
    assert names(store) == before
    done = client.prune(timedelta(0), masks=True)

    assert (young.jobs, young.remains) == ((), ())
    assert sorted(each.job for each in told.jobs) == sorted([first.id, second.id])
    assert told == done
    assert sum(each.masks for each in done.jobs) == len(NAMES)
    assert sum(each.masks_kept for each in done.jobs) == 4, "those that the other one has are left to it"
    assert {name.split("/")[1] for name in names(store)} == {running.id}
    assert client.prune(timedelta(0), masks=True) == lifecycle.Pruned()


def test_a_prune_without_masks_leaves_them(client: Client, store: Store) -> None:
    finished_job(client, NAMES)
    client.prune(timedelta(0))
    assert names(store) == masks_of(*NAMES)


def test_a_submission_that_broke_off_is_removed_after_a_day_without_a_word(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = keys.new_job_id()
    for shard in range(3):
        store.put(keys.shard(job, shard), b"{}\n")
    store.put("jobs/notes.txt", b"mine")
    store.put("jobs/of-mine/notes.txt", b"mine")

    assert client.prune(timedelta(0)).remains == ()
    monkeypatch.setattr(lifecycle, "BROKEN_AFTER", timedelta(0))
    told = client.prune(timedelta(0), dry_run=True)
    done = client.prune(timedelta(0))

    assert told == done
    assert done.remains == (Deleted(job, records=3, bytes=9),)
    assert names(store) == ["jobs/notes.txt", "jobs/of-mine/notes.txt"]


def test_a_prune_goes_on_with_a_deletion_that_broke_off(client: Client, store: Store) -> None:
    job = finished_job(client, NAMES)
    with pytest.raises(Broken), breaking_after(store, 10):
        job.delete(masks=True)
    assert client.prune(timedelta(days=9)).remains[0].job == job.id
    assert names(store) == []
