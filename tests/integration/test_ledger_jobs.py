"""The ledger's jobs in a real Valkey: booked, cancelled, closed, listed, forgotten."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from maskmill.ledger.answers import Booking, ClaimState, Renewal
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts, FailureExample
from maskmill.services import Services
from tests.conftest import wait_for
from tests.integration.ledger_jobs import INSTANT, JOB, LEASE, create, expire, failed, keys

OTHER = "20261123-000000-00000001"
UNKNOWN = "20200101-000000-00000000"


@pytest.fixture
def ledger(services: Services) -> Ledger:
    """A ledger of this test alone, with one job of four shards."""
    create(services.ledger)
    return services.ledger


# Bookings


def test_a_booking_adds_its_counts_once(ledger: Ledger) -> None:
    assert ledger.book(JOB, 0, Counts(stored=7, reused=1, failed=2), failed(not_found=2)) is Booking.BOOKED
    assert ledger.book(JOB, 0, Counts(stored=10), failed(timeout=3)) is Booking.IGNORED
    progress = ledger.progress(JOB)
    assert progress.counts == Counts(stored=7, reused=1, failed=2)
    assert progress.failures == {"not_found": 2}
    assert progress.shards_done == 1


def test_of_twenty_threads_that_book_a_shard_one_counts(ledger: Ledger) -> None:
    with ThreadPoolExecutor(20) as pool:
        first = list(pool.map(lambda _: ledger.book(JOB, 0, Counts(stored=10), {}), range(20)))
    assert first.count(Booking.BOOKED) == 1
    assert ledger.progress(JOB).counts == Counts(stored=10)


def test_a_booking_needs_no_lease_and_ends_that_of_another(ledger: Ledger) -> None:
    ledger.claim_next("a", INSTANT)
    expire()
    ledger.claim_next("b", LEASE)
    assert ledger.book(JOB, 0, Counts(stored=10), {}) is Booking.BOOKED
    assert ledger.renew(JOB, [0], "b", LEASE) == {0: Renewal.LOST}
    progress = ledger.progress(JOB)
    assert (progress.claimed, progress.waiting, progress.begun) == (0, 0, 0)


def test_failures_of_all_shards_add_up_by_code_and_the_first_example_of_each_stays(ledger: Ledger) -> None:
    ledger.book(JOB, 0, Counts(failed=3), failed(timeout=1, not_found=2))
    later = {"not_found": (1, FailureExample(uri="later.jpg", reason="later"))}
    ledger.book(JOB, 1, Counts(failed=1, stored=9), later)
    progress = ledger.progress(JOB)
    assert progress.failures == {"not_found": 3, "timeout": 1}
    assert progress.examples == {
        "not_found": FailureExample(uri="not_found.jpg", reason="why not_found"),
        "timeout": FailureExample(uri="timeout.jpg", reason="why timeout"),
    }


def test_warnings_of_all_shards_add_up_by_code_apart_from_failures(ledger: Ledger) -> None:
    ledger.book(JOB, 0, Counts(stored=3), {}, failed(first_frame=1, low_contrast=2))
    ledger.book(JOB, 1, Counts(stored=2, failed=1), failed(timeout=1), failed(first_frame=4))
    progress = ledger.progress(JOB)
    assert progress.warnings == {"first_frame": 5, "low_contrast": 2}
    assert progress.failures == {"timeout": 1}
    assert progress.counts == Counts(stored=5, failed=1)
    assert set(progress.examples) == {"first_frame", "low_contrast", "timeout"}


def test_foreign_texts_in_examples_are_cut(ledger: Ledger) -> None:
    ledger.book(JOB, 0, Counts(failed=10), {"refused": (10, FailureExample(uri="ü" * 9000, reason="\u20ac" * 9000))})
    assert ledger.progress(JOB).examples == {"refused": FailureExample(uri="ü" * 500, reason="\u20ac" * 500)}


def test_a_job_is_finished_and_to_be_closed_when_its_last_shard_is_booked(ledger: Ledger) -> None:
    for shard in range(4):
        assert not ledger.progress(JOB).finished
        assert ledger.closing() == []
        ledger.book(JOB, shard, Counts(stored=10), {})
    assert ledger.progress(JOB).finished
    assert ledger.closing() == [JOB]
    assert ledger.claim_next("a", LEASE).state is ClaimState.NONE


def test_a_booking_of_an_unknown_job_or_shard_leaves_nothing(ledger: Ledger) -> None:
    before = ledger.progress(JOB)
    assert ledger.book(JOB, 4, Counts(stored=10), {}) is Booking.IGNORED
    assert ledger.book(UNKNOWN, 0, Counts(stored=10), {}) is Booking.IGNORED
    assert ledger.progress(JOB) == before
    assert not any(UNKNOWN in key for key in keys(ledger))


def test_only_bookings_of_the_current_round_count(services: Services) -> None:
    ledger = services.ledger
    create(ledger, shards=1, retry_round=2)
    for other in (1, 3):
        assert ledger.book(JOB, 0, Counts(stored=10), {}, retry_round=other) is Booking.IGNORED
    assert ledger.book(JOB, 0, Counts(stored=10), {}, retry_round=2) is Booking.BOOKED


# Cancelled jobs


def test_nobody_begins_a_shard_of_a_cancelled_job(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    ledger.release(JOB, 0, "a", delay_seconds=0.01)
    ledger.cancel(JOB)
    time.sleep(0.02)
    assert ledger.claim_next("a", LEASE).state is ClaimState.NONE
    assert (ledger.claimable(10), ledger.closing()) == (0, [JOB])


def test_a_shard_of_a_cancelled_job_that_is_given_back_stays_where_it_is(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    ledger.cancel(JOB)
    assert ledger.release(JOB, 0, "a")
    assert ledger.claim_next("b", LEASE).state is ClaimState.NONE
    assert ledger.begun(JOB) == [0]


def test_who_has_a_shard_hears_that_the_job_is_cancelled_and_may_book(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    assert ledger.renew(JOB, [0], "a", LEASE) == {0: Renewal.RENEWED}
    ledger.cancel(JOB)
    assert ledger.renew(JOB, [0], "a", LEASE) == {0: Renewal.CANCELLED}
    assert not ledger.progress(JOB).finished
    assert ledger.book(JOB, 0, Counts(stored=4, cancelled=6), {}) is Booking.BOOKED
    progress = ledger.progress(JOB)
    assert progress.finished
    assert progress.counts == Counts(stored=4, cancelled=36)


def test_an_abandoned_shard_of_a_cancelled_job_is_had_for_its_report(ledger: Ledger) -> None:
    ledger.claim_next("alive", LEASE)
    ledger.claim_next("gave up", LEASE)
    ledger.release(JOB, 1, "gave up", delay_seconds=LEASE)
    ledger.claim_next("dead", INSTANT)
    expire()

    def ask() -> list[ClaimState]:
        return [ledger.claim_abandoned(JOB, shard, "r", LEASE).state for shard in range(5)]

    held, unknown = ClaimState.HELD, ClaimState.UNKNOWN
    assert ask() == [held, held, held, held, unknown], "the job is not cancelled"
    ledger.cancel(JOB)
    assert ledger.begun(JOB) == [0, 1, 2]
    assert ask() == [held, ClaimState.CLAIMED, ClaimState.CLAIMED, ClaimState.CLAIMED, unknown]
    ledger.book(JOB, 0, Counts(cancelled=10), {})
    assert ask() == [ClaimState.DONE, held, held, held, unknown]
    assert ledger.claim_abandoned(UNKNOWN, 0, "r", LEASE).state is unknown


def test_too_many_failures_cancel_the_job(ledger: Ledger) -> None:
    create(ledger, OTHER, max_failures=3)
    assert ledger.book(OTHER, 0, Counts(stored=7, failed=3), failed(timeout=3)) is Booking.BOOKED
    assert not ledger.progress(OTHER).cancelled
    assert ledger.book(OTHER, 1, Counts(stored=9, failed=1), failed(timeout=1)) is Booking.OVER_BUDGET
    assert ledger.progress(OTHER).finished
    assert ledger.progress(OTHER).counts == Counts(stored=16, failed=4, cancelled=20)
    assert ledger.closing() == [OTHER]
    assert {ledger.claim_next("a", LEASE).job for _ in range(5)} == {JOB, ""}


# The end of a job


def test_a_closed_job_is_no_longer_open_and_keeps_its_counters_for_a_while(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    ledger.cancel(JOB)
    ledger.book(JOB, 3, Counts(stored=10), {})
    ledger.close(JOB, 0, 2)
    assert ledger.open_jobs() == ledger.closing() == []
    assert ledger.jobs() == [JOB]
    assert ledger.progress(JOB).counts == Counts(stored=10, cancelled=30)
    assert ledger.renew(JOB, [0], "a", LEASE) == {0: Renewal.LOST}
    assert ledger.book(JOB, 0, Counts(stored=10), {}) is Booking.IGNORED
    assert ledger.claim_abandoned(JOB, 0, "r", LEASE).state is ClaimState.DONE
    create(ledger)
    assert ledger.open_jobs() == []
    wait_for(lambda: ledger.progress_of([JOB]) == [None], lambda: "its keys are there")
    assert ledger.jobs() == []
    assert {key for key in keys(ledger) if ":reply:" not in key} == set()


def test_a_forgotten_job_leaves_nothing(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    ledger.note(JOB, "a", {0: "x"})
    ledger.release(JOB, 0, "a", counts=False)
    ledger.claim_next("a", LEASE)
    ledger.book(JOB, 1, Counts(stored=10), {})
    ledger.forget(JOB)
    assert {key for key in keys(ledger) if ":reply:" not in key} == set()
    assert ledger.claim_next("a", LEASE).state is ClaimState.NONE
    assert ledger.inspect(JOB) is None


def test_forgetting_a_job_leaves_the_others_alone(ledger: Ledger) -> None:
    create(ledger, OTHER)
    ledger.forget(JOB)
    assert ledger.jobs() == ledger.open_jobs() == [OTHER]
    assert ledger.claim_next("a", LEASE).job == OTHER
