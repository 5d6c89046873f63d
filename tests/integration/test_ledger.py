"""The ledger's shards in a real Valkey: claimed, renewed, given back, noted and excused."""

from __future__ import annotations

import time

import pytest

from maskmill.ledger.answers import ClaimReply, ClaimState, Renewal, Turn
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts
from maskmill.services import Services
from maskmill.settings import Settings
from tests.conftest import wait_for
from tests.integration.ledger_jobs import INSTANT, JOB, LEASE, OUT, create, expire, won

OTHER = "20261123-000000-00000001"
UNKNOWN = "20200101-000000-00000000"


@pytest.fixture
def ledger(services: Services) -> Ledger:
    """A ledger of this test alone, with one job of four shards."""
    create(services.ledger)
    return services.ledger


def claim(ledger: Ledger, owner: str = "a", lease_seconds: float = LEASE) -> ClaimReply:
    return ledger.claim_next(owner, lease_seconds)


# Claims


def test_a_claim_says_all_that_a_worker_must_know(services: Services) -> None:
    create(services.ledger, retry_round=2)
    expected = ClaimReply(ClaimState.CLAIMED, JOB, OUT, shard=0, attempt=1, excused=0, retry_round=2, note="")
    assert claim(services.ledger) == expected


def test_shards_go_in_their_order_and_then_there_is_none(ledger: Ledger) -> None:
    assert [won(claim(ledger)) for _ in range(5)] == [(0, 1), (1, 1), (2, 1), (3, 1), None]
    assert claim(ledger) == ClaimReply(ClaimState.NONE)


def test_a_queue_without_jobs_has_no_shard_and_keeps_nothing(services: Services) -> None:
    assert claim(services.ledger).state is ClaimState.NONE
    assert not list(services.ledger.redis.scan_iter(f"{services.ledger.prefix}:*"))


def test_a_shard_that_is_done_is_not_claimed(ledger: Ledger) -> None:
    for shard in (0, 2, 3):
        ledger.book(JOB, shard, Counts(stored=10), {})
    assert [won(claim(ledger)) for _ in range(2)] == [(1, 1), None]


# Leases


def test_a_renewed_lease_does_not_expire(services: Services) -> None:
    ledger = services.ledger
    create(ledger, shards=1)
    claim(ledger, lease_seconds=2)
    for _ in range(2):
        time.sleep(1.2)
        assert ledger.renew(JOB, [0], "a", 2) == {0: Renewal.RENEWED}
    assert claim(ledger, "b").state is ClaimState.NONE
    wait_for(lambda: ledger.claimable(10) == 1, lambda: "its lease is not over")
    assert won(claim(ledger, "b")) == (0, 2)


def test_an_expired_lease_is_claimed_without_anybody_s_help_and_its_owner_has_lost_it(services: Services) -> None:
    """Also when its job had left the runnable ones."""
    ledger = services.ledger
    create(ledger, shards=1)
    claim(ledger, "a", 2)
    assert claim(ledger, "b").state is ClaimState.NONE
    assert ledger.claimable(10) == 0
    wait_for(lambda: ledger.claimable(10) == 1, lambda: "its lease is not over")
    assert won(claim(ledger, "b")) == (0, 2)
    assert ledger.renew(JOB, [0], "a", LEASE) == {0: Renewal.LOST}
    assert not ledger.release(JOB, 0, "a")
    assert claim(ledger, "c").state is ClaimState.NONE


def test_a_lease_that_was_over_and_is_renewed_is_live_again(services: Services) -> None:
    ledger = services.ledger
    create(ledger, shards=1)
    claim(ledger, "a", INSTANT)
    expire()
    assert ledger.claimable(10) == 1
    assert ledger.renew(JOB, [0], "a", 2) == {0: Renewal.RENEWED}
    assert claim(ledger, "b").state is ClaimState.NONE
    wait_for(lambda: ledger.claimable(10) == 1, lambda: "its lease is not over")
    assert won(claim(ledger, "b")) == (0, 2)


def test_a_renewal_changes_nothing_but_the_deadline(ledger: Ledger) -> None:
    claim(ledger)
    before = ledger.redis.zrange(ledger.key("due"), 0, -1, withscores=True)
    ledger.renew(JOB, [0], "a", 2 * LEASE)
    assert ledger.redis.zrange(ledger.key("due"), 0, -1, withscores=True) == before


def test_all_shards_of_a_worker_are_renewed_in_one_call(ledger: Ledger) -> None:
    for owner in ("a", "b", "a"):
        claim(ledger, owner)
    renewed = ledger.renew(JOB, [0, 1, 2, 3], "a", LEASE)
    assert renewed == {0: Renewal.RENEWED, 1: Renewal.LOST, 2: Renewal.RENEWED, 3: Renewal.LOST}
    assert ledger.renew(JOB, [], "a", LEASE) == {}


def test_nothing_is_renewed_after_the_booking(ledger: Ledger) -> None:
    claim(ledger)
    ledger.book(JOB, 0, Counts(stored=10), {})
    assert ledger.renew(JOB, [0], "a", LEASE) == {0: Renewal.LOST}
    assert not ledger.release(JOB, 0, "a")
    assert ledger.progress(JOB).waiting == 0


# Giving back


@pytest.mark.parametrize(("counts", "counted"), [(True, 2), (False, 1)])
def test_a_shard_that_is_given_back_is_free_and_its_attempt_may_be_excused(
    ledger: Ledger, counts: bool, counted: int
) -> None:
    claim(ledger)
    assert ledger.release(JOB, 0, "a", counts=counts)
    reply = claim(ledger, "b")
    assert (reply.shard, reply.attempt, reply.counted) == (0, 2, counted)


def test_a_shard_that_waits_for_its_next_attempt_is_nobody_s_until_then(services: Services) -> None:
    ledger = services.ledger
    create(ledger, shards=1)
    claim(ledger)
    ledger.release(JOB, 0, "a", delay_seconds=2)
    assert ledger.progress(JOB).waiting == 1
    assert (claim(ledger, "b").state, ledger.claimable(10)) == (ClaimState.NONE, 0)
    wait_for(lambda: ledger.claimable(10) == 1, lambda: "its delay is not over")
    assert won(claim(ledger, "b")) == (0, 2)


def test_what_was_given_back_goes_first_then_what_was_lost_then_what_is_new(ledger: Ledger) -> None:
    claim(ledger, "b")
    claim(ledger, "dead", INSTANT)
    ledger.release(JOB, 0, "b")
    expire()
    assert [won(claim(ledger)) for _ in range(4)] == [(0, 2), (1, 2), (2, 1), (3, 1)]


def test_an_attempt_is_excused_only_while_there_is_one(ledger: Ledger) -> None:
    ledger.excuse(JOB, 0)
    claim(ledger, "a", INSTANT)
    expire()
    for _ in range(3):
        ledger.excuse(JOB, 0)
    reply = claim(ledger, "b")
    assert (reply.attempt, reply.excused) == (2, 1)
    ledger.book(JOB, 0, Counts(stored=10), {})
    ledger.excuse(JOB, 0)
    ledger.excuse(UNKNOWN, 0)
    state = ledger.inspect(JOB)
    assert state is not None
    assert state.complete


# Notes


def test_a_note_is_for_the_next_owner(ledger: Ledger) -> None:
    claim(ledger, "a", INSTANT)
    ledger.note(JOB, "a", {0: "seen", 1: "not mine"})
    expire()
    assert claim(ledger, "b").note == "seen"
    assert claim(ledger, "b").note == ""


def test_only_the_owner_notes_and_a_booking_ends_the_note(ledger: Ledger) -> None:
    claim(ledger, "a", INSTANT)
    expire()
    claim(ledger, "b")
    ledger.note(JOB, "a", {0: "too late"})
    ledger.note(JOB, "b", {0: "mine"})
    ledger.release(JOB, 0, "b")
    assert claim(ledger, "c").note == "mine"
    ledger.note(JOB, "c", {0: ""})
    ledger.release(JOB, 0, "c")
    assert claim(ledger, "d").note == ""
    ledger.note(JOB, "d", {0: "last"})
    ledger.book(JOB, 0, Counts(stored=10), {})
    assert not ledger.redis.exists(ledger.key(JOB, "notes"))


# Queues


def test_two_queues_are_separate(ledger: Ledger, settings: Settings) -> None:
    other = Ledger(ledger.redis, f"{settings.queue}-other")
    assert claim(other).state is ClaimState.NONE
    assert other.jobs() == other.open_jobs() == []
    create(other)
    assert claim(other)
    other.book(JOB, 0, Counts(stored=10), {})
    assert ledger.progress(JOB).counts == Counts()
    assert won(claim(ledger, "b")) == (0, 1)
    other.forget(JOB)


def test_a_worker_asks_for_its_own_job_alone(ledger: Ledger) -> None:
    create(ledger, OTHER, shards=1)
    only = Turn(OTHER, "demo", only_this_job=True)
    assert ledger.claim_next("a", LEASE, only).job == OTHER
    assert ledger.claim_next("a", LEASE, only) == ClaimReply(ClaimState.YIELD)
    while claim(ledger):
        pass
    assert ledger.claim_next("a", LEASE, only) == ClaimReply(ClaimState.NONE)


def test_a_claim_whose_answer_was_lost_is_asked_again_and_holds_one_shard(ledger: Ledger) -> None:
    sent = list[tuple[object, ...]]()
    run = ledger.run

    def lost_once(name: str, *arguments: object) -> object:
        sent.append(arguments)
        run(name, *arguments)  # as redis-py does when the connection ends before the answer
        return run(name, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ledger, "run", lost_once)
        first, second = (ledger.claim_next("w", 30) for _ in range(2))
    assert [first.shard, second.shard] == [0, 1]
    assert (first.attempt, second.attempt) == (1, 1)
    assert ledger.progress(JOB).claimed == 2
