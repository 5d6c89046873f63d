"""Waiting for a job: looks at it again and again, and reconciles it meanwhile."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from maskmill.errors import BrokerUnavailable, StoreUnavailable
from maskmill.jobs.account import close_job
from maskmill.jobs.reconcile import reconcile, reconcile_job
from maskmill.jobs.waiting import away
from maskmill.schema import Counts, JobStatus, Manifest, Waiting
from maskmill.services import Services

RECONCILE_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
"""How long a server may be away before a waiting client gives up."""


@dataclass
class Watch:
    """Looks at one job until it is `closed`, for at most `timeout` seconds.

        while not watch.closed:
            status = watch.look()
            time.sleep(watch.pause())

    `status` and `manifest` ask where the job stands, and for its closing account. `reach` raises `StoreUnavailable`
    while the store is away: it is asked while nothing moves. `away` says which server cannot be reached now, and why.
    """

    job: str
    services: Services
    status: Callable[[], JobStatus]
    manifest: Callable[[], Manifest | None]
    reach: Callable[[], None]
    timeout: float | None = None
    closed: Manifest | None = None
    away: Waiting | None = None
    _name: str = field(default_factory=lambda: f"watcher:{secrets.token_hex(4)}")
    _started: float = field(default_factory=time.monotonic)
    _answered: float = field(default_factory=time.monotonic)
    _reconcile_at: float = 0.0
    _last: JobStatus | None = None
    _done: Counts | None = None
    _first: tuple[float, int] | None = None
    """When images were seen done for the first time, and how many."""

    def look(self) -> JobStatus | None:
        """Where the job stands, or stood before a server went away; None if that was never known.

        Raises what a server says once it has been away for `PATIENCE_SECONDS`.
        """
        try:
            self._ask()
        except (BrokerUnavailable, StoreUnavailable) as error:
            if not error.retryable or time.monotonic() > self._answered + PATIENCE_SECONDS:
                raise
            self.away, self._reconcile_at = away(error), 0.0
        else:
            self._answered = time.monotonic()
        return self._last.model_copy(update={"waiting": self.away}) if self._last and self.away else self._last

    def _ask(self) -> None:
        status = self._last = self.status()
        if status.done.total and not self._first:
            self._first = time.monotonic(), status.done.total
        if status.finished:
            self.closed, self.away = self.manifest() or close_job(self.services, self.job), None
        elif time.monotonic() >= self._reconcile_at:
            if status.done == self._done:
                self.reach()
            self._done, self.away = status.done, None
            reconcile_job(self.services, self.job)
            reconcile(self.services, self._name)
            self._reconcile_at = time.monotonic() + RECONCILE_SECONDS

    def pause(self) -> float:
        """Seconds until the next look; raises `TimeoutError` once the time is over."""
        waited = 0.0 if self.closed else time.monotonic() - self._started
        if self.timeout is not None and waited > self.timeout:
            raise TimeoutError(f"job {self.job} still runs after {self.timeout} s")
        return until_next_look(waited, self._left())

    def _left(self) -> float:
        """Seconds to the end if the job goes on as fast as since the first images; 0 while that is not known."""
        if not (self._last and self._first):
            return 0.0
        (since, first), done = self._first, self._last.done.total
        return (time.monotonic() - since) * (self._last.submitted - done) / (done - first) if done > first else 0.0


def until_next_look(waited: float, left: float) -> float:
    """A hundredth of the seconds that were waited already, within bounds: no wait is much longer than its job.

    Long before the end a twentieth of what is left: a look takes a millisecond of a core that the worker may want.
    """
    return min(0.5, max(0.02, waited / 100, left / 20))
