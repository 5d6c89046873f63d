"""How far a job is, while somebody waits for it: a live bar in a terminal, a line now and then anywhere else.

⠋ segmenting ━━━━━━━━━━━━━━╺━━━━━━━━━ 48/180 4.4 images/s 30 s left     a terminal
  2 failed
48 of 180 images (27%), 4.4 images/s, 30 s left, 2 failed               each half minute, in a pipe
180 images in 41 s, 4.4 images/s                                        at the end of both
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column
from rich.text import Text

from maskmill.jobs.waiting import of_own_worker
from maskmill.pace import Pace
from maskmill.schema import JobStatus, WaitingFor
from maskmill.terminal import shown
from maskmill.words import counted, duration, rate
from maskmill_producer.cli import display

LINE_SECONDS = 30.0
REASON_SECONDS = 2.0
"""Why nothing happens is worth a line once it holds for so long."""

WIDE_COLUMNS = 80


class View(Protocol):
    """What shows a status."""

    def show(self, status: JobStatus, pace: Pace) -> None:
        """Show it."""

    def count(self, done: int, images: int, pace: Pace) -> None:
        """Show that so many are done."""


@contextmanager
def job_bar(title: str, *, own_worker: bool = False) -> Iterator[Callable[[JobStatus], None]]:
    """Show how far a job is; call what it yields with each new status.

    `own_worker`: the command starts its worker itself.
    """
    with _view(title) as view:
        followed = Followed(view, own_worker=own_worker)
        yield followed.show


@contextmanager
def counting_bar(title: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show how many images are done of how many, for work that is no job; call what it yields with both numbers."""
    if quiet:
        yield lambda _done, _all: None
        return
    pace, started = Pace(), time.monotonic()
    numbers = (0, 0)
    with _view(title) as view:

        def show(done: int, images: int) -> None:
            nonlocal numbers
            numbers = done, images
            pace.see(time.monotonic(), done)
            view.count(done, images, pace)

        yield show
    seconds = time.monotonic() - started
    if numbers[0]:
        display.remark(f"{counted(numbers[0], 'image')} in {duration(seconds)}, {rate(numbers[0] / seconds)}")


@contextmanager
def _view(title: str) -> Iterator[View]:
    if not display.errors.is_interactive:
        yield Lines()
        return
    with Bar(title) as bar:
        yield bar


class Followed:
    """A job from the first look to the last: its pace, what is said once, and what is said at the end."""

    def __init__(self, view: View, *, own_worker: bool) -> None:
        self._view, self._own_worker = view, own_worker
        self._pace = Pace()
        self._started = time.monotonic()
        self._ended = False
        self._first: JobStatus | None = None
        self._trouble: str | None = None

    def show(self, status: JobStatus) -> None:
        """The job as it is now."""
        status = of_own_worker(status) if self._own_worker else status
        if status.trouble and status.trouble != self._trouble:
            self._trouble = status.trouble
            display.remark(display.held_up(status))
        self._first = self._first or status
        self._pace.see(time.monotonic(), status.done.total)
        self._view.show(status, self._pace)
        if status.finished and not self._ended:
            self._ended = True
            self._say_end(self._first, status, time.monotonic() - self._started)

    @staticmethod
    def _say_end(first: JobStatus, last: JobStatus, seconds: float) -> None:
        """How many images were finished meanwhile, in what time."""
        before, images = first.done.total, last.submitted
        done = last.done.total - last.done.cancelled - before
        if first.finished or done <= 0:
            return
        number = counted(done, "image") if done == images else f"{done:,} of {counted(images, 'image')}"
        display.remark(f"{number} in {duration(seconds)}, {rate(done / seconds)}")


class Bar(Progress):
    """A live bar, and below it in full what there is to say about the job now."""

    def __init__(self, title: str) -> None:
        self._note = Text()
        wide = display.errors.width >= WIDE_COLUMNS
        unbroken = [
            TextColumn(f"{{task.fields[{name}]}}", markup=False, table_column=Column(no_wrap=True)) for name in FIELDS
        ]
        names = [TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))] if wide else []
        spinner = SpinnerColumn("dots" if display.errors.encoding.startswith("utf") else "line")
        super().__init__(spinner, *names, BarColumn(bar_width=None), *unbroken, console=display.errors, transient=True)
        self._task = self.add_task(shown(title), total=None, number="", rate="", left="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar's line, and the note's."""
        yield self.make_tasks_table(self.tasks)
        if self._note:
            yield Padding(self._note, (0, 0, 0, 2))

    def show(self, status: JobStatus, pace: Pace) -> None:
        """Show it."""
        self._note = note(status)
        self.count(status.done.total, status.submitted, pace)

    def count(self, done: int, images: int, pace: Pace) -> None:
        """So many are done."""
        left = pace.seconds_left(images - done)
        self.update(
            self._task,
            total=images,
            completed=done,
            refresh=True,
            number=f"{done:,}/{images:,}",
            rate=rate(pace.rate) if pace.rate else "",
            left=f"{duration(left)} left" if left and done < images else "",
        )


FIELDS = ("number", "rate", "left")


class Lines:
    """A line each half minute, and one for what keeps the job from going on."""

    def __init__(self) -> None:
        self._next = time.monotonic() + LINE_SECONDS
        self._reason: WaitingFor | None = None
        self._reason_since = 0.0
        self._said: WaitingFor | None = None

    def show(self, status: JobStatus, pace: Pace) -> None:
        """Print a line if it is time for one."""
        self._say_reason(status, time.monotonic())
        self.count(status.done.total, status.submitted, pace, note(status).plain)

    def count(self, done: int, images: int, pace: Pace, more: str = "") -> None:
        """Print how many are done if it is time for a line."""
        now = time.monotonic()
        if now < self._next or done >= images:
            return
        self._next = now + LINE_SECONDS
        left = pace.seconds_left(images - done)
        parts = [
            f"{done:,} of {counted(images, 'image')} ({done / images:.0%})",
            rate(pace.rate) if pace.rate else "",
            f"{duration(left)} left" if left else "",
            more,
        ]
        display.remark(", ".join(filter(None, parts)))

    def _say_reason(self, status: JobStatus, now: float) -> None:
        code = status.waiting.code if status.waiting else None
        if code != self._reason:
            self._reason, self._reason_since = code, now
        if status.waiting and code != self._said and now - self._reason_since >= REASON_SECONDS:
            self._said = code
            if not (code is WaitingFor.PAUSE and status.trouble):  # that was said already
                display.remark(f"waiting: {status.waiting.reason}")


def note(status: JobStatus) -> Text:
    """Why nothing happens, or else what failed so far."""
    if status.waiting:
        return Text(shown(status.waiting.reason), "yellow")
    if not status.done.failed:
        return Text()
    booked = sum(status.failures.values())
    codes = ", ".join(f"{number:,} {shown(code)}" for code, number in status.failures.items())
    return Text(f"{status.done.failed:,} failed" + (f" ({codes})" if booked == status.done.failed else ""), "yellow")
