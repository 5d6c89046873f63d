"""What Maskmill does with a store, asked of one: the same list for every server that can be had."""

from __future__ import annotations

import pytest

from maskmill.errors import ObjectNotFound, ObjectTooLarge
from maskmill.storage.store import Store

ODD = "masks/a_b=c&d+e;f,'!$@~ (1) é.png"


def serves(store: Store) -> None:
    """Everything but conditional puts."""
    store.put("a/0.bin", bytes(range(256)) * 100, "image/png")
    assert store.get("a/0.bin") == bytes(range(256)) * 100
    store.put("a/0.bin", b"replaced")
    found = store.download("a/0.bin", 100)
    assert found.data == b"replaced"
    assert store.download("a/0.bin", 100, found.version).version == found.version
    with pytest.raises(ObjectTooLarge):
        store.download("a/0.bin", 3)
    for index in range(1, 5):
        store.put(f"a/{index}/x", b"1")
    assert [item.key for item in store.list("a/")] == ["a/0.bin", *(f"a/{index}/x" for index in range(1, 5))]
    assert [item.size for item in store.list("a/", after="a/2/x")] == [1, 1]
    assert list(store.folders("a/")) == ["1", "2", "3", "4"]
    store.put(ODD, b"odd")
    assert store.get(ODD) == b"odd"
    assert [item.key for item in store.list("masks/")] == [ODD]
    assert store.exists("a/1/x")
    assert not store.exists("a/1")
    with pytest.raises(ObjectNotFound):
        store.get("nothing")
    store.delete("a/0.bin")
    store.delete("a/0.bin")
    assert store.delete_all(f"a/{index}/x" for index in range(1, 7)) == 6
    assert list(store.list("a/")) == []


def lets_the_first_win(store: Store) -> None:
    """Conditional puts."""
    assert store.put_if_absent("report", b"first")
    assert not store.put_if_absent("report", b"second")
    assert store.get("report") == b"first"
    version = store.download("report", 100).version
    assert not store.replace("report", b"third", "text/plain", f'"{"0" * 32}"')
    assert store.get("report") == b"first"
    assert store.replace("report", b"third", "text/plain", version)
    assert store.get("report") == b"third"
    assert not store.replace("gone", b"third", "text/plain", version)
    assert not store.exists("gone")
