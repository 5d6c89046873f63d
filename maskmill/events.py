"""What happens while jobs are worked on: a small typed set of events, and a hub that passes them on.

The log is the first subscriber. Notifications, metrics and exports subscribe to the same events:

    events = Events()
    events.subscribe(lambda event: print(event.counts) if isinstance(event, ShardCommitted) else None)
    events.emit(ShardCommitted(job="20261127-101500-0a1b2c3d", shard=3, attempt=1, counts={"stored": 128}))
    # logs shard_committed job=… shard=3 attempt=1 stored=128, and prints {'stored': 128}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ImageDone:
    """An image has its outcome: `status` is stored, reused, failed or cancelled, `code` says why it failed."""

    job: str
    shard: int
    uri: str
    status: str
    code: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ShardCommitted:
    """A shard's report is in the bucket: images by status, and the seconds that a worker spent on them."""

    job: str
    shard: int
    attempt: int
    counts: Mapping[str, int] = field(default_factory=dict)
    retry_round: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class JobEnded:
    """A job's manifest is in the bucket: its state (completed, cancelled…), images by status and by error code."""

    job: str
    state: str
    counts: Mapping[str, int] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class WorkerState:
    """A worker does something else than `before`: starting, idle, working, draining or deaf; `reason` says why."""

    node: str
    state: str
    queue: str
    before: str = ""
    device: str = ""
    pid: int = 0
    reason: str = ""


Event = ImageDone | ShardCommitted | JobEnded | WorkerState
"""Everything that a subscriber can hear of; told apart with `isinstance` or `match`."""

LOG_LINES = {
    ImageDone: ("image_done", "debug"),
    ShardCommitted: ("shard_committed", "info"),
    JobEnded: ("job_ended", "info"),
}


class Events:
    """The hub. It calls the subscribers in the thread of the emitter, in the order of subscription."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Event], None]] = [log_event]

    def subscribe(self, function: Callable[[Event], None]) -> None:
        """Call the function with every event from now on."""
        self._subscribers.append(function)

    def emit(self, event: Event) -> None:
        """Pass the event on. What a subscriber raises is logged and harms neither the others nor the emitter."""
        for subscriber in tuple(self._subscribers):
            try:
                subscriber(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the emitter's work goes on
                log.warning("subscriber_failed", about=type(event).__name__, reason=f"{type(error).__name__}: {error}")


def log_event(event: Event) -> None:
    """Write one line an event: counts become fields of their own, and what has its default is left out."""
    name, level = _line(event)
    facts: dict[str, object] = {}
    for each in fields(event):
        value = getattr(event, each.name)
        if isinstance(value, Mapping):
            facts |= {name: number for name, number in value.items() if number}
        elif value != each.default and not (isinstance(event, WorkerState) and each.name in ("state", "before")):
            facts[each.name] = value  # what a worker does is the line's name
    getattr(log, level)(name, **facts)


def _line(event: Event) -> tuple[str, str]:
    match event:
        case WorkerState(state="idle", before="starting"):
            return "worker_ready", "info"
        case WorkerState(state=state):
            return f"worker_{state}", {"idle": "debug", "working": "debug", "deaf": "error"}.get(state, "info")
    return LOG_LINES[type(event)]
