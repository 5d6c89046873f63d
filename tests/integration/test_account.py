"""Submission, commits and closing accounts in a real bucket and a real ledger."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from maskmill import Client, Job
from maskmill.errors import (
    AccountMismatch,
    BrokerUnavailable,
    InvalidRecord,
    SourceError,
    StoreRefused,
    StoreUnavailable,
    UsageError,
)
from maskmill.jobs.account import close_job, commit_shard
from maskmill.jobs.reconcile import ELECTED_SECONDS, reconcile, reconcile_job
from maskmill.jobs.records import read_job, read_manifest, read_report
from maskmill.jobs.submit import start, submit
from maskmill.ledger.answers import Booking, ClaimState
from maskmill.schema import (
    Counts,
    Execution,
    ImageWarning,
    JobRecord,
    JobState,
    Outcome,
    Reference,
    ShardReport,
    Spec,
    Status,
    utc_now,
)
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill.storage import keys
from maskmill.storage.store import Store
from maskmill_producer import embedded
from tests.chaos.fault_proxy import fault_proxy
from tests.conftest import wait_for

SPEC = Spec(model="some/model", threshold=0.25)
IMAGES, SHARD_SIZE, SHARDS = 11, 3, 4


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Small shards, and a window that is smaller than the job."""
    return settings.model_copy(update={"shard_size": SHARD_SIZE, "window": 2})


@pytest.fixture
def store(services: Services, settings: Settings) -> Store:
    """The store below the test's output prefix."""
    return services.store(settings.out)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A list of eleven references: what they name is never read here."""
    names = tmp_path / "images.txt"
    names.write_text("".join(f"{tmp_path}/photos/{n:02d}.jpg\n" for n in range(IMAGES)))
    return names


@pytest.fixture
def job(services: Services, images: Path) -> JobRecord:
    """The eleven, submitted."""
    return submit_all(services, images)


def submit_all(services: Services, *sources: Path) -> JobRecord:
    names = [str(source) for source in sources]
    where = {"out": services.settings.out, "root": str(sources[0].parent)}
    return submit(services, names, spec=SPEC, execution=Execution(batch_size=2), **where)


def names(store: Store) -> list[str]:
    return [item.key for item in store.list()]


def references(store: Store, job: JobRecord, shard: int) -> list[Reference]:
    return [Reference.from_json(line) for line in store.get(keys.shard(job.job, shard)).splitlines()]


FIRST_FRAME = ImageWarning(code="first_frame", reason="the first of 2 pages")


def report_of(store: Store, job: JobRecord, shard: int, worker: str = "w", failed: Sequence[int] = ()) -> ShardReport:
    """A report in which the images at the places `failed` are not found and all others stored."""
    outcomes = [
        Outcome(uri=reference.uri, status=Status.FAILED, code="not_found", reason="gone")
        if place in failed
        else Outcome(
            uri=reference.uri, status=Status.STORED, mask_key=reference.mask_key, segments=(), warnings=(FIRST_FRAME,)
        )
        for place, reference in enumerate(references(store, job, shard))
    ]
    return ShardReport(job=job.job, shard=shard, attempt=1, worker=worker, finished=utc_now(), outcomes=tuple(outcomes))


def commit(services: Services, job: JobRecord, *shards: int, failed: Sequence[int] = ()) -> None:
    store = services.store(services.settings.out)
    for shard in shards:
        commit_shard(services, services.settings.out, report_of(store, job, shard, failed=failed))


# Submission


def test_a_submission_writes_its_shards_and_its_record(job: JobRecord, store: Store) -> None:
    assert names(store) == sorted([keys.job_record(job.job), *(keys.shard(job.job, n) for n in range(SHARDS))])
    assert (job.images, job.shards, job.shard_size) == (IMAGES, SHARDS, SHARD_SIZE)
    assert read_job(store, job.job) == job
    assert job.spec == SPEC
    assert job.execution == Execution(batch_size=2)


def test_a_shard_is_queued_claimed_or_done(job: JobRecord, services: Services) -> None:
    found = Job(job.job, services.settings.out, services)

    def shards() -> tuple[int, int, int]:
        status = found.status()
        return status.shards_queued, status.shards_claimed, status.shards_done

    assert shards() == (job.shards, 0, 0), "nobody has begun"
    claim = services.ledger.claim_next("w", 30.0)
    assert shards() == (job.shards - 1, 1, 0)
    services.ledger.release(job.job, claim.shard, "w", delay_seconds=60)
    assert shards() == (job.shards, 0, 0), "one that was given back waits, too"
    while claim := services.ledger.claim_next("w", 30.0):
        commit(services, job, claim.shard)
    assert shards() == (1, 0, job.shards - 1)
    services.ledger.cancel(job.job)
    reconcile_job(services, job.job)
    assert shards()[0] == 0, "nobody will begin what was cancelled"


def test_a_record_counts_only_for_the_job_whose_key_it_has(
    services: Services, settings: Settings, job: JobRecord, store: Store
) -> None:
    other = "20261122-205301-9f86d081"
    store.put(keys.job_record(other), job.to_json())
    for ask in (Client(settings).job(other, settings.out).record, lambda: start(services, settings.out, other)):
        with pytest.raises(InvalidRecord, match="is the record of another job"):
            ask()


def test_shards_hold_all_references_in_order(job: JobRecord, store: Store, tmp_path: Path) -> None:
    runs = [references(store, job, shard) for shard in range(SHARDS)]
    assert [len(run) for run in runs] == [3, 3, 3, 2]
    found = [reference for run in runs for reference in run]
    assert [reference.uri for reference in found] == [f"{tmp_path}/photos/{n:02d}.jpg" for n in range(IMAGES)]
    assert [reference.mask_key for reference in found] == [f"masks/photos/{n:02d}.jpg.png" for n in range(IMAGES)]


def test_a_submission_notifies_its_window_and_no_more(job: JobRecord, services: Services, settings: Settings) -> None:
    assert services.ledger.queue_length(settings.queue) == 2
    progress = services.ledger.progress(job.job)
    assert (progress.shards, progress.images) == (SHARDS, IMAGES)
    assert services.ledger.open_jobs() == [job.job]


PROBE = 12
"""Requests in which the store shows that it does what jobs need."""


def test_a_submission_costs_a_put_for_each_shard_and_one_for_its_record(
    services: Services, images: Path, store: Store
) -> None:
    asked, said = list[str](), list[str]()
    store.client.meta.events.register("before-call.s3", lambda model, **_: asked.append(model.name))
    run = services.ledger.run

    def counted(name: str, *arguments: object) -> object:
        said.append(name)
        return run(name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.ledger, "run", counted)
        job = submit_all(services, images)
    assert asked[PROBE:] == ["PutObject"] * (job.shards + 1)
    assert len(said) <= 3, said


def test_a_long_submission_is_complete_and_tells_its_progress(services: Services, tmp_path: Path, store: Store) -> None:
    many, told = tmp_path / "many.txt", list[int]()
    many.write_text("".join(f"/data/{n}.jpg\n" for n in range(200)))
    job = submit(
        services,
        [str(many)],
        out=services.settings.out,
        spec=SPEC,
        execution=Execution(),
        on_images=told.append,
    )
    assert (job.images, job.shards) == (200, 66)
    assert told == [*range(3, 193, 3), 198, 200]
    found = [reference.uri for shard in range(66) for reference in references(store, job, shard)]
    assert found == [f"/data/{n}.jpg" for n in range(200)]


def test_an_empty_folder_is_a_source_error_and_leaves_nothing(services: Services, store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="has no images"):
        submit_all(services, tmp_path / "empty")
    assert names(store) == []
    assert services.ledger.jobs() == []


def test_a_submission_that_breaks_off_has_no_record_and_is_not_in_the_ledger(
    services: Services, store: Store, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match="no such file"):
        submit_all(services, images, tmp_path / "missing")
    assert not [name for name in names(store) if name.endswith("job.json")]
    assert services.ledger.jobs() == []


def test_a_missing_bucket_is_said_so_before_anybody_is_notified(services: Services, images: Path) -> None:
    with pytest.raises(StoreRefused, match=r"no-such-bucket.*make it first"):
        submit(services, [str(images)], out="s3://no-such-bucket/o", spec=SPEC, execution=Execution())
    assert services.ledger.jobs() == []


def test_nothing_is_listed_or_written_while_the_broker_is_away(settings: Settings, images: Path, store: Store) -> None:
    away = Services.connect(settings.model_copy(update={"broker_url": SecretStr("redis://127.0.0.1:1/0")}))
    with pytest.raises(BrokerUnavailable, match="cannot be reached"):
        submit(away, ["/no/such/folder"], out=settings.out, spec=SPEC, execution=Execution())
    assert list(store.list()) == []


def test_a_job_whose_broker_went_away_is_in_the_bucket_and_named_and_can_be_started(
    services: Services, settings: Settings, images: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise BrokerUnavailable("the broker went away")

    monkeypatch.setattr(services.ledger, "create", away)
    with pytest.raises(BrokerUnavailable, match="went away") as caught:
        submit_all(services, images)
    (job,) = store.folders("jobs/")
    assert f"`maskmill resume {job} --out {settings.out}` takes it up" in str(caught.value)
    start(services, settings.out, job)
    assert services.ledger.progress(job).shards == SHARDS
    assert services.ledger.queue_length(settings.queue) == 2


def test_a_submission_that_the_store_ends_says_what_is_left_and_what_removes_it(
    services: Services, images: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = store.put

    def full(key: str, *rest: Any) -> None:
        if key.endswith("job.json"):
            raise StoreUnavailable("the store went away")
        put(key, *rest)

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(StoreUnavailable, match="went away") as caught:
        submit_all(services, images)
    (job,) = store.folders("jobs/")
    assert f"job {job} is no job yet: submit again" in str(caught.value)
    assert "maskmill prune" in str(caught.value)


def test_a_prefix_with_and_without_a_slash_at_its_end_is_one(services: Services, images: Path, store: Store) -> None:
    out = services.settings.out
    job = submit(services, [str(images)], out=f"{out}/", spec=SPEC, execution=Execution())
    assert store.exists(keys.job_record(job.job))


# Commits


def test_a_commit_writes_report_and_metadata_and_counts(job: JobRecord, services: Services, store: Store) -> None:
    report = report_of(store, job, 1, failed=[2])
    assert commit_shard(services, services.settings.out, report) is Booking.BOOKED
    assert read_report(store, job.job, 1) == report
    lines = store.get(keys.metadata(job.job, 1)).splitlines()
    assert [Outcome.from_json(line) for line in lines] == list(report.outcomes[:2])
    progress = services.ledger.progress(job.job)
    assert (progress.counts, progress.failures) == (Counts(stored=2, failed=1), {"not_found": 1})


def test_of_two_reports_the_first_counts_everywhere(job: JobRecord, services: Services, store: Store) -> None:
    first = report_of(store, job, 0, worker="first", failed=[0])
    second = report_of(store, job, 0, worker="second")
    commit_shard(services, services.settings.out, first)
    assert commit_shard(services, services.settings.out, second) is Booking.IGNORED
    assert read_report(store, job.job, 0) == first
    lines = store.get(keys.metadata(job.job, 0)).splitlines()
    assert [Outcome.from_json(line) for line in lines] == list(first.outcomes[1:])
    progress = services.ledger.progress(job.job)
    assert (progress.shards_done, progress.counts) == (1, Counts(stored=2, failed=1))
    assert progress.failures == {"not_found": 1}


def test_of_four_workers_that_commit_a_shard_one_counts_everywhere(
    job: JobRecord, services: Services, store: Store
) -> None:
    reports = [report_of(store, job, 0, worker=f"w{n}", failed=range(n % SHARD_SIZE)) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        counted = list(pool.map(lambda report: commit_shard(services, services.settings.out, report), reports))
    winner = read_report(store, job.job, 0)
    assert winner is not None
    assert counted.count(Booking.BOOKED) == 1
    assert services.ledger.progress(job.job).counts == winner.counts()
    stored = [outcome for outcome in winner.outcomes if outcome.status is Status.STORED]
    lines = store.get(keys.metadata(job.job, 0)).splitlines()
    assert [Outcome.from_json(line) for line in lines] == stored


def test_a_commit_of_a_job_that_the_ledger_forgot_is_kept_in_the_bucket(
    job: JobRecord, services: Services, store: Store
) -> None:
    services.ledger.forget(job.job)
    commit(services, job, 0)
    assert read_report(store, job.job, 0) is not None
    start(services, services.settings.out, job.job)
    assert services.ledger.progress(job.job).counts == Counts(stored=3)


# Closing


def test_the_manifest_reconciles_what_was_submitted(job: JobRecord, services: Services, store: Store) -> None:
    commit(services, job, 0, 1, 3)
    commit(services, job, 2, failed=[0, 1])
    manifest = close_job(services, job.job)
    assert read_manifest(store, job.job) == manifest
    assert manifest.submitted == manifest.counts.total == IMAGES
    assert (manifest.counts, manifest.failures) == (Counts(stored=9, failed=2), {"not_found": 2})
    assert manifest.warnings == {"first_frame": 9}
    assert manifest.examples["first_frame"].reason == "the first of 2 pages"
    assert manifest.state is JobState.COMPLETED_WITH_FAILURES
    assert (manifest.spec, manifest.fingerprint) == (SPEC, SPEC.fingerprint())
    assert services.ledger.open_jobs() == []


def test_a_job_without_failures_is_completed(job: JobRecord, services: Services) -> None:
    commit(services, job, *range(SHARDS))
    assert close_job(services, job.job).state is JobState.COMPLETED


def test_a_job_that_is_closed_twice_keeps_its_first_manifest(job: JobRecord, services: Services) -> None:
    commit(services, job, *range(SHARDS))
    assert close_job(services, job.job) == close_job(services, job.job)


def test_a_job_with_open_shards_is_not_closed(job: JobRecord, services: Services, store: Store) -> None:
    commit(services, job, 0, 1, 2)
    with pytest.raises(AccountMismatch, match="do not add up"):
        close_job(services, job.job)
    assert read_manifest(store, job.job) is None


# The bucket is the truth


def test_a_wiped_ledger_is_rebuilt_from_the_bucket_with_equal_counters(
    job: JobRecord, services: Services, settings: Settings
) -> None:
    commit(services, job, 0, 2, failed=[1])
    before = services.ledger.progress(job.job)
    services.ledger.forget(job.job)
    assert start(services, settings.out, job.job) == job
    after = services.ledger.progress(job.job)
    assert (after.counts, after.failures, after.shards_done) == (before.counts, before.failures, before.shards_done)
    assert (after.warnings, after.examples) == (before.warnings, before.examples)
    assert after.warnings == {"first_frame": after.counts.stored}
    assert (after.out, after.images, after.shards) == (before.out, before.images, before.shards)
    assert [services.ledger.claim_next("w", 30).shard for _ in range(2)] == [1, 3]
    assert services.ledger.claim_next("w", 30).state is ClaimState.NONE


def test_a_job_with_all_reports_but_no_ledger_is_closed_by_starting_it(
    job: JobRecord, services: Services, store: Store, settings: Settings
) -> None:
    commit(services, job, *range(SHARDS), failed=[0])
    services.ledger.forget(job.job)
    start(services, settings.out, job.job)
    manifest = read_manifest(store, job.job)
    assert manifest is not None
    assert (manifest.submitted, manifest.counts) == (IMAGES, Counts(stored=7, failed=4))
    assert services.ledger.open_jobs() == []


def test_starting_a_closed_job_again_changes_nothing(job: JobRecord, services: Services, settings: Settings) -> None:
    commit(services, job, *range(SHARDS))
    manifest, before = close_job(services, job.job), services.ledger.progress(job.job)
    start(services, settings.out, job.job)
    assert read_manifest(services.store(settings.out), job.job) == manifest
    assert services.ledger.progress(job.job) == before
    assert services.ledger.open_jobs() == []


def test_starting_a_running_job_again_notifies_nobody_twice(
    job: JobRecord, services: Services, settings: Settings
) -> None:
    before = services.ledger.queue_length(settings.queue)
    start(services, settings.out, job.job)
    assert services.ledger.queue_length(settings.queue) == before


def test_a_report_whose_booking_was_cut_off_is_booked_by_starting_the_job(
    job: JobRecord, services: Services, store: Store, settings: Settings
) -> None:
    report = report_of(store, job, 1)
    store.put_if_absent(keys.report(job.job, 1), report.to_json())
    start(services, settings.out, job.job)
    assert services.ledger.progress(job.job).counts == Counts(stored=3)
    assert len(store.get(keys.metadata(job.job, 1)).splitlines()) == 3


def test_one_job_that_does_not_add_up_does_not_keep_the_others_from_being_closed(
    services: Services, images: Path, settings: Settings, store: Store
) -> None:
    broken, sound = submit_all(services, images), submit_all(services, images)
    for shard in range(SHARDS):
        short = report_of(store, broken, shard).model_copy(update={"outcomes": ()})
        commit_shard(services, settings.out, short)
    commit(services, sound, *range(SHARDS))
    reconcile(services, "w")
    assert read_manifest(store, sound.job) is not None


def test_who_cannot_close_a_job_leaves_the_reconciling_to_others(
    services: Services, images: Path, settings: Settings, store: Store
) -> None:
    """A watching client, say, without a right to the bucket of another one's job."""
    job = submit_all(services, images)
    commit(services, job, *range(SHARDS))
    s3 = settings.s3.model_copy(update={"secret_access_key": SecretStr("another")})
    stranger = Services(settings.model_copy(update={"s3": s3}), services.ledger, services.queue, store_attempts=1)
    assert reconcile(stranger, "stranger")
    wait_for(lambda: reconcile(services, "worker"), lambda: "the stranger keeps it", ELECTED_SECONDS / 2)
    assert read_manifest(store, job.job) is not None


# Cancelling


def test_a_cancelled_job_is_closed_and_every_image_accounted_for(
    job: JobRecord, services: Services, settings: Settings
) -> None:
    commit(services, job, 1, failed=[0])
    found = Client(settings).job(job.job)
    found.cancel()
    manifest = found.manifest()
    assert manifest is not None
    assert (manifest.state, manifest.counts) == (JobState.CANCELLED, Counts(stored=2, failed=1, cancelled=8))
    assert manifest.reason == "cancelled by its submitter"
    statuses = [outcome.status.value for outcome in found.outcomes()]
    assert statuses == ["cancelled"] * 3 + ["failed", "stored", "stored"] + ["cancelled"] * 5
    assert found.status().counts == manifest.counts


def test_a_cancelled_job_stays_open_while_a_worker_has_a_shard_of_it(
    job: JobRecord, services: Services, settings: Settings, store: Store
) -> None:
    claim = services.ledger.claim_next("w", 30)
    found = Client(settings).job(job.job)
    found.cancel()
    assert found.manifest() is None
    commit(services, job, claim.shard)
    reconcile_job(services, job.job)
    assert found.manifest().counts == Counts(stored=3, cancelled=8)


def test_a_shard_whose_worker_died_is_accounted_for_after_its_lease(
    job: JobRecord, services: Services, settings: Settings, store: Store
) -> None:
    dead = services.ledger.claim_next("dead", 0.001)
    found = Client(settings).job(job.job)
    time.sleep(0.01)
    found.cancel()
    manifest = found.manifest()
    assert manifest is not None
    assert manifest.counts == Counts(cancelled=IMAGES)
    assert read_report(store, job.job, dead.shard) is not None, (
        "decided, so that the dead worker's commit changes nothing"
    )
    commit(services, job, dead.shard)
    assert [outcome.status for outcome in found.outcomes()] == [Status.CANCELLED] * IMAGES


def test_a_job_that_has_ended_is_not_cancelled(job: JobRecord, services: Services, settings: Settings) -> None:
    commit(services, job, *range(SHARDS))
    close_job(services, job.job)
    with pytest.raises(UsageError, match="has ended"):
        Client(settings).job(job.job).cancel()


def test_a_cancelled_job_stays_so_when_the_broker_was_wiped(
    job: JobRecord, services: Services, settings: Settings
) -> None:
    services.ledger.claim_next("w", 30)
    found = Client(settings).job(job.job)
    found.cancel()
    services.ledger.forget(job.job)
    found.resume()
    assert services.ledger.claim_next("v", 30).state is not ClaimState.CLAIMED
    assert found.manifest().counts == Counts(cancelled=IMAGES)


# Retrying


def test_failed_images_are_tried_again_under_the_same_job(
    job: JobRecord, services: Services, settings: Settings, store: Store
) -> None:
    commit(services, job, 0, 2, 3)
    commit(services, job, 1, failed=[0, 2])
    close_job(services, job.job)
    found = Client(settings).job(job.job)

    assert found.retry() == 2
    assert found.manifest() is None
    assert found.status().counts == Counts(stored=8)
    claim = services.ledger.claim_next("w", 30)
    assert (claim.shard, claim.retry_round, claim.attempt) == (1, 1, 1)
    assert not services.ledger.claim_next("w", 30), "shards without failures are not done again"

    again = report_of(store, job, 1, failed=[2]).model_copy(update={"round": 1})
    commit_shard(services, settings.out, again)
    manifest = close_job(services, job.job)
    assert (manifest.counts, manifest.failures) == (Counts(stored=10, failed=1), {"not_found": 1})
    assert [outcome.status.value for outcome in found.outcomes()] == ["stored"] * 5 + ["failed"] + ["stored"] * 5


def test_a_retry_whose_marker_is_stored_but_not_acknowledged_goes_on(
    job: JobRecord, services: Services, settings: Settings, servers: embedded.Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(services, job, 0, 1, 2, 3, failed=[0])
    close_job(services, job.job)
    with fault_proxy(servers.s3_endpoint_url, share=0.0) as proxy:
        s3 = settings.s3.model_copy(update={"endpoint_url": proxy.url})
        found = Client(settings.model_copy(update={"s3": s3})).job(job.job)
        faults = iter(["cut after"])
        monkeypatch.setattr(
            proxy, "roll", lambda verb, path: next(faults, None) if verb == "PUT" and "/retries/" in path else None
        )
        assert found.retry() == 4
    assert next(faults, "was used") == "was used"


def test_a_commit_of_before_the_retry_changes_nothing(
    job: JobRecord, services: Services, settings: Settings, store: Store
) -> None:
    commit(services, job, 0, 1, 2, 3, failed=[0])
    close_job(services, job.job)
    Client(settings).job(job.job).retry(["not_found"])
    assert commit_shard(services, settings.out, report_of(store, job, 0)) is Booking.IGNORED
    assert services.ledger.progress(job.job).shards_done == 0


def test_a_retry_survives_a_wiped_broker(job: JobRecord, services: Services, settings: Settings, store: Store) -> None:
    commit(services, job, 0, 1, 2)
    commit(services, job, 3, failed=[1])
    close_job(services, job.job)
    found = Client(settings).job(job.job)
    found.retry()
    services.ledger.forget(job.job)
    found.resume()
    claim = services.ledger.claim_next("w", 30)
    assert (claim.shard, claim.retry_round) == (3, 1)
    assert services.ledger.progress(job.job).counts == Counts(stored=9)


def test_a_second_retry_concerns_what_the_first_left(
    job: JobRecord, services: Services, settings: Settings, store: Store
) -> None:
    commit(services, job, 0, 1, 2, 3, failed=[0])
    close_job(services, job.job)
    found = Client(settings).job(job.job)
    found.retry()
    for shard in range(SHARDS):
        failed = [0] if shard == 2 else []
        commit_shard(
            services, settings.out, report_of(store, job, shard, failed=failed).model_copy(update={"round": 1})
        )
    close_job(services, job.job)
    assert found.retry() == 1
    assert services.ledger.claim_next("w", 30).shard == 2
    assert not services.ledger.claim_next("w", 30)


def test_a_retry_that_is_cancelled_leaves_its_images_failed(
    job: JobRecord, services: Services, settings: Settings
) -> None:
    commit(services, job, 0, 1, 2, 3, failed=[1])
    close_job(services, job.job)
    found = Client(settings).job(job.job)
    found.retry()
    found.cancel()
    manifest = found.manifest()
    assert manifest is not None
    assert (manifest.state, manifest.counts) == (JobState.CANCELLED, Counts(stored=7, failed=4))
    assert [outcome.status.value for outcome in found.outcomes()].count("failed") == 4


def test_what_cannot_be_retried_is_said(job: JobRecord, services: Services, settings: Settings) -> None:
    found = Client(settings).job(job.job)
    with pytest.raises(UsageError, match="has not ended"):
        found.retry()
    commit(services, job, 0, 1, 2, 3, failed=[0])
    close_job(services, job.job)
    with pytest.raises(UsageError, match="its codes are: not_found"):
        found.retry(["timeout"])


# The failure budget


@pytest.mark.parametrize(
    ("budget", "images", "allowed"), [("0", 10, 0), ("7", 10, 7), ("5%", 1000, 50), ("0.5%", 100, 0)]
)
def test_a_budget_is_a_number_or_a_share(budget: str, images: int, allowed: int) -> None:
    assert Execution(max_failures=budget).allowed_failures(images) == allowed


# What a client sees


def test_a_client_reads_status_outcomes_and_failures_of_a_job(
    job: JobRecord, services: Services, settings: Settings
) -> None:
    commit(services, job, *range(SHARDS), failed=[2])
    found = Client(settings).job(job.job)
    assert found.status().counts == Counts(stored=8, failed=3)
    assert len(list(found.outcomes())) == IMAGES
    assert [outcome.code for outcome in found.failures()] == ["not_found"] * 3
    assert len(list(found.results())) == 8


def test_outcomes_come_in_the_order_of_submission_whichever_shard_was_first(
    job: JobRecord, services: Services, store: Store, settings: Settings
) -> None:
    commit(services, job, 3, 0)
    decided = [reference.uri for shard in (0, 3) for reference in references(store, job, shard)]
    assert [outcome.uri for outcome in Client(settings).job(job.job).outcomes()] == decided

    commit(services, job, 2, 1)
    submitted = [reference.uri for shard in range(SHARDS) for reference in references(store, job, shard)]
    assert [outcome.uri for outcome in Client(settings).job(job.job).outcomes()] == submitted


def test_a_closed_job_is_told_from_the_bucket_when_the_ledger_forgot_it(
    job: JobRecord, services: Services, settings: Settings
) -> None:
    commit(services, job, *range(SHARDS))
    client = Client(settings)
    close_job(services, job.job)
    before = client.job(job.job).status()
    services.ledger.forget(job.job)
    assert client.job(job.job, settings.out).status() == before


def test_unfinished_jobs_are_those_without_a_manifest(
    job: JobRecord, services: Services, settings: Settings, images: Path
) -> None:
    closed = submit_all(services, images)
    commit(services, closed, *range(SHARDS))
    close_job(services, closed.job)
    assert list(Client(settings).unfinished(settings.out)) == [job]
