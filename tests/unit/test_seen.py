"""Duplicates are told exactly, in little memory."""

from __future__ import annotations

import errno
import random
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from maskmill.errors import SourceError
from maskmill.jobs import seen as seen_module
from maskmill.jobs.seen import Seen


@pytest.mark.parametrize("written_at", [seen_module.FLUSHED_BYTES, 160, 16])
def test_what_was_seen_is_told_exactly(monkeypatch: pytest.MonkeyPatch, written_at: int) -> None:
    monkeypatch.setattr(seen_module, "FLUSHED_BYTES", written_at)
    monkeypatch.setattr(seen_module, "FIRST_SLOTS", 8)
    numbers = random.Random(5)
    stream = [f"/{numbers.randrange(2_000)}.jpg" for _ in range(10_000)]
    seen, told, expected, before = Seen(), list[bool](), list[bool](), set[str]()
    for start in range(0, len(stream), 137):
        told += seen.add(stream[start : start + 137])
    for uri in stream:
        expected.append(uri not in before)
        before.add(uri)
    assert told == expected


def test_images_whose_digests_begin_alike_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Alike:
        def __init__(self, text: bytes, digest_size: int) -> None:
            self.text = text

        def digest(self) -> bytes:
            return b"same" + self.text.rjust(12, b"-")

    monkeypatch.setattr(seen_module, "blake2b", Alike)
    seen = Seen()
    assert seen.add(["a", "b", "a", "c"]) == [True, True, False, True]
    assert seen.add(["d", "c", "b"]) == [True, False, False]


def test_a_signed_address_is_seen_when_it_comes_signed_anew() -> None:
    assert Seen().add([f"https://h/a.jpg?X-Amz-Signature={n}" for n in range(3)]) == [True, False, False]


MANY = """
import psutil
from maskmill.jobs.seen import Seen
seen, memory = Seen(), psutil.Process().memory_info
taken = fresh = 0
before = memory().rss
while taken < 1_000_000:
    fresh += sum(seen.add([f"https://example.org/a/rather/deep/folder/of/images/{taken + n:09d}" for n in range(500)]))
    taken += 500
print(fresh, (memory().rss - before) // 2**20)
"""


@pytest.mark.slow
def test_a_million_images_take_little_memory() -> None:
    result = subprocess.run([sys.executable, "-c", MANY], capture_output=True, text=True, check=True, timeout=600)
    fresh, grown_mib = map(int, result.stdout.split())
    assert fresh == 1_000_000
    assert grown_mib < 32, "a set of their digests takes 110 MiB"


def test_a_full_disk_is_an_error_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    monkeypatch.setattr(seen_module, "FLUSHED_BYTES", 16)
    monkeypatch.setattr(seen_module, "TemporaryFile", lambda **_: Path("/dev/full").open("wb"))  # noqa: SIM115
    with pytest.raises(SourceError, match=r"No space left on device.*TMPDIR") as caught:
        seen.add(["/a.jpg"])
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC


def test_the_index_is_of_machine_words() -> None:
    assert array("Q").itemsize == 8
