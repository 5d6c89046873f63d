"""Log events: an event name with job, shard, image, attempt; readable lines for a person, JSON for machines.

Others' records (Celery's, Python's warnings, what nobody caught) go the same way, so that each line is of one form.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import stamina
import structlog
from structlog.typing import EventDict

BURST, PER_SECOND = 20, 0.2
"""Warnings of one name that may come at once, as when many shards are given back, and how many a second after that:
several states may be loud together, and the log stays below a line a second."""

FOREIGN_BURST, FOREIGN_PER_SECOND = 3, 0.1
"""The same for what another library's logger says: Celery tells of each of its attempts to connect."""

FOREIGN = ("transformers", "huggingface_hub")
"""Libraries that write to standard error by handlers of their own."""


def _tracebacks() -> structlog.typing.Processor:
    """Without the values of variables, among which are passwords; structlog's own `dict_tracebacks` shows them."""
    made = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return structlog.processors.ExceptionRenderer(made)


def configure_logs(json: bool, level: int = logging.INFO) -> None:
    """Send events to standard error, one a line; those of others, too."""
    renderer = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            RateLimit(),
            structlog.processors.TimeStamper(fmt="iso"),
            _tracebacks() if json else structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # The stream of the moment: who captures or redirects it gets the events.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    # Retries are logged too. Who logs them is decided under a lock, at the first one: never while a process forks.
    stamina.instrumentation.get_on_retry_hooks()
    logging.getLogger().handlers[:] = [Adopted()]
    warnings.showwarning = _warn
    if json and sys.excepthook is sys.__excepthook__:  # who has hooks of their own keeps them
        sys.excepthook = _uncaught
    if json and threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda failed: _uncaught(failed.exc_type, failed.exc_value, failed.exc_traceback)


def warn_only_by_default() -> None:
    """In a program that has not configured structlog: warnings alone, on standard error. Its output is its own."""
    if not structlog.is_configured():
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
            logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        )


def adopt_loggers() -> None:
    """Have libraries that are loaded by now, and write by handlers of their own, log as everything else does."""
    for name in FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True


class RateLimit:
    """A processor that lets through a bounded number of equal warnings: a burst, then one now and then.

    What was left out is told by the next one: `more=120`. Progress (info) is never left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._room: dict[str, tuple[float, float, int]] = {}

    def __call__(self, _: Any, level: str, event: EventDict) -> EventDict:
        """The event as it goes on; raises `DropEvent` for one too many."""
        if level in ("debug", "info"):
            return event
        name, now = f"{event.get('event')} {event.get('logger', '')}", self._clock()
        foreign = event.get("event") == "log"
        burst, rate = (FOREIGN_BURST, FOREIGN_PER_SECOND) if foreign else (BURST, PER_SECOND)
        room, since, left_out = self._room.get(name, (burst, now, 0))
        room = min(burst, room + (now - since) * rate)
        if room < 1:
            self._room[name] = room, now, left_out + 1
            raise structlog.DropEvent
        self._room[name] = room - 1, now, 0
        return {**event, "more": left_out} if left_out else event


class Adopted(logging.Handler):
    """Others' records as events `log`, each on one line; a traceback only for what is an error."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the record on."""
        try:
            said = " ".join(record.getMessage().split())
        except Exception:  # noqa: BLE001 - a message and arguments that do not fit, of a library
            said = str(record.msg)
        facts: dict[str, Any] = {"logger": record.name, "message": said}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            facts["reason"] = " ".join(f"{type(error).__name__}: {error}".split())
        if error is not None and record.levelno >= logging.ERROR:
            facts["exc_info"] = record.exc_info
        structlog.get_logger("log").log(record.levelno, "log", **facts)


def _warn(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    structlog.get_logger().warning("python_warning", category=category.__name__, reason=" ".join(str(message).split()))


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    lines = traceback.format_exception(kind, error, trace)
    structlog.get_logger().critical("uncaught", reason=f"{kind.__name__}: {error}", traceback="".join(lines))
