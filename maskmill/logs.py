"""Log events: an event name with job, shard, image, attempt; readable lines for a person, JSON for machines."""

from __future__ import annotations

import logging
import sys

import stamina
import structlog


def _tracebacks() -> structlog.typing.Processor:
    """Without the values of variables, among which are passwords; structlog's own `dict_tracebacks` shows them."""
    made = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return structlog.processors.ExceptionRenderer(made)


def configure_logs(json: bool, level: int = logging.INFO) -> None:
    """Send structlog's events to standard error, one a line."""
    renderer = structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
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
