"""Bodies that came compressed (RFC 9110, 8.4), opened within a limit: a small one may hold gigabytes."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable

import brotli
import zstandard

from maskmill.errors import ObjectTooLarge, UsageError

BROKEN = (OSError, EOFError, zlib.error, brotli.error, zstandard.ZstdError)


def decoded(data: bytes, encodings: str, max_bytes: int) -> bytes:
    """The body whose `Content-Encoding` is this; what is no compression that we know is taken as it is.

    `decoded(body, "gzip, br", 10_000)` undoes the `br` first. Raises `ObjectTooLarge`, and `UsageError` for bytes that
    are not what the header says.
    """
    for name in reversed([each.strip().lower() for each in encodings.split(",")]):
        if name in _OPENERS:
            try:
                data = _OPENERS[name](data, max_bytes + 1)
            except BROKEN as error:
                raise UsageError(f"its body should be compressed with {name}, and is not") from error
        if len(data) > max_bytes:
            raise ObjectTooLarge(f"more than {max_bytes:,} bytes once decompressed")
    return data


def _gunzip(data: bytes, limit: int) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        return file.read(limit)


def _inflate(data: bytes, limit: int) -> bytes:
    """Both forms that servers send: with zlib's header, as the standard says, and without."""
    try:
        return zlib.decompressobj().decompress(data, limit)
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit)


def _unbrotli(data: bytes, limit: int) -> bytes:
    decompressor, found = brotli.Decompressor(), bytearray()
    found += decompressor.process(data, output_buffer_limit=limit)
    while not decompressor.is_finished() and len(found) < limit:
        more = decompressor.process(b"", output_buffer_limit=limit)
        if not more and decompressor.can_accept_more_data():
            raise EOFError
        found += more
    return bytes(found)


def _unzstd(data: bytes, limit: int) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        return reader.read(limit)


_OPENERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gunzip,
    "x-gzip": _gunzip,
    "deflate": _inflate,
    "br": _unbrotli,
    "zstd": _unzstd,
}
