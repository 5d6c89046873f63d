from __future__ import annotations

from itertools import pairwise

import pytest

from maskmill_worker.process.hearing import DEAF_SECONDS, Hearing, Verdict

HEARS, RECONNECT, DEAF, RESTART = Verdict
WAITS = {"taken": 0, "busy": False, "work_waits": True}


def verdicts(*seen: tuple[float, dict[str, object]], deaf_seconds: float = 30.0) -> list[Verdict]:
    """What is said of a worker that was seen so at these times."""
    hearing = Hearing(deaf_seconds)
    return [hearing.judge(now, **{**WAITS, **facts}) for now, facts in seen]  # type: ignore[arg-type]


def test_a_deaf_worker_is_connected_anew_and_then_started_anew() -> None:
    times = (0, 5, 29.9, 30, 35, 59.9, 60)
    assert verdicts(*((now, {}) for now in times)) == [HEARS, HEARS, HEARS, RECONNECT, DEAF, DEAF, RESTART]


@pytest.mark.parametrize("sign", [{"busy": True}, {"work_waits": False}, {"taken": 1}])
def test_any_sign_of_hearing_begins_the_count_anew(sign: dict[str, object]) -> None:
    after = {"taken": sign.get("taken", 0)}
    told = verdicts((0, {}), (25, sign), (31, after), (60, after), (61, after))
    assert told == [HEARS, HEARS, HEARS, HEARS, RECONNECT]


def test_one_that_hears_after_its_connection_was_made_anew_is_not_started_anew() -> None:
    after = {"taken": 1}
    told = verdicts((0, {}), (30, {}), (35, after), (64, after), (66, after), (97, after))
    assert told == [HEARS, RECONNECT, HEARS, HEARS, HEARS, RECONNECT]


def test_a_machine_that_slept_gets_a_new_connection_before_a_new_start() -> None:
    assert verdicts((0, {}), (9000, {}), (9005, {})) == [HEARS, RECONNECT, DEAF]


def test_a_worker_is_given_half_a_minute() -> None:
    hearing = Hearing()
    times = [second * 5.0 for second in range(20)]
    told = [hearing.judge(now, taken=0, busy=False, work_waits=True) for now in times]
    [at] = [now for now, (before, after) in zip(times[1:], pairwise(told), strict=True) if after is RECONNECT != before]
    assert at == DEAF_SECONDS
