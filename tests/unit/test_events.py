from __future__ import annotations

from structlog.testing import capture_logs

from maskmill.events import Event, Events, ImageDone, JobEnded, ShardCommitted, WorkerState

JOB = "20261127-101500-0a1b2c3d"
COMMITTED = ShardCommitted(JOB, 0, attempt=1, counts={"stored": 128, "failed": 0}, seconds=9.5)


def test_subscribers_hear_every_event_in_order() -> None:
    heard: list[tuple[str, Event]] = []
    events = Events()
    events.subscribe(lambda event: heard.append(("first", event)))
    events.subscribe(lambda event: heard.append(("second", event)))

    events.emit(COMMITTED)
    events.emit(ImageDone(JOB, 0, "a.jpg", "stored"))

    assert [name for name, _ in heard] == ["first", "second"] * 2
    assert heard[0][1] is COMMITTED


def test_a_subscriber_that_fails_is_logged_and_harms_nobody() -> None:
    heard: list[Event] = []
    events = Events()
    events.subscribe(lambda event: 1 / 0)
    events.subscribe(heard.append)

    with capture_logs() as lines:
        events.emit(COMMITTED)

    assert heard == [COMMITTED]
    [failed] = [line for line in lines if line["event"] == "subscriber_failed"]
    assert failed["about"] == "ShardCommitted"
    assert "ZeroDivisionError" in failed["reason"]


def test_one_subscriber_may_subscribe_another_meanwhile() -> None:
    heard: list[Event] = []
    events = Events()
    events.subscribe(lambda event: events.subscribe(heard.append))

    events.emit(COMMITTED)
    events.emit(COMMITTED)

    assert heard == [COMMITTED]


def test_the_log_tells_what_happened_and_leaves_out_what_says_nothing() -> None:
    with capture_logs() as lines:
        Events().emit(COMMITTED)
        Events().emit(JobEnded(JOB, "completed", {"stored": 5, "failed": 2}, {"timeout": 2}))

    shard = {"event": "shard_committed", "job": JOB, "shard": 0, "attempt": 1, "stored": 128, "seconds": 9.5}
    assert lines[0] == {"log_level": "info"} | shard
    ended = {"event": "job_ended", "job": JOB, "state": "completed", "stored": 5, "failed": 2, "timeout": 2}
    assert lines[1] == {"log_level": "info"} | ended


def test_a_worker_is_ready_once_and_its_work_is_no_news() -> None:
    states = ("starting", "idle", "working", "idle", "draining", "deaf")
    with capture_logs() as lines:
        for before, state in zip(("", *states), states, strict=False):
            Events().emit(WorkerState("gpu0@host", state, "q", before, pid=7))

    named = [(line["event"], line["log_level"]) for line in lines]
    assert named == [
        ("worker_starting", "info"),
        ("worker_ready", "info"),
        ("worker_working", "debug"),
        ("worker_idle", "debug"),
        ("worker_draining", "info"),
        ("worker_deaf", "error"),
    ]
    assert [set(line) for line in lines] == [{"event", "log_level", "node", "queue", "pid"}] * len(states)


def test_images_are_below_the_level_that_workers_log() -> None:
    with capture_logs() as lines:
        Events().emit(ImageDone(JOB, 3, "a.jpg", "failed", "timeout"))
    assert [line["log_level"] for line in lines] == ["debug"]
