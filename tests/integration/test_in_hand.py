"""Images of shards that are not booked, and why nothing happens: what a ledger in a real Valkey says of both."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from maskmill.errors import BrokerUnavailable
from maskmill.job import Job
from maskmill.jobs.submit import submit
from maskmill.ledger.answers import InHand, Standing
from maskmill.ledger.ledger import Ledger
from maskmill.schema import Counts, Execution, JobStatus, Spec, Waiting, WaitingFor
from maskmill.services import Services
from maskmill.settings import Settings
from tests.conftest import wait_for
from tests.integration.ledger_jobs import INSTANT, JOB, LEASE, OUT, create, expire, keys

OTHER = "20261122-205301-00000001"
FOUND = Counts(stored=3, reused=2, failed=1)
SAID = {0: InHand(FOUND)}


@pytest.fixture
def ledger(services: Services) -> Ledger:
    """With one job of four shards of ten images."""
    create(services.ledger)
    return services.ledger


def test_images_of_a_held_shard_ride_on_its_renewal_and_are_booked_once(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    ledger.claim_next("b", LEASE)
    ledger.renew(JOB, [0], "a", LEASE, SAID)
    ledger.renew(JOB, [1], "b", LEASE, {1: InHand(Counts(stored=4))})
    assert ledger.progress(JOB).in_hand == FOUND + Counts(stored=4)
    assert ledger.progress(JOB).decided == Counts()
    ledger.renew(JOB, [0], "a", LEASE, {0: InHand(FOUND + Counts(stored=1))})
    assert ledger.progress(JOB).in_hand == FOUND + Counts(stored=5)
    ledger.renew(JOB, [0], "a", LEASE)
    assert ledger.progress(JOB).in_hand == FOUND + Counts(stored=5), "whoever says nothing changes nothing"
    ledger.book(JOB, 0, Counts(stored=10), {})
    progress = ledger.progress(JOB)
    assert (progress.in_hand, progress.decided) == (Counts(stored=4), Counts(stored=10))
    ledger.renew(JOB, [0], "a", LEASE, SAID)
    assert ledger.progress(JOB).in_hand == Counts(stored=4), "its owner said it again, too late"


def _rebuild(ledger: Ledger, retry_round: int = 0, done: bytes = b"") -> None:
    facts = {"model": "demo", "images": 40, "shards": 4, "created_seconds": 1.0, "priority": 0, "max_failures": None}
    ledger.rebuild(JOB, OUT, **facts, retry_round=retry_round, done=done, counts=Counts(), failures={})


ENDS: dict[str, Callable[[Ledger], object]] = {
    "given back": lambda ledger: ledger.release(JOB, 0, "a"),
    "taken over": lambda ledger: ledger.claim_next("b", LEASE),
    "booked": lambda ledger: ledger.book(JOB, 0, Counts(stored=10), {}),
    "abandoned": lambda ledger: (ledger.cancel(JOB), ledger.claim_abandoned(JOB, 0, "b", LEASE)),
    "closed": lambda ledger: ledger.close(JOB, 0, LEASE),
    "forgotten": lambda ledger: ledger.forget(JOB),
    "found done": lambda ledger: _rebuild(ledger, done=b"\x80"),
    "tried again": lambda ledger: _rebuild(ledger, retry_round=1),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_whatever_ends_a_claim_ends_what_its_owner_said(ledger: Ledger, end: Callable[[Ledger], object]) -> None:
    ledger.claim_next("a", INSTANT)
    ledger.renew(JOB, [0], "a", INSTANT, SAID)
    expire()
    assert ledger.progress(JOB).in_hand == FOUND, "a lease that is over is its owner's until somebody takes it"
    end(ledger)
    assert ledger.key(JOB, "in_hand") not in keys(ledger)
    ledger.renew(JOB, [0], "a", LEASE, SAID)
    assert ledger.key(JOB, "in_hand") not in keys(ledger), "who lost its shard speaks for it no more"
    ledger.forget(JOB)


def test_a_ledger_that_is_built_anew_in_the_same_round_keeps_what_is_in_hand(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    ledger.renew(JOB, [0], "a", LEASE, SAID)
    _rebuild(ledger)
    assert ledger.progress(JOB).in_hand == FOUND
    ledger.redis.delete(ledger.key(JOB, "owners"))
    _rebuild(ledger)
    assert ledger.progress(JOB).in_hand == Counts(), "nobody knows whose it is"


def test_what_a_worker_of_before_leaves_behind_is_counted_no_more(ledger: Ledger) -> None:
    """Machines are upgraded one after the other: scripts of before know nothing of what is in hand."""
    ledger.claim_next("a", LEASE)
    ledger.renew(JOB, [0], "a", LEASE, SAID)
    ledger.book(JOB, 0, Counts(stored=10), {})
    ledger.redis.hset(ledger.key(JOB, "in_hand"), "0", SAID[0].text())
    assert ledger.progress(JOB).in_hand == Counts()


def test_a_model_is_loading_until_an_image_is_finished(ledger: Ledger) -> None:
    ledger.claim_next("a", LEASE)
    ledger.renew(JOB, [0], "a", LEASE, {0: InHand(loading="owner/model")})
    assert ledger.progress(JOB).loading == "owner/model"
    ledger.claim_next("b", LEASE)
    ledger.renew(JOB, [1], "b", LEASE, {1: InHand(Counts(stored=1))})
    assert ledger.progress(JOB).loading == ""


# Why nothing happens


def test_workers_are_there_while_they_say_so(ledger: Ledger) -> None:
    assert ledger.standing(JOB).there == 0
    for worker, state in (("a", "starting"), ("b", "idle"), ("c", "draining"), ("d", "working")):
        ledger.alive(worker, state)
    assert (ledger.standing(JOB).there, ledger.standing(JOB).starting) == (3, 1)
    ledger.alive("a", "idle")
    ledger.left("b")
    ledger.redis.zadd(ledger.key("workers"), {"d": 1})
    assert (ledger.standing(JOB).there, ledger.standing(JOB).starting) == (1, 0)
    ledger.alive("a", "idle")
    assert ledger.redis.hkeys(ledger.key("states")) == ["a", "c"], "who was not heard of for long is forgotten"


def test_workers_at_other_jobs_are_counted_while_their_leases_last(ledger: Ledger) -> None:
    create(ledger, OTHER, shards=5)
    for owner in ("a", "a", "b"):
        ledger.claim_next(owner, LEASE)
    while ledger.progress(JOB).claimed:  # what the others have is of the other job
        ledger.forget(JOB)
        create(ledger)
    mine = ledger.progress(OTHER).claimed
    assert mine
    while ledger.progress(OTHER).claimed < 3:
        shard = ledger.claim_next("b", LEASE, without=[JOB])
        assert shard.job == OTHER
    standing = ledger.standing(JOB)
    assert (standing.busy_jobs, standing.busy_with) == (1, OTHER)
    owners = set(ledger.redis.hvals(ledger.key(OTHER, "owners")))
    assert standing.busy == len(owners)
    for shard in range(5):
        ledger.redis.zadd(ledger.key(OTHER, "leases"), {str(shard): 1}, xx=True)
    assert ledger.standing(JOB) == Standing(leased=0, there=0, starting=0, paused=0, pause_seconds=0.0)


def test_shards_that_wait_out_a_pause_are_counted_with_the_time_of_the_first(ledger: Ledger) -> None:
    for delay in (60.0, 20.0, 0.0):
        ledger.release(JOB, ledger.claim_next("a", LEASE).shard, "a", delay_seconds=delay)
    standing = ledger.standing(JOB)
    assert standing.paused == 2
    assert 19 < standing.pause_seconds <= 20


def test_to_ask_changes_nothing(ledger: Ledger) -> None:
    ledger.alive("a")
    ledger.claim_next("a", LEASE)

    def dump() -> dict[str, object]:
        return {key: ledger.redis.execute_command("DUMP", key, NEVER_DECODE=True) for key in keys(ledger)}

    before = dump()
    ledger.standing(JOB)
    ledger.standing(OTHER)
    ledger.progress(JOB)
    assert dump() == before


# Who waits


class Silent(Ledger):
    """A ledger whose broker is away now and then."""

    away = False

    def run(self, name: str, *arguments: object) -> object:
        if self.away:
            raise BrokerUnavailable("the broker cannot be reached")
        return super().run(name, *arguments)


class Enough(Exception):
    """The test has seen what it is about."""


def test_who_waits_hears_that_a_server_is_away_and_that_it_is_back(
    services: Services, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("/photos/0.jpg\n")
    record = submit(
        services, [str(tmp_path / "list.txt")], out=settings.out, spec=Spec(model="m"), execution=Execution()
    )
    services.ledger = ledger = Silent(services.ledger.redis, settings.queue)
    nowhere = settings.s3.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    no_store = Services.connect(settings.model_copy(update={"s3": nowhere}), store_attempts=1)
    there = services.store(settings.out)
    said: list[WaitingFor | None] = []

    def hear(status: JobStatus) -> None:
        code = status.waiting.code if status.waiting else None
        if said[-1:] == [code]:
            return
        said.append(code)
        match len(said):
            case 1:
                ledger.away = True
            case 2:
                ledger.away = False
            case 3:
                services._stores[settings.out] = no_store.store(settings.out)
            case 4:
                services._stores[settings.out] = there
            case _:
                raise Enough

    with suppress(Enough):
        Job(record.job, settings.out, services).wait(timeout=60, on_status=hear)
    worker, broker, store = WaitingFor.WORKER, WaitingFor.BROKER, WaitingFor.STORE
    assert said == [worker, broker, worker, store, worker]


def test_who_asks_once_hears_of_a_store_that_is_away_when_a_worker_has_begun(
    services: Services, settings: Settings
) -> None:
    create(services.ledger)
    job = Job(JOB, settings.out, services)
    assert job.look().waiting == Waiting(
        code=WaitingFor.WORKER, reason="no worker is there: start one with `maskmill-worker`"
    )
    services.ledger.alive("a")
    services.ledger.claim_next("a", LEASE)
    wait_for(lambda: job.look().waiting is not None, job.look)
    assert job.look().waiting == Waiting(
        code=WaitingFor.FIRST_IMAGE, reason="a worker has begun, and no image is finished yet"
    )
    nowhere = settings.s3.model_copy(update={"endpoint_url": "http://127.0.0.1:9"})
    no_store = Services.connect(settings.model_copy(update={"s3": nowhere}), store_attempts=1)
    found = Job(JOB, settings.out, no_store).look().waiting
    assert found is not None
    assert found.code is WaitingFor.STORE
    assert "the object store cannot be reached" in found.reason
