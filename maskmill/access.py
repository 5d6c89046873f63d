"""What a worker reads for a submitter, and what not: hosts, folders, buckets and models, by its own settings."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from maskmill.errors import ImageRefused

ALL = "all"
"""Instead of names: no bounds."""

TRUST = "or MASKMILL_TRUST_SUBMITTERS=true where all who submit may have all read"
ROOTS_CURE, BUCKETS_CURE = f"MASKMILL_ALLOWED_ROOTS, {TRUST}", f"MASKMILL_ALLOWED_BUCKETS, {TRUST}"

MAIN = (None, "main")
"""How a model's default branch is called."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that end with the IPv4 address they lead to (RFC 6052)."""

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""What IANA gives out; outside of it lie old and local ways to wrap an IPv4 address (`::10.0.0.1`, `64:ff9b:1::…`)."""

OF_THE_INSIDE = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "168.63.129.16/32")))
"""Public by `ipaddress`, and where clouds have their metadata services: Oracle's and Azure's."""


@dataclass(frozen=True)
class Access:
    """Bounds on references; None stands for no bounds, and a worker's come from `Settings.access`.

    `hosts` are host names and networks (CIDR) that may be fetched from although their addresses are not public, or
    'all'. Local paths must lie below one of `roots`, symbolic links resolved; `s3://` sources in one of `buckets`.
    """

    hosts: tuple[str, ...] = (ALL,)
    roots: tuple[str, ...] | None = None
    buckets: tuple[str, ...] | None = None

    def path(self, path: str) -> Path:
        """The file to open for a local path; raises `ImageRefused`."""
        if self.roots is None:
            return Path(path)
        try:
            real = Path(path).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a null byte
            raise ImageRefused(f"{path[:200]!r}: cannot be resolved") from error
        if not any(real.is_relative_to(root) for root in self._real_roots):
            raise ImageRefused(f"{path[:200]}: outside of the folders this worker may read ({ROOTS_CURE})")
        return real

    @cached_property
    def _real_roots(self) -> list[Path]:
        return [Path(root).resolve() for root in self.roots or ()]

    def check_bucket(self, bucket: str) -> None:
        """Raises `ImageRefused` for a bucket that sources may not be in."""
        if self.buckets is not None and bucket not in self.buckets:
            raise ImageRefused(f"s3://{bucket}: not a bucket this worker reads from ({BUCKETS_CURE})")

    def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be connected to, in the resolver's order.

        To connect to one of these, not to the name, is what makes the check hold: a second look-up may answer
        otherwise (DNS rebinding). Raises `ImageRefused` when none is left, and `OSError` from the resolver.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        allowed = [address for address in addresses if self._may_connect(host, address)]
        if not allowed:
            raise _not_public(host)
        return allowed

    def check_name(self, host: str) -> None:
        """Raises `ImageRefused` for a host that is written as an address which is not public.

        A proxy looks other names up by itself.
        """
        name = unquote(host).strip("[]").rstrip(".").lower()
        address = "127.0.0.1" if name == "localhost" or name.endswith(".localhost") else _written_address(name)
        if address and not self._may_connect(host, address):
            raise _not_public(host)

    def _may_connect(self, host: str, address: str) -> bool:
        return is_public(address) or any(_names(entry, host, address) for entry in self.hosts)


def is_public(address: str) -> bool:
    """Whether an address is a global unicast one (IANA's special-purpose registries, as `ipaddress` has them).

    Of an IPv6 address that wraps an IPv4 one (mapped, 6to4, Teredo, NAT64), the inner one counts.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        teredo = ip.teredo[1] if ip.teredo else None
        nat64 = ipaddress.IPv4Address(ip.packed[-4:]) if ip in NAT64 else None
        inner = ip.ipv4_mapped or ip.sixtofour or teredo or nat64
        if inner is not None:
            return is_public(str(inner))
        if ip not in GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in OF_THE_INSIDE)


def model_allowed(model: str, patterns: Sequence[str]) -> bool:
    """Whether a model's name matches one of the patterns ('*' stands for anything); a path counts as where it leads."""
    name = os.path.realpath(model) if _is_path(model) else model
    return any(pattern == ALL or fnmatchcase(name, pattern) for pattern in patterns)


def code_trusted(model: str, revision: str | None, patterns: Sequence[str]) -> bool:
    """Whether a model's or processor's own code may be run.

    `owner/name` trusts the default branch alone, `owner/name@REVISION` that one: anybody may open a pull request,
    whose code is a revision too. A folder has no revisions.

    >>> code_trusted("me/cut-out", "refs/pr/7", ["me/cut-out", "me/cut-out@v1"])
    False
    """
    if _is_path(model):
        return model_allowed(model, patterns)
    named = (pattern.partition("@") for pattern in patterns)
    return any(
        model_allowed(model, [name]) and (fnmatchcase(revision or "main", wanted) if wanted else revision in MAIN)
        for name, _, wanted in named
    )


def _is_path(model: str) -> bool:
    return model.startswith(("/", ".", "~")) or ".." in Path(model).parts


def _not_public(host: str) -> ImageRefused:
    return ImageRefused(f"{host}: not a public address (MASKMILL_ALLOW_PRIVATE_HOSTS)")


def _names(entry: str, host: str, address: str) -> bool:
    if entry == ALL or entry.lower() == host.lower():
        return True
    try:
        return ipaddress.ip_address(address.partition("%")[0]) in ipaddress.ip_network(entry, strict=False)
    except ValueError:  # a name
        return False


def _written_address(name: str) -> str | None:
    """The address that a name is, in any notation (`127.1`, `0x7f.1`, `2130706433`); None for one to look up."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return str(found[0][4][0])
