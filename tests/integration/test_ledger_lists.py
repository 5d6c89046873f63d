"""What the ledger tells of its queue in a real Valkey: the jobs, how far they are, workers, messages."""

from __future__ import annotations

import time

import pytest

from maskmill.errors import JobNotFound
from maskmill.ledger.answers import Progress
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts, FailureExample
from maskmill.services import Services
from maskmill.settings import Settings
from tests.conftest import wait_for
from tests.integration.ledger_jobs import INSTANT, JOB, LEASE, OUT, create, expire, failed, keys, won

OTHER = "20261123-000000-00000001"
UNKNOWN = "20200101-000000-00000000"


@pytest.fixture
def ledger(services: Services) -> Ledger:
    """A ledger of this test alone, with one job of four shards."""
    create(services.ledger)
    return services.ledger


def test_creating_a_job_again_changes_nothing(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    ledger.book(JOB, 0, Counts(stored=10), {})
    before = ledger.progress(JOB)
    ledger.create(JOB, "s3://other/out", model="other", images=1, shards=1, created_seconds=1.0)
    assert ledger.progress(JOB) == before
    assert won(ledger.claim_next("a", LEASE)) == (1, 1)


def test_creating_a_job_again_brings_it_back_to_those_who_look_for_work(ledger: Ledger) -> None:
    ledger.redis.delete(ledger.key("runnable"), ledger.key("open"), ledger.key("jobs"))
    create(ledger)
    assert won(ledger.claim_next("a", LEASE)) == (0, 1)
    assert ledger.open_jobs() == ledger.jobs() == [JOB]


def test_progress_tells_all_of_a_job(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    ledger.claim_next("a", LEASE)
    ledger.release(JOB, 1, "a", delay_seconds=LEASE)
    ledger.book(JOB, 3, Counts(stored=9, failed=1), failed(timeout=1))
    expected = Progress(
        job=JOB,
        out=OUT,
        images=40,
        shards=4,
        shards_done=1,
        claimed=1,
        waiting=1,
        begun=2,
        cancelled=False,
        retry_round=0,
        decided=Counts(stored=9, failed=1),
        failures={"timeout": 1},
        warnings={},
        examples={"timeout": FailureExample(uri="timeout.jpg", reason="why timeout")},
    )
    assert ledger.progress(JOB) == expected
    assert ledger.progress_of([UNKNOWN, JOB]) == [None, expected]
    assert ledger.progress_of([]) == []
    assert ledger.out(JOB) == OUT


def test_an_unknown_job_is_said_to_be_unknown(ledger: Ledger) -> None:
    for ask in (ledger.progress, ledger.out, ledger.cancel):
        with pytest.raises(JobNotFound, match="20200101"):
            ask(UNKNOWN)
    assert not any(UNKNOWN in key for key in keys(ledger))


def test_jobs_are_listed_newest_first_and_open_ones_oldest_first(ledger: Ledger) -> None:
    older, newer = "20251231-000000-00000001", "20261231-000000-00000002"
    create(ledger, newer)
    create(ledger, older)
    assert ledger.jobs() == [newer, JOB, older]
    assert ledger.jobs(newest=1) == [newer]
    assert ledger.open_jobs() == [older, JOB, newer]


def test_the_list_of_jobs_does_not_grow_with_those_that_are_gone(ledger: Ledger) -> None:
    """Though nobody looks further back than to the latest ones, which are there."""
    latest = [f"2028{number:04d}-000000-00000000" for number in range(5)]
    gone = [f"2027{number:04d}-000000-00000000" for number in range(30)]
    for name in latest + gone:
        create(ledger, name)
    for name in gone:
        ledger.close(name, 0, INSTANT)
    expire()
    ledger.forget(JOB)
    for number in range(5, 10):
        create(ledger, f"2028{number:04d}-000000-00000000")
        assert len(ledger.jobs(5)) == 5
    assert set(ledger.redis.zrange(ledger.key("jobs"), 0, -1)) & set(gone) == set()


def test_claimable_shards_are_counted_over_all_jobs_up_to_a_limit(ledger: Ledger) -> None:
    create(ledger, OTHER, shards=1_000_000)
    assert [ledger.claimable(limit) for limit in (1, 3, 2_000_000)] == [1, 3, 1_000_004]
    ledger.cancel(OTHER)
    ledger.claim_next("a", LEASE)
    ledger.book(JOB, 3, Counts(stored=10), {})
    assert ledger.claimable(100) == 2


# The fleet


def test_workers_count_while_they_are_heard_of(ledger: Ledger) -> None:
    assert ledger.workers() == 0
    for worker in ("a", "b", "a"):
        ledger.alive(worker)
    assert ledger.workers() == 2
    ledger.redis.zadd(ledger.key("workers"), {"a": 1})
    assert ledger.workers() == 1
    ledger.alive("b")
    assert ledger.redis.zcard(ledger.key("workers")) == 1


def test_one_of_many_is_elected_until_its_time_is_over(ledger: Ledger) -> None:
    assert [ledger.elect(owner, 2) for owner in ("a", "b", "a")] == [True, False, True]
    time.sleep(1.2)
    assert ledger.elect("a", 2)
    time.sleep(1.2)
    assert not ledger.elect("b", LEASE), "its time began anew"
    wait_for(lambda: ledger.elect("b", LEASE), lambda: "the first one's time is not over")
    assert not ledger.elect("a", LEASE)


def test_waiting_messages_are_counted_by_queue(ledger: Ledger, settings: Settings) -> None:
    assert ledger.queue_length(settings.queue) == 0
    ledger.redis.rpush(settings.queue, "one", "two")
    assert ledger.queue_length(settings.queue) == 2
    ledger.redis.delete(settings.queue)
