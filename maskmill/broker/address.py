"""The broker's address, taken apart once for both of its clients: redis-py (the ledger) and Celery (the queue).

| address | server |
| --- | --- |
| `redis://USER:PASSWORD@HOST:PORT/DATABASE` | one server |
| `rediss://…` | one server through TLS; its certificate is checked |
| `unix:///run/valkey.sock?db=0`, or Celery's `redis+socket://…` | one server through a socket of this machine |
| `sentinel://HOST:26379/DATABASE;sentinel://HOST2:26379?master_name=NAME` | the primary that the sentinels name |

An option behind `?` is understood by both clients or refused: each of them alone ignores what it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

FORMS = "redis://HOST:PORT/DATABASE, rediss://… (TLS), unix:///PATH?db=0 or sentinel://HOST:26379/0?master_name=NAME"
CLUSTER = "the broker is a Redis Cluster, over which a job's keys would be spread: use a single primary with replicas"

PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379}
ALIASES = {"redis+socket": "unix", "redis+unix": "unix"}


def _verification(text: str) -> str:
    mode = text.lower().removeprefix("cert_")
    if mode not in ("required", "optional", "none"):
        raise ValueError("required, optional or none")
    return mode


def _yes(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError("true or false")
    return text.lower() in ("true", "1", "yes")


ANSWERS: Mapping[str, Callable[[str], Any]] = {"socket_timeout": float, "health_check_interval": int}
TIMES: Mapping[str, Callable[[str], Any]] = {**ANSWERS, "socket_connect_timeout": float}
TLS: Mapping[str, Callable[[str], Any]] = {
    "ssl_cert_reqs": _verification,
    "ssl_ca_certs": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_check_hostname": _yes,
}
SENTINEL: Mapping[str, Callable[[str], Any]] = {
    "master_name": str,
    "sentinel_username": str,
    "sentinel_password": str,
}
DATABASE: Mapping[str, Callable[[str], Any]] = {"db": int, "virtual_host": int}

OPTIONS: Mapping[str, Mapping[str, Callable[[str], Any]]] = {
    "redis": {**DATABASE, **TIMES},
    "rediss": {**DATABASE, **TIMES, **TLS},
    "unix": {**DATABASE, **ANSWERS},
    "sentinel": {**DATABASE, **TIMES, **SENTINEL},
}
"""What may stand behind the `?`, by scheme."""

PATIENCE: Mapping[str, Any] = {
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
}
"""A silent server is given up instead of waited for (facts: black-holed brokers)."""


@dataclass(frozen=True)
class BrokerAddress:
    """One broker. `hosts` are its sentinels' when it is found through some; `path` is a socket's.

    >>> address = BrokerAddress.parse("redis://:secret@broker.lan/3")
    >>> (address.hosts, address.database)
    ((('broker.lan', 6379),), 3)
    """

    scheme: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """Take an address apart; raises `ValueError` with what to write instead, and without the password."""
        parts = [_split(each) for each in url.split(";")]
        first = parts[0]
        scheme = ALIASES.get(first.scheme, first.scheme)
        if "cluster" in scheme:
            raise ValueError(CLUSTER)
        if scheme not in OPTIONS or any(each.scheme != first.scheme for each in parts):
            raise ValueError(f"write {FORMS}")
        if len(parts) > 1 and scheme != "sentinel":
            raise ValueError("one broker has one address; servers that replace each other are found by sentinel://…")
        options = _options(scheme, [pair for each in parts for pair in parse_qsl(each.query)])
        numbers = [options.pop(name) for name in DATABASE if name in options]
        path = unquote(first.path) if scheme == "unix" else ""
        address = cls(
            scheme=scheme,
            hosts=() if scheme == "unix" else tuple(_host(each, PORTS[scheme]) for each in parts),
            path=path,
            database=numbers[0] if numbers else 0 if scheme == "unix" else _database(parts),
            username=unquote(first.username) if first.username else None,
            password=unquote(first.password) if first.password else None,
            options=options,
        )
        _check(address)
        return address

    @property
    def times(self) -> dict[str, Any]:
        """How long is waited for an answer; the same for both clients."""
        return {**PATIENCE, **{name: self.options[name] for name in TIMES if name in self.options}}

    @property
    def tls(self) -> dict[str, Any]:
        """The options of TLS; empty without it. Certificates are checked unless the address says otherwise."""
        if self.scheme != "rediss":
            return {}
        return {"ssl_cert_reqs": "required", **{name: self.options[name] for name in TLS if name in self.options}}

    @property
    def master_name(self) -> str:
        """What the sentinels call the primary."""
        return str(self.options.get("master_name", ""))

    @property
    def sentinel_login(self) -> dict[str, Any]:
        """What the sentinels themselves are asked with: their own user and password, and the same patience."""
        names = {"username": "sentinel_username", "password": "sentinel_password"}
        return self.times | {key: self.options[name] for key, name in names.items() if name in self.options}

    def celery_url(self) -> str:
        """The address in the words of Celery, without options: those come by its settings."""
        login = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@" if self.password else ""
        if self.scheme == "unix":
            return f"redis+socket://{login}{quote(self.path)}?virtual_host={self.database}"
        return ";".join(
            f"{self.scheme}://{login}{_bracketed(host)}:{port}/{self.database}" for host, port in self.hosts
        )

    def celery_transport(self) -> dict[str, Any]:
        """Celery's transport options for this address."""
        if self.scheme != "sentinel":
            return self.times
        return {**self.times, "master_name": self.master_name, "sentinel_kwargs": self.sentinel_login}


def _check(address: BrokerAddress) -> None:
    if address.scheme == "unix" and not address.path:
        raise ValueError("a socket needs its path: unix:///run/valkey.sock")
    if address.scheme == "sentinel" and not address.master_name:
        raise ValueError("say what the sentinels call the primary: sentinel://HOST:26379/0?master_name=NAME")
    if address.username and not address.password:
        raise ValueError("there is a user and no password: write redis://USER:PASSWORD@HOST, or :PASSWORD@HOST")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("the port is no number, or a password has a / ? # or @ that must be written %2F…") from None
    return parts


def _host(parts: SplitResult, port: int) -> tuple[str, int]:
    return unquote(parts.hostname or "localhost"), parts.port or port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _database(parts: list[SplitResult]) -> int:
    path = next((each.path.strip("/") for each in parts if each.path.strip("/")), "0")
    if not path.isdecimal():
        raise ValueError("what follows the host is the number of a database: redis://HOST:PORT/0")
    return int(path)


def _options(scheme: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    known, options = OPTIONS[scheme], dict[str, Any]()
    for name, text in pairs:
        if name not in known:
            raise ValueError(f"the option '{name}' is not known for {scheme}://; known are {', '.join(sorted(known))}")
        try:
            options[name] = known[name](text)
        except ValueError as error:
            raise ValueError(f"the option '{name}' of the address cannot be read ({error})") from None
    return options
