"""How a command ends: one line and an exit code; a traceback is for our own bugs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from maskmill.errors import BrokerUnavailable, JobFailed, MaskmillError, ModelUnavailable, StoreUnavailable
from maskmill.schema import JobState, JobStatus
from producer import display

USAGE, MODEL, FAILURES, UNAVAILABLE, INTERRUPTED = 2, 3, 4, 5, 130

HELP = """
**Exit codes**: 0 completed · 2 wrong use · 3 model not to be had · 4 completed with failures ·
5 broker, store or worker not there · 130 interrupted
"""


@contextmanager
def failing_plainly(as_json: bool) -> Iterator[None]:
    """Errors as one line and an exit code; a traceback is for our own bugs."""
    try:
        yield
    except MaskmillError as error:
        display.print_error(error.code, str(error), as_json=as_json)
        raise typer.Exit(exit_code(error)) from None
    except KeyboardInterrupt:
        display.print_error("interrupted", "stopped; the same command goes on where this one was", as_json=as_json)
        raise typer.Exit(INTERRUPTED) from None


def exit_code(error: MaskmillError) -> int:
    """The code for an error that ends a command."""
    if isinstance(error, ModelUnavailable):
        return MODEL
    return UNAVAILABLE if isinstance(error, BrokerUnavailable | StoreUnavailable | JobFailed) else USAGE


def exit_by_state(status: JobStatus) -> None:
    """End with the code of a job that has failures; return for any other."""
    if status.state is JobState.COMPLETED_WITH_FAILURES:
        raise typer.Exit(FAILURES)
