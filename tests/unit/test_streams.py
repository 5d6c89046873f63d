"""References of a long list, a large folder or a large prefix pass one by one: looked at while they pass."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.images.entries import Entry
from maskmill.images.sources import Reach, expand
from tests.unit.expanding import no_list, no_objects

REFERENCES = 60_000
MAX_BYTES = 2**20
"""Far below the 6 MiB that the shortest list of so many references takes."""


def text(path: Path, uris: Iterator[str]) -> None:
    with path.open("w") as file:
        file.writelines(f"{uri}\n" for uri in uris)


def csv(path: Path, uris: Iterator[str]) -> None:
    text(path, (f"{uri},{n}" for n, uri in enumerate(["uri", *uris])))


def jsonl(path: Path, uris: Iterator[str]) -> None:
    text(path, (f'{{"uri": "{uri}"}}' for uri in uris))


WRITERS = {"txt": text, "csv": csv, "jsonl": jsonl}


def uris() -> Iterator[str]:
    return (f"https://example.org/a/rather/deep/folder/of/images/{n:09d}.jpg" for n in range(REFERENCES))


NOWHERE = Reach(no_objects, no_list)


def peak_of(stream: Iterator[Entry]) -> int:
    """The most memory that the stream takes at any moment, in bytes."""
    tracemalloc.start()
    try:
        assert sum(1 for _ in stream) == REFERENCES
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", WRITERS)
def test_a_long_list_is_never_in_memory(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / f"list.{kind}", uris())
    assert peak_of(expand([str(tmp_path / f"list.{kind}")], reach=NOWHERE)) < MAX_BYTES


def test_a_long_standard_input_is_never_in_memory(tmp_path: Path) -> None:
    text(tmp_path / "list", uris())
    with (tmp_path / "list").open() as stdin:
        assert peak_of(expand(["-"], reach=NOWHERE, stdin=stdin)) < MAX_BYTES


def test_a_large_prefix_of_a_bucket_is_never_in_memory() -> None:
    assert peak_of(expand(["s3://bucket/some/"], reach=Reach(lambda _: uris(), no_list))) < MAX_BYTES


def test_a_parquet_list_is_read_in_parts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": list(uris())}), tmp_path / "list.parquet")
    assert peak_of(expand([str(tmp_path / "list.parquet")], reach=NOWHERE)) < 5 * MAX_BYTES


def test_many_sources_are_looked_at_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("/photos/a.jpg\n")
    looked_at: list[str] = []

    def sources() -> Iterator[str]:
        for source in (str(tmp_path / "a.txt"), "/no/such/file.txt"):
            looked_at.append(source)
            yield source

    stream = expand(sources(), reach=NOWHERE)
    assert next(stream) == "/photos/a.jpg"
    assert len(looked_at) == 1
