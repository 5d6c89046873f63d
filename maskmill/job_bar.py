"""A bar for who waits for a job in Python: on a terminal, and in a notebook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import Any, Protocol

from maskmill.addresses import on_one_line
from maskmill.pace import Pace
from maskmill.schema import JobStatus
from maskmill.words import counted, duration, rate

UPDATE_SECONDS = 0.2
"""How often a notebook's bar is drawn again at most: each time is a message to the browser."""


class JobBar(Protocol):
    """What is shown while one waits: a `step` before there are images, then where the job stands."""

    def step(self, text: str) -> None:
        """What happens now."""

    def show(self, status: JobStatus) -> None:
        """Where the job stands."""


@contextmanager
def job_bar(title: str, wanted: bool | None) -> Iterator[JobBar]:
    """A bar if it is `wanted`; None: on a terminal (standard error) and in a notebook."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if not (console.is_terminal or console.is_jupyter if wanted is None else wanted):
        yield NoBar()
    elif console.is_jupyter:
        from IPython.display import display

        bar = NotebookBar(title, display)
        try:
            yield bar
        finally:
            bar.draw()
    else:
        with _on_terminal(title, console) as terminal_bar:
            yield terminal_bar


class NoBar:
    """Shows nothing."""

    def step(self, text: str) -> None:
        """Nothing."""

    def show(self, status: JobStatus) -> None:
        """Nothing."""


class NotebookBar:
    """One output of a cell, drawn again in its place: HTML for a browser, text for what shows no HTML.

    Rich needs ipywidgets there, of which a saved notebook keeps nothing.
    """

    def __init__(self, title: str, publish: Callable[..., Any]) -> None:
        self._title, self._text, self._done, self._total = title, "", 0, 0
        self._pace, self._drawn = Pace(), time.monotonic()
        self._output = publish(self, display_id=True)

    def step(self, text: str) -> None:
        """Beside an empty bar."""
        self._text = text
        self.draw()

    def show(self, status: JobStatus) -> None:
        """A few times a second."""
        self._done, self._total = status.done.total, status.submitted
        self._pace.see(time.monotonic(), self._done)
        self._text = in_words(status, self._pace)
        if status.finished or time.monotonic() > self._drawn + UPDATE_SECONDS:
            self.draw()

    def draw(self) -> None:
        """Draw it again."""
        self._drawn = time.monotonic()
        self._output.update(self)

    def _repr_html_(self) -> str:
        ends = f'value="{self._done}" max="{self._total}"' if self._total else ""
        return f"<div>{escape(self._title)} <progress {ends}></progress> {escape(self._text)}</div>"

    def __repr__(self) -> str:
        return f"{self._title}: {self._text}"


def in_words(status: JobStatus, pace: Pace) -> str:
    """`7 of 18 images, 2 failed, 3.5 images/s, 3.1 s left`."""
    done, failed = status.done.total, status.done.failed
    left = pace.seconds_left(status.submitted - done)
    words = [f"{done:,} of {counted(status.submitted, 'image')}"]
    words += [f"{failed:,} failed"] if failed else []
    words += [rate(pace.rate)] if pace.rate else []
    words += [f"{duration(left)} left"] if left else []
    held_up = f"held up: {on_one_line(status.trouble)}" if status.trouble and not status.finished else ""
    waits = f"waiting: {on_one_line(status.waiting.reason)}" if status.waiting else ""
    return "; ".join(filter(None, [", ".join(words), waits or held_up]))


@contextmanager
def _on_terminal(title: str, console: Any) -> Iterator[JobBar]:
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    from rich.table import Column

    text = TextColumn("{task.fields[text]}", markup=False, table_column=Column(ratio=2, overflow="fold"))
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=20), text)
    with Progress(*columns, console=console) as progress:
        task, pace = progress.add_task(title, total=None, text=""), Pace()

        class TerminalBar:
            def step(self, text: str) -> None:
                progress.update(task, text=text)

            def show(self, status: JobStatus) -> None:
                done = status.done.total
                pace.see(time.monotonic(), done)
                progress.update(task, total=status.submitted, completed=done, text=in_words(status, pace))

        yield TerminalBar()
