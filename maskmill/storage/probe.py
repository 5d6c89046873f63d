"""Whether a store will do: what jobs need of it is tried on an object of our own, before anything depends on it."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from maskmill.checks import Check, first_fatal, require
from maskmill.errors import MaskmillError, ObjectNotFound, StoreRefused, StoreUnavailable
from maskmill.storage import keys
from maskmill.storage.store import CONDITIONS, Store

FIRST, SECOND, THIRD = b"the first", b"the second, which must not count", b"the third, in its place"
NOT_ITS_TAG = f'"{"0" * 32}"'
TEXT = "text/plain"

IGNORED = CONDITIONS.replace("refuses", "takes and ignores")


def check_store(store: Store) -> list[Check]:
    """What was tried of the store below its prefix, and what is wrong for good.

    Raises `StoreUnavailable` when it cannot be asked. Leaves an object `probes/…` only where it may not delete.

    Example: check_store(store)[2] is Check("store: conditional put", "the store takes and ignores …") for one that
    overwrites whatever `If-None-Match: *` says.
    """
    key = keys.probe(secrets.token_hex(8))  # of its own: one that is left behind, or another's, would prove nothing
    basics = [_try("store: put", lambda: store.put(key, FIRST, TEXT))]
    if basics[0].ok:
        basics.append(_try("store: get", lambda: _gives_back(store, key)))
    if first_fatal(basics):
        return basics
    conditions = [
        _try("store: conditional put", lambda: _keeps_the_first(store, key)),
        _try("store: conditional replacement", lambda: _replaces_what_is_known(store, key)),
    ]
    return [
        *basics,
        *(conditions if store.conditional else ()),
        _try("store: list", lambda: _lists(store, key)),
        _try("store: delete", lambda: _deletes(store, key), fatal=False),
    ]


def require_store(store: Store) -> list[Check]:
    """The checks; raises `StoreRefused` for what nothing works without, and `StoreUnavailable`."""
    return require(check_store(store), StoreRefused)


def _try(name: str, step: Callable[[], str | None], *, fatal: bool = True) -> Check:
    try:
        return Check(name, step() or "", fatal)
    except StoreUnavailable:
        raise
    except MaskmillError as error:
        return Check(name, str(error), fatal)


def _keeps_the_first(store: Store, key: str) -> str:
    won = store.put_if_absent(key, SECOND, TEXT)
    return f"{store.url}: {IGNORED}" if won or store.get(key) == SECOND else ""


def _replaces_what_is_known(store: Store, key: str) -> str:
    won = store.replace(key, SECOND, TEXT, NOT_ITS_TAG)
    if won or store.get(key) == SECOND:
        return f"{store.url}: {IGNORED}"
    # Its answer may be lost, and the next one then says that another was faster: what is there counts.
    store.replace(key, THIRD, TEXT, store.download(key, len(FIRST)).version)
    if store.get(key) == THIRD:
        return ""
    return f"{store.url}: an object cannot be replaced by its ETag: {CONDITIONS}"


def _gives_back(store: Store, key: str) -> str:
    if store.get(key) == FIRST:
        return ""
    return (
        f"{store.url}: other bytes come back than were put: what answers there is no S3 store, or something on the way "
        "changes them (AWS_ENDPOINT_URL_S3)"
    )


def _lists(store: Store, key: str) -> str:
    if any(item.key == key for item in store.list(key)):
        return ""
    return f"{store.url}: an object that was just put is missing in the listing, on which `maskmill resume` relies"


def _deletes(store: Store, key: str) -> str:
    store.delete(key)
    try:
        store.get(key)
    except ObjectNotFound:
        return ""
    return f"{store.url}: an object that was deleted is still there; `maskmill delete` and `prune` free no room"
