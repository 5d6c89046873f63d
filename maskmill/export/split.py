"""A list of all a job's items in several files, none of them too long for who opens it."""

from __future__ import annotations

from collections.abc import Iterator


def in_files(items: Iterator[bytes], most: int, max_bytes: int) -> Iterator[Iterator[bytes]]:
    """The items of each file: at most so many, and of so many bytes unless one alone has more.

    `[b"a", b"b", b"c"]` with at most two are `[b"a", b"b"]` and `[b"c"]`; nothing is one empty file. Take all items of
    a file before the next file.
    """
    following = next(items, None)

    def one_file() -> Iterator[bytes]:
        nonlocal following
        many = size = 0
        while following is not None and many < most and (not many or size + len(following) <= max_bytes):
            yield following
            many, size, following = many + 1, size + len(following), next(items, None)

    yield one_file()
    while following is not None:
        yield one_file()
