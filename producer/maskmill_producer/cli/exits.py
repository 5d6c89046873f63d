"""How a command ends: one line and an exit code; a traceback is for our own bugs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from maskmill import exit_codes
from maskmill.errors import (
    BrokerUnavailable,
    JobFailed,
    MaskmillError,
    ModelChanged,
    ModelRefused,
    ModelUnavailable,
    ModelUnusable,
    StoreUnavailable,
)
from maskmill_producer.cli import display

if TYPE_CHECKING:
    from maskmill.schema import JobStatus

HELP = """
**Exit codes**: 0 completed · 2 wrong use · 3 model not to be had · 4 completed with failures, or cancelled ·
5 broker, store or worker not there · 130 interrupted
"""


@contextmanager
def failing_plainly(as_json: bool, on_interrupt: str = "stopped") -> Iterator[None]:
    """A command's block: its errors are one line and an exit code, and warnings alone are logged."""
    _configure_logs(as_json)
    try:
        yield
    except MaskmillError as error:
        display.print_error(error.code, str(error), as_json=as_json)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt:
        display.print_error("interrupted", on_interrupt, as_json=as_json)
        raise typer.Exit(exit_codes.INTERRUPTED) from None


def _configure_logs(as_json: bool) -> None:
    import logging

    import stamina

    from maskmill.logs import configure_logs

    configure_logs(json=as_json, level=logging.WARNING)
    stamina.instrumentation.set_on_retry_hooks(())  # whoever waits gets one line at the end


def exit_code(error: MaskmillError) -> int:
    """The code for an error that ends a command."""
    from maskmill_producer.embedded.errors import EmbeddedServersFailed  # here: its package loads the servers

    if isinstance(error, ModelUnavailable):
        return exit_codes.MODEL
    if isinstance(error, BrokerUnavailable | StoreUnavailable | JobFailed | EmbeddedServersFailed):
        return exit_codes.UNAVAILABLE
    return exit_codes.USAGE


def exit_by_state(status: JobStatus) -> None:
    """End with the code of a job that has failures or was stopped; return for any other."""
    from maskmill.schema import JobState

    of_the_model = {each.code for each in (ModelUnavailable, ModelChanged, ModelUnusable, ModelRefused)}
    if set(status.failures) <= of_the_model and 0 < status.counts.failed == status.submitted:
        raise typer.Exit(exit_codes.MODEL)
    if status.state in (JobState.COMPLETED_WITH_FAILURES, JobState.CANCELLED):
        raise typer.Exit(exit_codes.FAILURES)
