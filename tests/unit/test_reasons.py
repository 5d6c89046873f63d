"""Why nothing happens: one reason for each way in which the ledger stands, the one to mend first."""

from __future__ import annotations

from typing import Any

import pytest

from maskmill.errors import BrokerUnavailable, StoreUnavailable
from maskmill.jobs.waiting import away, waiting_for
from maskmill.ledger.answers import InHand, Progress, Standing
from maskmill.schema import Counts, WaitingFor
from maskmill.words import counted

NOBODY = Standing(leased=0, there=0, starting=0, paused=0, pause_seconds=0)


def progress(**changes: Any) -> Progress:
    """A job of four shards that nobody has begun."""
    given = {"job": "j", "out": "s3://b/o", "images": 40, "shards": 4, "shards_done": 0, "claimed": 0, "waiting": 0}
    more = {"begun": 0, "cancelled": False, "retry_round": 0, "decided": Counts(), "failures": {}, "warnings": {}}
    return Progress(**{**given, **more, "examples": {}, **changes})


def standing(**changes: Any) -> Standing:
    """One worker is there, and nothing is in hand."""
    return Standing(**{**vars(NOBODY), "there": 1, **changes})


TROUBLE = "store_refused: no right to put"


@pytest.mark.parametrize(
    ("job", "stands", "code", "reason"),
    [
        ({}, {"there": 0}, WaitingFor.WORKER, "no worker is there: start one with `maskmill-worker`"),
        ({"claimed": 1}, {"there": 0, "leased": 1}, WaitingFor.WORKER, "no worker is there"),
        ({}, {"starting": 1}, WaitingFor.START, "1 worker starts"),
        ({}, {"there": 2, "starting": 2}, WaitingFor.START, "2 workers start"),
        ({}, {"there": 2, "starting": 1}, WaitingFor.CLAIM, "2 workers are there, and have not begun yet"),
        ({}, {}, WaitingFor.CLAIM, "1 worker is there, and has not begun yet"),
        (
            {},
            {"there": 3, "busy": 3, "busy_jobs": 1, "busy_with": "X"},
            WaitingFor.TURN,
            "all 3 workers are busy with job X",
        ),
        (
            {},
            {"there": 3, "starting": 1, "busy": 2, "busy_jobs": 3, "busy_with": "X"},
            WaitingFor.TURN,
            "all 2 workers are busy with job X and 2 other jobs",
        ),
        (
            {},
            {"busy": 1, "busy_jobs": 1, "busy_with": "X"},
            WaitingFor.TURN,
            "the worker is busy with job X",
        ),
        ({}, {"there": 3, "busy": 2, "busy_jobs": 1, "busy_with": "X"}, WaitingFor.CLAIM, "3 workers are there"),
        (
            {"shards_done": 3, "trouble": TROUBLE},
            {"paused": 1, "pause_seconds": 12.3},
            WaitingFor.PAUSE,
            f"1 shard waits 12 s more after {TROUBLE}",
        ),
        ({}, {"paused": 2, "pause_seconds": 3.0}, WaitingFor.PAUSE, "2 shards wait 3 s more"),
        (
            {"loading": "demo"},
            {"leased": 1},
            WaitingFor.MODEL,
            "a worker loads the model demo",
        ),
        ({}, {"leased": 1}, WaitingFor.FIRST_IMAGE, "a worker has begun, and no image is finished yet"),
    ],
)
def test_a_job_in_which_nothing_happens_has_a_reason(
    job: dict[str, Any], stands: dict[str, Any], code: WaitingFor, reason: str
) -> None:
    found = waiting_for(progress(**job), standing(**stands))
    assert found is not None
    assert (found.code, found.reason[: len(reason)]) == (code, reason)


@pytest.mark.parametrize(
    "job",
    [
        {"in_hand": Counts(stored=1), "loading": ""},
        {"decided": Counts(stored=10), "shards_done": 1},
        {"cancelled": True, "begun": 1},
        {"decided": Counts(stored=40), "shards_done": 4},
    ],
    ids=["images in hand", "between shards", "cancelled", "done"],
)
def test_a_job_that_goes_on_or_ends_has_none(job: dict[str, Any]) -> None:
    assert waiting_for(progress(**job), standing(leased=1)) is None


def test_a_server_that_is_away_is_named() -> None:
    assert away(BrokerUnavailable("refused")).code is WaitingFor.BROKER
    assert away(StoreUnavailable("refused")).code is WaitingFor.STORE


@pytest.mark.parametrize("said", [InHand(Counts(stored=12, reused=3, failed=1)), InHand(loading="o/m"), InHand()])
def test_what_an_owner_says_comes_back(said: InHand) -> None:
    assert InHand.from_text(said.text()) == said


@pytest.mark.parametrize("text", ["", "1 2", "1 2 3 4", "-1 0 0", "a b c", "1.5 0 0"])
def test_what_nobody_understands_counts_as_nothing(text: str) -> None:
    assert InHand.from_text(text) == InHand()


def test_the_name_of_a_model_is_cut_to_what_a_line_holds() -> None:
    assert len(InHand(loading="m" * 10_000).text()) < 300


@pytest.mark.parametrize(("number", "text"), [(0, "0 images"), (1, "1 image"), (2000, "2,000 images")])
def test_one_is_one_image(number: int, text: str) -> None:
    assert counted(number, "image") == text
