"""The verdict on an attempt, for every error class that there is."""

from __future__ import annotations

import pytest

from maskmill import errors
from maskmill.errors import MaskmillError
from maskmill_worker.shards.attempts import MAX_PAUSE_SECONDS, Ending, code_of, verdict

ALLOWED = 3

LEFT = {"LeaseLost"}
"""Another worker's by now."""

UNCOUNTED = {"StoreUnavailable", "BrokerUnavailable", "HubUnavailable"}
"""Outages: as long as they last."""

REFUSED = {"StoreRefused", "ObjectForbidden", "ObjectNotFound", "BrokerRefused"}
"""What somebody must mend: asked again once a minute."""

INTERRUPTED = {"JobCancelled", "NewerRecord"}
CLOSED_AT_ONCE = {"ModelUnusable", "ModelRefused", "WorkerCrashed"}
"""Another attempt would end in the same way."""


def subclasses(kind: type[MaskmillError]) -> list[type[MaskmillError]]:
    return [kind, *(each for below in kind.__subclasses__() for each in subclasses(below))]


def made(kind: type[MaskmillError]) -> MaskmillError:
    return kind("reason", "record") if issubclass(kind, errors.InvalidRecord) else kind("reason")


ALL = sorted({kind for kind in subclasses(MaskmillError) if kind.__module__ == "maskmill.errors"}, key=str)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("attempt", [1, ALLOWED, 2_000])
def test_every_error_of_ours_has_its_verdict(kind: type[MaskmillError], attempt: int) -> None:
    judged = verdict(made(kind), attempt, min(attempt, ALLOWED), ALLOWED)
    name, last = kind.__name__, attempt >= ALLOWED
    if name in LEFT:
        expected = Ending.LEAVE, False
    elif name in UNCOUNTED | REFUSED | INTERRUPTED:
        expected = Ending.GIVE_BACK, False
    elif name in CLOSED_AT_ONCE or last:
        expected = Ending.FAIL_REST, True
    else:
        expected = Ending.GIVE_BACK, True
    assert (judged.ending, judged.counts) == expected
    assert 0 <= judged.pause_seconds <= MAX_PAUSE_SECONDS
    assert (judged.pause_seconds == 0) == (name in LEFT | INTERRUPTED or judged.ending is Ending.FAIL_REST)
    assert name not in REFUSED or judged.pause_seconds == MAX_PAUSE_SECONDS


@pytest.mark.parametrize("error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit()])
@pytest.mark.parametrize("attempt", [1, ALLOWED, 2_000])
def test_an_interruption_gives_back_at_once_and_never_counts(error: BaseException, attempt: int) -> None:
    judged = verdict(error, attempt, attempt, ALLOWED)
    assert (judged.ending, judged.pause_seconds, judged.counts) == (Ending.GIVE_BACK, 0, False)


@pytest.mark.parametrize("error", [RuntimeError("?"), ValueError(), MemoryError()])
def test_what_nobody_thought_of_counts_until_the_attempts_are_used_up(error: Exception) -> None:
    assert [verdict(error, n, n, ALLOWED).ending for n in (1, 2, 3)] == [
        Ending.GIVE_BACK,
        Ending.GIVE_BACK,
        Ending.FAIL_REST,
    ]
    assert verdict(error, attempt=900, counted=2, max_attempts=ALLOWED).ending is Ending.GIVE_BACK


@pytest.mark.parametrize("error", [errors.ModelUnusable("?"), errors.InvalidRecord("?", ""), RuntimeError("?")])
def test_a_shard_whose_images_are_not_known_is_tried_until_they_are(error: Exception) -> None:
    judged = verdict(error, attempt=5, counted=900, max_attempts=ALLOWED, images_known=False)
    assert (judged.ending, judged.pause_seconds, judged.counts) == (Ending.GIVE_BACK, 32, True)


def test_pauses_grow_and_stay_bounded_at_any_attempt() -> None:
    pauses = [verdict(errors.StoreUnavailable("?"), n, 0, ALLOWED).pause_seconds for n in (1, 2, 3, 10, 1_023, 10**9)]
    assert pauses == [2, 4, 8, 60, 60, 60]


def test_an_error_has_its_own_code_and_a_stranger_a_general_one() -> None:
    errors_of_ours = errors.StoreUnavailable("?"), errors.ImageCrashed("?")
    assert [code_of(error) for error in errors_of_ours] == ["store_unavailable", "crashed"]
    assert [code_of(error) for error in (RuntimeError(), SystemExit())] == ["worker_error", "interrupted"]
