"""Which images have come already: 16 bytes of each on disk, and an index in memory of 12 to 24 bytes an image."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from tempfile import TemporaryFile

from maskmill.addresses import identity
from maskmill.errors import SourceError

DIGEST_BYTES = 16
"""Two of a hundred million images share 128 bits with a chance of 10^-23."""

TAG_BITS = 32
FLUSHED_BYTES = 2**20
FIRST_SLOTS = 2**16


class Seen:
    """A set of images by their identity (`maskmill.addresses.identity`), for as many as one job may have.

    A hash table with linear probing: a slot holds the first 32 bits of a digest, which also say where it belongs, and
    the digest's number. Where those 32 bits are equal the whole digests, which lie in a temporary file, are compared.
    """

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * FIRST_SLOTS))
        self._digests = _Digests()

    def add(self, uris: Sequence[str]) -> list[bool]:
        """For each of them whether it comes for the first time."""
        while 3 * (len(self._digests) + len(uris)) > 2 * len(self._slots):
            self._grow()
        slots, digests, last, fresh = self._slots, self._digests, len(self._slots) - 1, list[bool]()
        for uri in uris:
            digest = blake2b(identity(uri).encode(), digest_size=DIGEST_BYTES).digest()
            tag = int.from_bytes(digest[: TAG_BITS // 8], "big")
            slot, is_fresh = tag & last, True
            while is_fresh and (found := slots[slot]):
                is_fresh = found >> TAG_BITS != tag or digests[(found & 0xFFFFFFFF) - 1] != digest
                slot = (slot + 1) & last
            if is_fresh:
                digests.append(digest)
                slots[slot] = tag << TAG_BITS | len(digests)
            fresh.append(is_fresh)
        return fresh

    def _grow(self) -> None:
        slots = array("Q", bytes(16 * len(self._slots)))
        last = len(slots) - 1
        for found in filter(None, self._slots):
            slot = (found >> TAG_BITS) & last
            while slots[slot]:
                slot = (slot + 1) & last
            slots[slot] = found
        self._slots = slots


class _Digests:
    """A list of digests; all but the last ones lie in a file."""

    def __init__(self) -> None:
        self._last, self._written, self._length = bytearray(), 0, 0

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> bytes:
        start = number * DIGEST_BYTES
        if start < self._written:
            return os.pread(self._file.fileno(), DIGEST_BYTES, start)
        return bytes(self._last[start - self._written :][:DIGEST_BYTES])

    def append(self, digest: bytes) -> None:
        self._last += digest
        self._length += 1
        if len(self._last) >= FLUSHED_BYTES:
            with _room():
                self._flush()

    def _flush(self) -> None:
        if not self._written:
            self._file = TemporaryFile(prefix="maskmill-")  # noqa: SIM115 - gone when it is dropped
        self._file.write(self._last)
        self._file.flush()
        self._written += len(self._last)
        self._last.clear()


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"no room to note which images have come ({error.strerror}): free some among the temporary files, or set "
            "TMPDIR to a folder on a larger disk"
        ) from error
