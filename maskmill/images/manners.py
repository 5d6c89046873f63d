"""How image hosts are asked: at which pace, with which headers, through which proxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from typing import Self

import httpx

from maskmill.images.connections import Proxies
from maskmill.images.pace import Pace
from maskmill.settings import Settings

TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
USUAL_PAUSE_SECONDS = 1.0
"""For a host that does not say how long it wants to be left alone."""


@dataclass(frozen=True)
class Manners:
    """What a fetcher keeps to; `pace` is shared by all fetchers of a worker.

    `headers` are sent to the hosts that they are named for: `{"images.example": {"Authorization": "Bearer …"}}`.
    """

    pace: Pace = field(default_factory=Pace)
    proxies: Proxies = field(default_factory=Proxies)
    headers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings, pace: Pace | None = None) -> Self:
        """As the settings say."""
        headers = {
            host: {name: value.get_secret_value() for name, value in given.items()}
            for host, given in settings.host_headers.items()
        }
        proxy = settings.fetch_proxy.get_secret_value() if settings.fetch_proxy else None
        return cls(pace or Pace(settings.host_requests_per_second), Proxies(proxy), headers)

    def headers_for(self, url: httpx.URL) -> dict[str, str]:
        """The headers of a request: ours, and those that the settings have for its host.

        A host's name stands for https alone, so that no password goes over the net in the clear: write `http://HOST`
        where it may. `*.example` names all hosts below.
        """
        headers = {
            "User-Agent": f"maskmill/{_version()}",
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
        }
        for pattern, given in self.headers.items():
            scheme, _, host = pattern.rpartition("://")
            if (scheme or "https") == url.scheme and fnmatchcase(url.host, host.lower()):
                headers |= {name.title(): value for name, value in given.items()}
        return headers


def asked_pause(response: httpx.Response) -> float | None:
    """The seconds that the host wants to be left alone; None unless it says that this was too much.

    `Retry-After` is seconds, or a date, which is compared with the answer's own (RFC 9110, 10.2.3).
    """
    text = response.headers.get("retry-after", "").strip()
    if response.status_code != TOO_MANY_REQUESTS and not (response.status_code == UNAVAILABLE and text):
        return None
    if text.isdecimal():
        return float(text[:9])
    until, now = _date(text), _date(response.headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds()) if until else USUAL_PAUSE_SECONDS


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _version() -> str:
    try:
        return version("maskmill")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
