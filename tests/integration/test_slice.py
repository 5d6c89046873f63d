"""How a worker's attempts at shards end: against a real ledger and bucket, with no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from structlog.testing import capture_logs

from maskmill import Job
from maskmill.errors import (
    BrokerUnavailable,
    DeviceLost,
    InvalidRecord,
    LoaderDied,
    MaskmillError,
    StoreRefused,
    StoreUnavailable,
)
from maskmill.events import Event, ImageDone, JobEnded, ShardCommitted
from maskmill.jobs.account import commit_shard
from maskmill.jobs.reconcile import reconcile_job
from maskmill.jobs.records import read_manifest, read_report
from maskmill.jobs.submit import submit
from maskmill.ledger.answers import ClaimReply, Renewal
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts, Execution, JobRecord, JobState, Outcome, ShardReport, Spec, Status
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill.storage import keys
from maskmill.storage.store import Store
from maskmill_worker.model.sample import Sample, Task
from maskmill_worker.shards import attempts
from maskmill_worker.shards.attempts import SERVERS
from maskmill_worker.shards.crashes import CrashNote
from maskmill_worker.shards.held_shard import HeldShard
from maskmill_worker.shards.lease import Leases
from maskmill_worker.shards.slice import Slice
from tests.conftest import wait_for

MAX_ATTEMPTS = 3
IMAGES, SHARD_SIZE, SHARDS = 6, 2, 3
CLOSED_PORT = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard that was given back may be claimed again at once."""
    monkeypatch.setattr(attempts, "MAX_PAUSE_SECONDS", 0.0)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"shard_size": SHARD_SIZE, "max_attempts": MAX_ATTEMPTS})


@pytest.fixture
def store(services: Services, settings: Settings) -> Store:
    return services.store(settings.out)


@pytest.fixture
def job(services: Services, tmp_path: Path) -> JobRecord:
    """Three shards of two images."""
    return submitted(services, tmp_path, [f"/photos/{n}.jpg" for n in range(IMAGES)])


@pytest.fixture
def one_shard(services: Services, tmp_path: Path) -> JobRecord:
    """One shard of two images."""
    return submitted(services, tmp_path, ["/photos/0.jpg", "/photos/1.jpg"])


def submitted(services: Services, folder: Path, uris: Sequence[str], **execution: object) -> JobRecord:
    (folder / "list.txt").write_text("".join(f"{uri}\n" for uri in uris))
    names, asked = [str(folder / "list.txt")], Execution.model_validate(execution)
    return submit(services, names, out=services.settings.out, spec=Spec(model="m"), execution=asked)


@contextmanager
def slice_of(services: Services, job: JobRecord, owner: str = "w") -> Iterator[Slice]:
    """A slice that swallows all errors but those of the test."""
    with Slice(services, job.job, services.settings.out, owner) as shards:
        yield shards
    if isinstance(shards.error, AssertionError):
        raise shards.error


def claim(services: Services, owner: str = "w", lease_seconds: float = 30.0) -> ClaimReply:
    """The next shard, as soon as there is one."""
    found: list[ClaimReply] = []

    def claimed() -> bool:
        reply = services.ledger.claim_next(owner, lease_seconds)
        return bool(reply) and not found.append(reply)  # type: ignore[func-returns-value]

    wait_for(claimed, lambda: "nothing to claim")
    return found[0]


def die(services: Services, job: JobRecord, in_model: Mapping[int, Sequence[int]] = MappingProxyType({})) -> list[int]:
    """A process claims so many shards as `in_model` names, takes images of them into the model and is gone.

    Returns how many attempts count against each of them.
    """
    shards, held = Slice(services, job.job, services.settings.out, "dead"), dict[int, HeldShard]()
    for _ in in_model or (0,):
        reply = claim(services, "dead")
        shard = shards.take(reply)
        assert shard is not None
        held[reply.shard] = shard
    batch = [sample for number, indices in in_model.items() for sample in samples(held[number], *indices)]
    if batch:
        shards.in_model(batch).__enter__()
    shards._leases.stop()
    services.ledger.renew(job.job, list(held), "dead", 0.001)  # and its leases are soon over
    return [held[number].counted for number in sorted(held)]


def samples(shard: HeldShard, *indices: int) -> list[Sample]:
    return [Sample(Task(shard.number, index, shard.references[index])) for index in indices]


def slice_ended_by(error: BaseException, services: Services, job: JobRecord, shards: int = 1) -> None:
    """Claim so many shards, take all images of the last one into the model, and end with this error."""
    with slice_of(services, job) as held:
        for _ in range(shards):
            shard = held.take(claim(services))
            assert shard is not None
        with held.in_model(samples(shard, 0, 1)):
            raise error


def stored(shard: HeldShard, index: int) -> Outcome:
    reference = shard.references[index]
    return Outcome(uri=reference.uri, status=Status.STORED, mask_key=reference.mask_key, segments=())


def decide_all(shards: Slice, shard: HeldShard) -> None:
    for index in range(len(shard.references)):
        shards.decide(shard.number, index, stored(shard, index))


# Servers that fail


def test_a_store_that_is_away_for_longer_than_all_attempts_closes_no_shard(
    services: Services, settings: Settings, one_shard: JobRecord, store: Store
) -> None:
    s3 = settings.s3.model_copy(update={"endpoint_url": CLOSED_PORT})
    without_store = Services(settings.model_copy(update={"s3": s3}), services.ledger, services.queue, store_attempts=1)
    for _ in range(2 * MAX_ATTEMPTS):
        with slice_of(without_store, one_shard) as shards:
            shards.take(claim(services))
        assert isinstance(shards.error, StoreUnavailable)

    again = claim(services)
    assert (again.attempt, again.counted) == (2 * MAX_ATTEMPTS + 1, 1)
    with slice_of(services, one_shard) as shards:
        shard = shards.take(again)
        assert shard is not None, "it is worked on as if nothing had been"
        decide_all(shards, shard)
    report = read_report(store, one_shard.job, 0)
    assert report is not None
    assert report.counts() == Counts(stored=2)


@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.__name__)
def test_no_answer_of_a_server_counts_as_an_attempt_and_the_job_says_what_is_wrong(
    services: Services, one_shard: JobRecord, kind: type[MaskmillError]
) -> None:
    for _ in range(MAX_ATTEMPTS + 1):
        slice_ended_by(kind("what the server said"), services, one_shard)

    assert services.ledger.progress(one_shard.job).trouble == f"{kind.code}: what the server said"
    assert claim(services).counted == 1


@pytest.mark.parametrize(
    ("error", "most"), [(StoreUnavailable("away"), 2.0), (StoreRefused("no right"), 60.0)], ids=repr
)
def test_nobody_takes_the_shard_until_its_pause_is_over(
    services: Services, one_shard: JobRecord, monkeypatch: pytest.MonkeyPatch, error: Exception, most: float
) -> None:
    monkeypatch.setattr(attempts, "MAX_PAUSE_SECONDS", 60.0)
    with capture_logs() as lines:
        slice_ended_by(error, services, one_shard)

    [given_back] = [line for line in lines if line["event"] == "shard_given_back"]
    assert most / 2 <= given_back["delay_seconds"] <= most
    redis = services.ledger.redis
    seconds, microseconds = redis.time()
    until = redis.zscore(services.ledger.key(one_shard.job, "waiting"), 0) / 1000
    left = until - (seconds + microseconds / 1e6)
    assert given_back["delay_seconds"] - 30 <= left <= given_back["delay_seconds"], "30 s for a busy machine"


def test_an_error_of_the_worker_counts_until_the_shard_is_closed_with_its_reason(
    services: Services, one_shard: JobRecord, store: Store
) -> None:
    for _ in range(MAX_ATTEMPTS):
        assert read_report(store, one_shard.job, 0) is None
        with slice_of(services, one_shard) as shards:
            shard = shards.take(claim(services))
            assert shard is not None
            shards.decide(0, 1, stored(shard, 1))
            raise LoaderDied("loader processes died")

    report = read_report(store, one_shard.job, 0)
    assert report is not None
    assert [(each.status, each.code, each.reason) for each in report.outcomes] == [
        (Status.FAILED, "loader_died", "loader processes died"),
        (Status.STORED, None, None),
    ]
    manifest = read_manifest(store, one_shard.job)
    assert manifest is not None
    assert manifest.state is JobState.COMPLETED_WITH_FAILURES


# Interruptions


@pytest.mark.parametrize("interruption", [SystemExit(0), KeyboardInterrupt()], ids=repr)
def test_an_interruption_gives_all_back_never_counts_and_goes_on(
    services: Services, job: JobRecord, interruption: BaseException
) -> None:
    for _ in range(MAX_ATTEMPTS + 1):
        with pytest.raises(type(interruption)):
            slice_ended_by(interruption, services, job, SHARDS)
        progress = services.ledger.progress(job.job)
        assert (progress.claimed, progress.waiting, progress.shards_done) == (0, SHARDS, 0)

    claims = [claim(services) for _ in range(SHARDS)]
    assert [(each.attempt, each.counted) for each in claims] == [(MAX_ATTEMPTS + 2, 1)] * SHARDS
    assert not any(CrashNote.from_text(each.note).explains_crash for each in claims), "no image is to blame"


def test_a_slice_that_is_left_with_shards_unfinished_gives_them_back(services: Services, job: JobRecord) -> None:
    with slice_of(services, job) as shards:
        shards.take(claim(services))
    assert services.ledger.progress(job.job).waiting == 1


def test_a_lost_device_goes_on_to_who_ends_the_process(services: Services, job: JobRecord) -> None:
    with pytest.raises(DeviceLost):
        slice_ended_by(DeviceLost("unspecified launch failure"), services, job)
    assert services.ledger.progress(job.job).waiting == 1, "given back first"


def test_what_is_given_up_of_a_retry_round_stays_what_it_was(
    services: Services, settings: Settings, one_shard: JobRecord, store: Store
) -> None:
    with slice_of(services, one_shard) as shards:
        shard = shards.take(claim(services))
        assert shard is not None
        slow = Outcome(uri=shard.references[1].uri, status=Status.FAILED, code="timeout", reason="slow")
        shards.decide(0, 0, stored(shard, 0))
        shards.decide(0, 1, slow)
    job = Job(one_shard.job, settings.out, services)
    assert job.retry() == 1

    with slice_of(services, one_shard) as shards:
        shard = shards.take(claim(services))
        assert shard is not None
        assert set(shard.outcomes) == {0}, "only what failed is tried again"
        job.cancel()
        shards.give_up()
    assert [outcome.code for outcome in job.outcomes()] == [None, "timeout"]
    assert job.status().counts == Counts(stored=1, failed=1)


# A budget of failures


def test_a_job_that_its_only_shard_in_hand_takes_over_its_budget_says_why_it_stopped(
    services: Services, tmp_path: Path, store: Store
) -> None:
    job = submitted(services, tmp_path, [f"/photos/{n}.jpg" for n in range(IMAGES)], max_failures="1")
    with slice_of(services, job) as shards:
        shard = shards.take(claim(services))
        assert shard is not None
        for index, reference in enumerate(shard.references):
            slow = Outcome(uri=reference.uri, status=Status.FAILED, code="timeout", reason="slow")
            shards.decide(0, index, slow)
    assert shards.error is None
    manifest = read_manifest(store, job.job)
    assert manifest is not None
    assert (manifest.state, manifest.counts) == (JobState.CANCELLED, Counts(failed=2, cancelled=4))
    assert manifest.reason == "stopped: 2 images failed, more than --max-failures allows (2 timeout)"


def test_a_job_whose_process_died_after_the_booking_that_stopped_it_says_why(
    services: Services, tmp_path: Path, store: Store
) -> None:
    job = submitted(services, tmp_path, ["/photos/0.jpg", "/photos/1.jpg"], max_failures="1")
    claim(services)
    slow = Outcome(uri="/photos/0.jpg", status=Status.FAILED, code="timeout", reason="slow")
    report = ShardReport(job=job.job, shard=0, attempt=1, worker="v", finished=job.created, outcomes=(slow, slow))
    commit_shard(services, services.settings.out, report)

    reconcile_job(services, job.job)
    manifest = read_manifest(store, job.job)
    assert manifest is not None
    assert (manifest.state, (manifest.reason or "")[:17]) == (JobState.CANCELLED, "stopped: 2 images")


# Crashes


def test_a_shard_whose_workers_died_in_all_its_attempts_is_closed_and_says_so(
    services: Services, one_shard: JobRecord, store: Store
) -> None:
    counted = [die(services, one_shard) for _ in range(MAX_ATTEMPTS)]
    assert counted == [[1], [2], [3]], "all of them are made"

    with slice_of(services, one_shard) as shards:
        assert shards.take(claim(services)) is None
    report = read_report(store, one_shard.job, 0)
    assert report is not None
    assert {(each.status, each.code) for each in report.outcomes} == {(Status.FAILED, "worker_crashed")}
    assert report.outcomes[0].reason == "the worker process died in all 3 attempts at this shard"
    assert services.ledger.progress(one_shard.job).counts == Counts(failed=2)
    assert read_manifest(store, one_shard.job) is not None


def test_crashes_with_images_in_the_model_cost_no_attempt_of_their_shard_nor_of_others(
    services: Services, tmp_path: Path
) -> None:
    job = submitted(services, tmp_path, [f"/photos/{n}.jpg" for n in range(2 * SHARD_SIZE)])
    counted = [die(services, job, {0: batch, 1: []}) for batch in ([0, 1], [0], [0], [1])]
    assert counted == [[1, 1]] * (MAX_ATTEMPTS + 1)


class Failing(Ledger):
    """A ledger whose broker is away whenever something is excused or noted."""

    def __init__(self, ledger: Ledger, queue: str) -> None:
        super().__init__(ledger.redis, queue)

    def excuse(self, job: str, shard: int) -> None:
        raise BrokerUnavailable("away")

    def note(self, job: str, owner: str, notes: Mapping[int, str]) -> None:
        raise BrokerUnavailable("away")


def test_a_broker_that_is_away_for_a_moment_keeps_nobody_from_the_shard_of_a_crash(
    services: Services, settings: Settings, one_shard: JobRecord
) -> None:
    die(services, one_shard, {0: [0, 1]})
    reply = claim(services)
    services.ledger = Failing(services.ledger, settings.queue)
    with slice_of(services, one_shard) as shards:
        shard = shards.take(reply)
        assert shard is not None
        assert set(shard.crash_note.alone) == {0, 1}
        assert shard.counted == 1
        with shards.in_model(samples(shard, 0)):
            decide_all(shards, shard)
    assert services.ledger.progress(one_shard.job).counts == Counts(stored=2)


def test_an_image_that_was_alone_in_two_processes_that_died_has_crashed_and_its_mate_goes_on(
    services: Services, one_shard: JobRecord, store: Store
) -> None:
    for batch in ([0, 1], [0], [0]):
        die(services, one_shard, {0: batch})

    with slice_of(services, one_shard) as shards:
        shard = shards.take(claim(services))
        assert shard is not None
        assert {index: each.code for index, each in shard.outcomes.items()} == {0: "crashed"}
        shards.decide(0, 1, stored(shard, 1))
    report = read_report(store, one_shard.job, 0)
    assert report is not None
    assert [each.code for each in report.outcomes] == ["crashed", None]


# Reports that are not this shard's


def test_a_report_of_another_shard_under_a_shards_key_books_neither(
    services: Services, job: JobRecord, store: Store
) -> None:
    outcomes = [Outcome(uri=f"/photos/{n}.jpg", status=Status.STORED) for n in range(SHARD_SIZE)]
    fields = {"job": job.job, "attempt": 1, "worker": "v", "finished": job.created, "outcomes": tuple(outcomes)}
    store.put(keys.report(job.job, 0), ShardReport(shard=2, **fields).to_json())
    with slice_of(services, job) as shards:
        shards.take(claim(services))
    assert isinstance(shards.error, InvalidRecord)
    progress = services.ledger.progress(job.job)
    assert (progress.shards_done, progress.waiting) == (0, 1)


# Whatever fails while ending one shard


def test_the_other_shards_are_ended_though_ending_one_fails(services: Services, job: JobRecord, store: Store) -> None:
    """The first one's report is there and cannot be read, so that it can be neither committed nor closed."""
    with capture_logs() as lines, slice_of(services, job) as shards:
        for attempt in range(MAX_ATTEMPTS):
            claims = [claim(services) for _ in range(SHARDS)]
            if attempt < MAX_ATTEMPTS - 1:
                for each in claims:
                    services.ledger.release(job.job, each.shard, "w")
        for each in claims:
            assert shards.take(each) is not None
        store.put(keys.report(job.job, 0), b"{ half a rep")
        raise LoaderDied("loader processes died")

    reports = [read_report(store, job.job, shard) for shard in (1, 2)]
    assert [report and report.counts() for report in reports] == [Counts(failed=2)] * 2
    left = [line for line in lines if line["event"] == "shard_left_to_its_lease"]
    assert [(line["shard"], line["code"]) for line in left] == [(0, "invalid_record")]


def test_a_shard_that_could_not_be_ended_goes_to_another_worker_after_its_lease(
    services: Services, settings: Settings, one_shard: JobRecord, store: Store
) -> None:
    services.settings = settings.model_copy(update={"lease_seconds": 0.5, "max_attempts": 1})
    with slice_of(services, one_shard) as shards:
        shards.take(claim(services, lease_seconds=0.5))
        store.put(keys.report(one_shard.job, 0), b"{ half a rep")
        raise LoaderDied("loader processes died")

    assert claim(services, "another").attempt == 2, "nobody renews a lease that its owner has no use for"
    assert not shards._leases._thread.is_alive()


class Recording(Ledger):
    """A ledger that remembers which shards were renewed together."""

    def __init__(self, ledger: Ledger, queue: str) -> None:
        super().__init__(ledger.redis, queue)
        self.renewed: list[list[int]] = []

    def renew(self, job: str, shards: Sequence[int], *more: Any) -> dict[int, Renewal]:
        self.renewed.append(list(shards))
        return super().renew(job, shards, *more)


def test_only_shards_in_hand_are_renewed_and_all_in_one_call(
    services: Services, settings: Settings, job: JobRecord
) -> None:
    services.settings = settings.model_copy(update={"lease_seconds": 0.6})
    services.ledger = ledger = Recording(services.ledger, settings.queue)
    with slice_of(services, job) as shards:
        held = [shards.take(claim(services)) for _ in range(SHARDS)]
        wait_for(lambda: [0, 1, 2] in ledger.renewed, lambda: ledger.renewed)
        assert held[0] is not None
        decide_all(shards, held[0])
        assert shards._leases._shards == {1, 2}
        wait_for(lambda: ledger.renewed[-1] == [1, 2], lambda: ledger.renewed)
        assert [0] not in ledger.renewed


def test_watchers_see_the_model_that_loads_and_then_each_image(
    services: Services, settings: Settings, one_shard: JobRecord
) -> None:
    services.settings = settings.model_copy(update={"lease_seconds": 0.6})
    job = Job(one_shard.job, settings.out, services)
    services.ledger.alive("w")
    with slice_of(services, one_shard) as shards:
        shard = shards.take(claim(services))
        assert shard is not None
        with shards.loading("owner/model"):
            wait_for(lambda: "owner/model" in str(job.status().waiting), job.status)
        shards.decide(0, 0, stored(shard, 0))
        wait_for(lambda: job.status().done == Counts(stored=1), job.status)
        status = job.status()
        assert (status.counts, status.in_hand, status.waiting) == (Counts(), Counts(stored=1), None)
        shards.decide(0, 1, stored(shard, 1))
    assert (job.status().counts, job.status().in_hand) == (Counts(stored=2), Counts())


def test_a_lost_lease_is_left_to_its_new_owner_and_costs_no_attempt(services: Services, one_shard: JobRecord) -> None:
    with slice_of(services, one_shard, "sleeper") as shards:
        assert shards.take(claim(services, "sleeper", 0.01)) is not None
        taken = claim(services, "another")
        assert taken.counted == 2
        wait_for(lambda: shards._leases.is_lost(0), lambda: "the loss is not noticed")
        shards.check()
        assert shards.get(0) is None
    progress = services.ledger.progress(one_shard.job)
    assert (progress.claimed, progress.waiting) == (1, 0), "the other one's claim stays"
    assert services.ledger.release(one_shard.job, 0, "another")
    assert claim(services).counted == 2, "of three claims one was excused"


def test_a_shard_that_is_being_committed_is_not_let_go_when_its_lease_is_lost(
    services: Services, one_shard: JobRecord
) -> None:
    """As between booking, which ends the claim in the ledger, and the next renewal."""
    with slice_of(services, one_shard, "slow") as shards:
        shard = shards.take(claim(services, "slow", 0.01))
        assert shard is not None
        shards.decide(0, 0, stored(shard, 0))
        assert shard.decide(1, stored(shard, 1)), "an upload thread commits it now"
        claim(services, "another")
        wait_for(lambda: shards._leases.is_lost(0), lambda: "the loss is not noticed")
        shards.check()
        assert shards.get(0) is shard
        shards._commit(shard)
    assert services.ledger.progress(one_shard.job).counts == Counts(stored=2)


class FailsOnce(Ledger):
    """A ledger whose first renewal fails in a way that nobody thought of."""

    failed = False

    def renew(self, *arguments: Any) -> dict[int, Renewal]:
        if not self.failed:
            self.failed = True
            raise ValueError("an answer that is none")
        return super().renew(*arguments)


def test_leases_are_renewed_after_any_error_of_a_renewal(
    services: Services, settings: Settings, one_shard: JobRecord
) -> None:
    services.settings = settings.model_copy(update={"lease_seconds": 0.6})
    services.ledger = ledger = FailsOnce(services.ledger, settings.queue)
    with slice_of(services, one_shard, "w") as shards:
        assert shards.take(claim(services)) is not None
        wait_for(lambda: ledger.failed, lambda: "nothing was renewed")
        services.ledger.cancel(one_shard.job)
        wait_for(shards._leases.cancelled.is_set, lambda: "the renewals have ended")


def test_who_claims_a_shard_again_that_it_has_in_hand_keeps_it_with_what_is_done(
    services: Services, settings: Settings, one_shard: JobRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process that slept, or whose broker was away, for longer than its lease, and claims before it renews."""
    monkeypatch.setattr(Leases, "_renew", lambda *_: None)
    with slice_of(services, one_shard) as shards:
        shard = shards.take(claim(services, lease_seconds=0.01))
        assert shard is not None
        with shards.in_model(samples(shard, 0)):
            shards.decide(0, 0, stored(shard, 0))
            again = claim(services)
            assert (again.shard, again.attempt) == (0, 2)
            assert shards.take(again) is None
        assert shards.get(0) is shard
        assert shard.crash_note.alone == {}, "no process died"
        shards.decide(0, 1, stored(shard, 1))
    assert shards.error is None
    assert services.ledger.progress(one_shard.job).counts == Counts(stored=2)


def test_a_shard_that_comes_back_to_the_slice_that_lost_it_is_left_for_the_next_one(
    services: Services, one_shard: JobRecord
) -> None:
    """Its images may still be on their way through the loader, under the same keys."""
    with slice_of(services, one_shard, "sleeper") as shards:
        assert shards.take(claim(services, "sleeper", 0.01)) is not None
        claim(services, "another")
        wait_for(lambda: shards._leases.is_lost(0), lambda: "the loss is not noticed")
        shards.check()
        services.ledger.release(one_shard.job, 0, "another", counts=False)
        assert shards.take(claim(services, "sleeper")) is None
        assert shards.get(0) is None
        progress = services.ledger.progress(one_shard.job)
        assert (progress.claimed, progress.waiting) == (0, 1)
    assert claim(services).counted == 1


# Events


SECRETS = ("pass-word", "sig-nature", "u-ser")
SIGNED = [f"http://u-ser:pass-word@example.org/{n}.jpg?X-Amz-Signature=sig-nature" for n in range(3)]


def test_events_tell_what_happened_without_secrets_and_a_subscriber_that_fails_harms_nothing(
    services: Services, tmp_path: Path, store: Store
) -> None:
    heard: list[Event] = []
    services.events.subscribe(lambda event: 1 / 0)
    services.events.subscribe(heard.append)
    job = submitted(services, tmp_path, SIGNED)

    with capture_logs() as lines:
        while reply := services.ledger.claim_next("w", 30):
            with slice_of(services, job) as shards:
                shard = shards.take(reply)
                assert shard is not None
                for index, reference in enumerate(shard.references):
                    slow = Outcome(uri=reference.uri, status=Status.FAILED, code="timeout", reason="slow")
                    shards.decide(reply.shard, index, slow if reply.shard else stored(shard, index))

    manifest = read_manifest(store, job.job)
    assert manifest is not None
    images = [event for event in heard if isinstance(event, ImageDone)]
    assert [(each.job, each.shard, each.uri, each.status, each.code) for each in images] == [
        (job.job, 0, "http://example.org/0.jpg", "stored", ""),
        (job.job, 0, "http://example.org/1.jpg", "stored", ""),
        (job.job, 1, "http://example.org/2.jpg", "failed", "timeout"),
    ]
    committed = [event for event in heard if isinstance(event, ShardCommitted)]
    assert [(each.job, each.shard, each.attempt, each.retry_round) for each in committed] == [
        (job.job, 0, 1, 0),
        (job.job, 1, 1, 0),
    ]
    assert [Counts(**each.counts) for each in committed] == [Counts(stored=2), Counts(failed=1)]
    [ended] = [event for event in heard if isinstance(event, JobEnded)]
    assert (ended.job, ended.state) == (job.job, "completed with failures")
    assert (Counts(**ended.counts), dict(ended.failures)) == (manifest.counts, manifest.failures)
    assert heard[-1] is ended
    assert ended.seconds == pytest.approx((manifest.finished - manifest.created).total_seconds())
    assert len([line for line in lines if line["event"] == "subscriber_failed"]) == len(heard)
    assert not [secret for secret in SECRETS if secret in f"{lines} {heard} {manifest}"]


def test_a_job_ends_once_whoever_closes_it_how_often(services: Services, one_shard: JobRecord) -> None:
    heard: list[Event] = []
    with slice_of(services, one_shard) as shards:
        shard = shards.take(claim(services))
        assert shard is not None
        report = ShardReport(
            job=one_shard.job,
            shard=0,
            attempt=1,
            worker="v",
            finished=one_shard.created,
            outcomes=tuple(stored(shard, index) for index in range(2)),
        )
        services.store(services.settings.out).put(keys.report(one_shard.job, 0), report.to_json())
        services.events.subscribe(heard.append)
        decide_all(shards, shard)
        shards._committed(shard)
    assert [type(event) for event in heard].count(JobEnded) == 1
