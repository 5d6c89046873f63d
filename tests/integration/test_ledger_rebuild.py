"""A job's ledger built anew from the bucket, after the broker lost some of it or for a retry."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from maskmill.errors import BrokerUnavailable
from maskmill.ledger.answers import Booking, ClaimState, LedgerState, Renewal
from maskmill.ledger.bitmap import is_done, of_shards, shards_in
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts, FailureExample
from maskmill.services import Services
from tests.integration.ledger_jobs import JOB, LEASE, OUT, create, failed, won
from tests.integration.ledger_truth import PARTS

SHARDS = 6
Failures = Mapping[str, tuple[int, FailureExample]]


@pytest.fixture
def ledger(services: Services) -> Ledger:
    """A job of six shards: 0 is done, 1 and 2 are held, 3 waits; every key of the job is there."""
    ledger = services.ledger
    create(ledger, shards=SHARDS)
    for _ in range(4):
        ledger.claim_next("a", LEASE)
    ledger.book(JOB, 0, Counts(stored=9, failed=1), failed(timeout=1))
    ledger.note(JOB, "a", {1: "seen"})
    ledger.release(JOB, 3, "a", delay_seconds=LEASE, counts=False)
    return ledger


def rebuild(ledger: Ledger, done: set[int], counts: Counts, failures: Failures | None = None, **changes: Any) -> None:
    given = {"model": "demo", "images": 10 * SHARDS, "shards": SHARDS, "created_seconds": 1.0, "priority": 0}
    given |= {"max_failures": None, "retry_round": 0}
    ledger.rebuild(JOB, OUT, done=of_shards(done), counts=counts, failures=failures or {}, **(given | changes))


def from_bucket(ledger: Ledger) -> None:
    """As the bucket has it after the fixture."""
    rebuild(ledger, {0}, Counts(stored=9, failed=1), failed(timeout=1))


def state(ledger: Ledger) -> LedgerState:
    found = ledger.inspect(JOB)
    assert found is not None
    return found


def keys(ledger: Ledger) -> set[str]:
    return set(ledger.redis.scan_iter(f"{ledger.prefix}:{JOB}:*"))


def test_a_job_of_which_nothing_is_lost_is_complete(ledger: Ledger) -> None:
    assert keys(ledger) == {ledger.key(JOB, part) for part in PARTS}
    assert state(ledger) == LedgerState(retry_round=0, done=b"\x80", complete=True)


def test_an_unknown_job_is_none(ledger: Ledger) -> None:
    assert ledger.inspect("20200101-000000-00000000") is None


@pytest.mark.parametrize("part", PARTS)
def test_a_key_that_was_evicted_is_noticed_and_made_whole_again(ledger: Ledger, part: str) -> None:
    before = ledger.progress(JOB)
    ledger.redis.delete(ledger.key(JOB, part))
    assert not state(ledger).complete
    from_bucket(ledger)
    assert state(ledger) == LedgerState(retry_round=0, done=b"\x80", complete=True)
    after = ledger.progress(JOB)
    assert (after.counts, after.failures, after.examples) == (before.counts, before.failures, before.examples)
    assert after.begun == before.begun == 3
    assert keys(ledger) <= {ledger.key(JOB, each) for each in PARTS}
    kept = part not in ("owners", "leases")
    assert ledger.renew(JOB, [1, 2], "a", LEASE) == dict.fromkeys([1, 2], Renewal.RENEWED if kept else Renewal.LOST)
    for shard in range(1, SHARDS):
        assert ledger.book(JOB, shard, Counts(stored=10), {}) is Booking.BOOKED
    assert ledger.progress(JOB).decided == Counts(stored=59, failed=1)


@pytest.mark.parametrize("name", ["runnable", "due", "closing"])
def test_a_lost_list_of_jobs_is_noticed_too(ledger: Ledger, name: str) -> None:
    if name == "closing":
        for shard in range(SHARDS):
            ledger.book(JOB, shard, Counts(stored=10), {})
    done = set(range(SHARDS)) if name == "closing" else {0}
    ledger.redis.delete(ledger.key(name))
    assert not state(ledger).complete
    rebuild(ledger, done, Counts(stored=10 * len(done)))
    assert state(ledger).complete
    assert ledger.closing() == ([JOB] if name == "closing" else [])


def test_a_ledger_that_is_lost_altogether_begins_with_what_is_done(ledger: Ledger) -> None:
    ledger.redis.delete(*keys(ledger), *(ledger.key(name) for name in ("jobs", "open", "runnable", "due", "clock")))
    assert ledger.inspect(JOB) is None
    rebuild(ledger, {0, 2}, Counts(stored=20))
    assert ledger.open_jobs() == ledger.jobs() == [JOB]
    assert ledger.claimable(10) == 4
    assert [won(ledger.claim_next("b", LEASE)) for _ in range(5)] == [(1, 1), (3, 1), (4, 1), (5, 1), None]
    assert state(ledger).complete


def test_what_is_in_flight_survives_in_the_same_round(ledger: Ledger) -> None:
    from_bucket(ledger)
    assert ledger.renew(JOB, [0, 1, 2, 3], "a", LEASE) == {
        0: Renewal.LOST,
        1: Renewal.RENEWED,
        2: Renewal.RENEWED,
        3: Renewal.LOST,
    }
    assert [won(ledger.claim_next("b", LEASE)) for _ in range(3)] == [(4, 1), (5, 1), None], "3 waits"
    ledger.release(JOB, 1, "a")
    reply = ledger.claim_next("b", LEASE)
    assert (reply.shard, reply.attempt, reply.note) == (1, 2, "seen")


def test_a_shard_in_flight_that_is_done_in_the_bucket_is_done(ledger: Ledger) -> None:
    rebuild(ledger, {0, 1, 3}, Counts(stored=30))
    assert ledger.begun(JOB) == [2]
    assert ledger.renew(JOB, [1, 2], "a", LEASE) == {1: Renewal.LOST, 2: Renewal.RENEWED}
    assert state(ledger).complete


def test_a_shard_that_is_booked_between_listing_and_switch_is_claimed_and_booked_again(ledger: Ledger) -> None:
    assert ledger.book(JOB, 1, Counts(stored=10), {}) is Booking.BOOKED
    from_bucket(ledger)
    assert ledger.progress(JOB).decided == Counts(stored=9, failed=1)
    assert won(ledger.claim_next("b", LEASE)) == (1, 1)
    assert ledger.book(JOB, 1, Counts(stored=10), {}) is Booking.BOOKED
    assert ledger.progress(JOB).decided == Counts(stored=19, failed=1)


def test_a_new_round_ends_what_was_in_flight_and_what_was_cancelled(ledger: Ledger) -> None:
    ledger.cancel(JOB)
    rebuild(ledger, {0, 1, 2, 4, 5}, Counts(stored=50), retry_round=1)
    assert ledger.renew(JOB, [1, 2], "a", LEASE) == {1: Renewal.LOST, 2: Renewal.LOST}
    assert ledger.closing() == []
    reply = ledger.claim_next("b", LEASE)
    assert (reply.shard, reply.attempt, reply.retry_round) == (3, 1, 1)
    assert ledger.book(JOB, 3, Counts(stored=10), {}, retry_round=0) is Booking.IGNORED
    assert ledger.book(JOB, 3, Counts(stored=10), {}, retry_round=1) is Booking.BOOKED


def test_an_earlier_round_never_comes_back(ledger: Ledger) -> None:
    rebuild(ledger, {0, 1}, Counts(stored=20), retry_round=2)
    for earlier in (0, 1):
        rebuild(ledger, {0}, Counts(stored=10), retry_round=earlier)
    assert state(ledger) == LedgerState(retry_round=2, done=b"\xc0", complete=True)
    assert not [key for key in keys(ledger) if ":new:" in key]


def test_a_closed_job_is_complete_although_nothing_is_in_flight_any_more(ledger: Ledger) -> None:
    ledger.cancel(JOB)
    ledger.close(JOB, 0, LEASE)
    assert state(ledger) == LedgerState(retry_round=0, done=b"\x80", complete=True)


@pytest.mark.parametrize("again", [create, from_bucket])
def test_what_workers_write_after_a_key_was_lost_hinders_nobody(
    ledger: Ledger, again: Callable[[Ledger], None]
) -> None:
    ledger.redis.delete(ledger.key(JOB, "meta"))
    ledger.note(JOB, "a", {2: "in model"})
    ledger.release(JOB, 1, "a", counts=False)
    ledger.excuse(JOB, 2)
    assert ledger.renew(JOB, [2], "a", LEASE) == {2: Renewal.RENEWED}
    assert ledger.progress_of([JOB]) == [None]
    assert ledger.claim_next("b", LEASE).state is ClaimState.NONE
    assert not state(ledger).complete
    again(ledger)
    assert ledger.progress(JOB).shards in (4, SHARDS)


def test_a_closed_job_that_is_retried_is_open_and_does_not_expire(ledger: Ledger) -> None:
    for shard in range(SHARDS):
        ledger.book(JOB, shard, Counts(stored=10), {})
    ledger.close(JOB, 0, LEASE)
    rebuild(ledger, {0, 1, 2, 3, 4}, Counts(stored=50), retry_round=1)
    assert (ledger.open_jobs(), ledger.closing()) == ([JOB], [])
    assert [ledger.redis.ttl(ledger.key(JOB, part)) for part in ("meta", "done")] == [-1, -1]
    assert won(ledger.claim_next("b", LEASE)) == (5, 1)


def test_a_cancelled_job_stays_cancelled_in_its_round(ledger: Ledger) -> None:
    ledger.cancel(JOB)
    from_bucket(ledger)
    assert ledger.progress(JOB).cancelled
    assert ledger.claim_next("b", LEASE).state is ClaimState.NONE
    assert ledger.closing() == [JOB]


def test_a_job_whose_failures_are_over_its_budget_is_cancelled(ledger: Ledger) -> None:
    rebuild(ledger, {0}, Counts(stored=7, failed=3), failed(timeout=3), max_failures=3)
    assert not ledger.progress(JOB).cancelled
    rebuild(ledger, {0}, Counts(stored=6, failed=4), failed(timeout=4), max_failures=3)
    assert ledger.progress(JOB).cancelled
    assert ledger.closing() == [JOB]


def test_a_rebuild_that_dies_before_the_switch_changes_nothing_and_expires(ledger: Ledger) -> None:
    class Dies(Ledger):
        def run(self, name: str, *arguments: Any) -> Any:
            if name == "switch":
                raise BrokerUnavailable("died")
            return super().run(name, *arguments)

    before = keys(ledger)
    with pytest.raises(BrokerUnavailable):
        from_bucket(Dies(ledger.redis, ledger.prefix.removeprefix("maskmill:")))
    beside = keys(ledger) - before
    assert len(beside) == 2
    assert all(0 < ledger.redis.ttl(key) <= 600 for key in beside)
    assert state(ledger).complete


def test_counters_are_those_of_the_done_shards_however_often_it_is_rebuilt_meanwhile(services: Services) -> None:
    """Workers claim and book, with reports in a bucket; somebody rebuilds from what the bucket has."""
    ledger, shards = services.ledger, 150
    create(ledger, shards=shards)
    bucket: dict[int, Counts] = {}
    torn = Event()

    def work(worker: int) -> None:
        while not (torn.is_set() and ledger.progress(JOB).finished):
            if reply := ledger.claim_next(f"w{worker}", LEASE):
                counts = bucket.setdefault(reply.shard, Counts(stored=reply.shard % 10))
                ledger.book(JOB, reply.shard, counts, {})

    def tear() -> None:
        while len(bucket) < shards:
            listed = dict(bucket)
            time.sleep(0.005)
            counts = Counts(stored=sum(each.stored for each in listed.values()))
            rebuild(ledger, set(listed), counts, shards=shards)
            found = state(ledger)
            assert found.complete
            time.sleep(0.02)
        torn.set()

    with ThreadPoolExecutor(5) as pool:
        for done in [*[pool.submit(work, worker) for worker in range(4)], pool.submit(tear)]:
            done.result()
    assert list(shards_in(state(ledger).done)) == list(range(shards))
    assert ledger.progress(JOB).decided == Counts(stored=sum(each.stored for each in bucket.values()))


def test_a_bitmap_knows_its_shards() -> None:
    bits = of_shards([9, 0, 1_000_000])
    assert bits[:2] == b"\x80\x40"
    assert list(shards_in(bits)) == [0, 9, 1_000_000]
    assert [is_done(bits, shard) for shard in (0, 1, 9, 1_000_000, 1_000_001, 2**31)] == [
        True,
        False,
        True,
        True,
        False,
        False,
    ]
    assert of_shards([]) == b""
