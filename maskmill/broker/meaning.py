"""What the broker's answers, or its silence, mean: password, rights, TLS, role, memory or an outage.

Both clients' errors come here: redis-py's as they are, Celery's with redis-py's as their cause.
"""

from __future__ import annotations

import socket
import ssl

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from maskmill.broker.address import CLUSTER
from maskmill.errors import BrokerRefused, BrokerUnavailable, causes_of

Kind = type[BrokerUnavailable]

RIGHTS = (
    "give its user the rights +@all -@dangerous +info ~maskmill* ~_kombu* ~unacked*, and the same on the keys of "
    "MASKMILL_QUEUE if its name begins otherwise"
)

CLASSES: tuple[tuple[type[Exception], Kind, str], ...] = (
    (AuthenticationError, BrokerRefused, "the broker refuses the user or password in MASKMILL_BROKER_URL"),
    (AuthorizationError, BrokerRefused, "the broker refuses the user in MASKMILL_BROKER_URL"),
    (ReadOnlyError, BrokerUnavailable, "the broker is a read-only replica: MASKMILL_BROKER_URL must name the primary"),
    (MasterDownError, BrokerUnavailable, "the broker is a replica that has lost its primary"),
    (BusyLoadingError, BrokerUnavailable, "the broker is still loading its data from disk"),
    (OutOfMemoryError, BrokerUnavailable, "the broker's memory is full: raise its maxmemory"),
    (MovedError, BrokerRefused, CLUSTER),
    (AskError, BrokerRefused, CLUSTER),
    (ClusterDownError, BrokerRefused, CLUSTER),
    (MasterNotFoundError, BrokerUnavailable, "no sentinel knows a primary of this master_name (MASKMILL_BROKER_URL)"),
    (InvalidResponse, BrokerRefused, "what answers at MASKMILL_BROKER_URL does not speak the Redis protocol"),
)
"""What an error means, by its class; the first that fits counts."""

TEXTS: tuple[tuple[str, Kind, str], ...] = (
    ("max number of clients", BrokerUnavailable, "the broker takes no further connection: raise its maxclients"),
    ("protected mode", BrokerRefused, "the broker is in protected mode: give it a password, or an address to bind to"),
    ("out of range", BrokerRefused, "the broker has no database of this number: see the end of MASKMILL_BROKER_URL"),
    ("MISCONF", BrokerUnavailable, "the broker cannot write to its own disk, and takes nothing until it can (MISCONF)"),
    ("NOREPLICAS", BrokerUnavailable, "the broker has too few replicas now to take anything (min-replicas-to-write)"),
)
"""The same by a part of its text, where redis-py has no class for it."""

NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "wrong version number")

GENERIC_CODE = "ERR"
"""The protocol's code for what will not be done for this user or in this mode, such as a script's command without the
right to it; what passes has a code of its own (MISCONF, BUSY, NOREPLICAS…). Before 8.0 redis-py does not tell."""


def meaning(error: BaseException, where: str = "") -> BrokerUnavailable:
    """The error that says what the answer, or the silence, of the broker at `where` means."""
    chain = list(causes_of(error))
    if found := _tls(chain) or _by_class(chain) or _by_text(chain):
        return found
    answer = next((each for each in chain if isinstance(each, RedisError)), error)
    if isinstance(answer, (RedisConnectionError, RedisTimeoutError, OSError)):
        return BrokerUnavailable.unreachable(_silence(chain), where)
    if isinstance(answer, NoPermissionError):
        return BrokerRefused(f"the broker refuses what its clients need ({answer}): {RIGHTS}")
    if getattr(answer, "status_code", None) == GENERIC_CODE:
        return BrokerRefused(f"the broker refused ({answer}); if it is for want of a right, {RIGHTS}")
    if isinstance(answer, RedisError):
        return BrokerUnavailable(f"the broker refused: {answer}")
    return BrokerUnavailable.unreachable(type(error).__name__, where)


def _by_class(chain: list[BaseException]) -> BrokerUnavailable | None:
    for error in chain:
        for kind, ours, reason in CLASSES:
            if isinstance(error, kind):
                return ours(reason)
    return None


def _by_text(chain: list[BaseException]) -> BrokerUnavailable | None:
    for error in chain:
        for part, ours, reason in TEXTS:
            if isinstance(error, RedisError) and part in str(error):
                return ours(reason)
    return None


def _tls(chain: list[BaseException]) -> BrokerUnavailable | None:
    for error in chain:
        if isinstance(error, ssl.SSLCertVerificationError):
            return BrokerRefused(
                f"the broker's TLS certificate is not trusted ({error.verify_message}): name its CA by "
                "MASKMILL_BROKER_CA"
            )
        if isinstance(error, ssl.SSLError) and any(sign in str(error) for sign in NO_TLS):
            return BrokerRefused("the broker does not speak TLS: write redis:// in MASKMILL_BROKER_URL, or turn TLS on")
        if isinstance(error, ssl.SSLError) and "alert" in str(error).lower():
            return BrokerRefused(
                f"the broker refuses this side's TLS ({error.reason}): it may want a certificate of ours, "
                "MASKMILL_BROKER_CERT and MASKMILL_BROKER_KEY"
            )
    return None


def _silence(chain: list[BaseException]) -> str:
    """Why nobody answers, in a few words; an error's own text may hold the URL, and that a password."""
    for error in reversed(chain):
        match error:
            case socket.gaierror():
                return "its host name cannot be resolved"
            case ConnectionRefusedError():
                return "nothing listens there"
            case FileNotFoundError():
                return "there is no such socket"
            case PermissionError():
                return "this user may not open its socket"
            case TimeoutError() if "handshake" in str(error):
                return "it does not answer to TLS; does it want redis://?"
            case TimeoutError() | RedisTimeoutError():
                return "it does not answer in time"
            case ConnectionResetError():
                return "it ends the connection; does it want TLS, rediss://?"
    if any("EOF occurred" in str(error) for error in chain):
        return "it ends the TLS connection; it may want MASKMILL_BROKER_CERT and MASKMILL_BROKER_KEY"
    closed = any("closed by server" in str(error) for error in chain)
    return "it ends the connection; does it want TLS, rediss://?" if closed else type(chain[0]).__name__
