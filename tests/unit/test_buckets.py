"""S3 prefixes and globs from a listing, as `maskmill.images.sources` expands them; docs/sources.md has the rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from maskmill.images.buckets import Lister
from maskmill.images.entries import LeftOut, Reason
from tests.unit.expanding import entries, expand, left_out, unlisted

ADDRESSES = ["https://host/a.jpg?sig=1#x", "http://host/folder/", "s3://bucket/key/cat.jpg"]
ADDRESSES += ["s3://bucket/a.jpg?versionId=7", "s3://bucket/cat.bin?versionId=7"]


def listing(*keys: str, asked: list[str] | None = None) -> Lister:
    """A bucket of these objects."""

    def list_objects(url: str) -> Iterator[str]:
        if asked is not None:
            asked.append(url)
        yield from (found for found in sorted(f"s3://bucket/{key}" for key in keys) if found.startswith(url))

    return list_objects


def test_addresses_of_images_are_unchanged() -> None:
    assert expand(*ADDRESSES) == ADDRESSES


@pytest.mark.parametrize("prefix", ["s3://bucket/", "s3://bucket", "s3://bucket/a/", "s3://bucket/a", "S3://bucket/a"])
def test_a_prefix_gives_the_images_below_it_with_or_without_its_slash(prefix: str) -> None:
    objects = listing("a/", "a/1.JPG", "a/labels.json", "a/.thumbs/2.jpg", "a/b/.3.jpg", "a/b/4.heic", "a/noext")
    assert expand(prefix, list_objects=objects) == ["s3://bucket/a/1.JPG", "s3://bucket/a/b/4.heic"]
    assert left_out(prefix, list_objects=objects) == {
        "hidden": ["s3://bucket/a/.thumbs/2.jpg", "s3://bucket/a/b/.3.jpg"],
        "not_an_image_name": ["s3://bucket/a/labels.json", "s3://bucket/a/noext"],
    }
    assert len(expand(prefix, list_objects=objects, all_files=True)) == 6


def test_a_prefix_without_its_slash_does_not_take_what_is_only_called_alike() -> None:
    objects = listing("a/1.jpg", "a-raw/2.jpg", "a.jpg/3.jpg")
    assert expand("s3://bucket/a", list_objects=objects) == ["s3://bucket/a/1.jpg"]


def test_an_object_without_an_extension_is_an_image_where_nothing_lies_below_it() -> None:
    assert expand("s3://bucket/scan", list_objects=listing("scan", "scan2/1.jpg")) == ["s3://bucket/scan"]
    assert entries("s3://bucket/sca", list_objects=listing("scan")) == [LeftOut(Reason.EMPTY, "s3://bucket/sca")]


def test_a_prefix_with_a_hidden_name_was_asked_for() -> None:
    assert expand("s3://bucket/.raw/", list_objects=listing(".raw/1.jpg")) == ["s3://bucket/.raw/1.jpg"]


@pytest.mark.parametrize("prefix", ["s3://bucket/none/", "s3://bucket/none/*.jpg"])
def test_a_prefix_of_nothing_is_left_out(prefix: str) -> None:
    assert entries(prefix, list_objects=listing("a.jpg")) == [LeftOut(Reason.EMPTY, prefix)]


def test_results_of_our_jobs_below_a_prefix_are_left_out() -> None:
    job = "20261126-030000-9f86d081"
    own = [f"night/jobs/{job}/job.json", f"night/jobs/{job}/shards/000000.jsonl", "night/masks/s3/bucket/a.jpg.png"]
    own += [f"jobs/{job}/manifest.json", "masks/b.jpg.png"]
    theirs = ["a.jpg", "night/c.jpg", "masks2/d.png", "jobs/e.jpg", "other/masks/f.png"]
    objects = listing(*own, *theirs)
    assert sorted(expand("s3://bucket/", list_objects=objects)) == sorted(f"s3://bucket/{key}" for key in theirs)
    assert left_out("s3://bucket/", list_objects=objects, all_files=True) == {
        "own_result": sorted(f"s3://bucket/{key}" for key in own)
    }


KEYS = (
    "2025/a/1.jpg",
    "2025/b/2.jpg",
    "2025/b/3.png",
    "2025/b/c/4.jpg",
    "2025/.h/5.jpg",
    "2025/b/.6.jpg",
    "2026/7.jpg",
)
KEYS += ("2025/b/8.txt", "odd/x[1].jpg", "odd/x1.jpg")


def test_what_a_glob_matches_and_cannot_be_read_costs_only_itself() -> None:
    def read(url: str) -> bytes:
        return b"name\nx\n" if url.endswith("1.csv") else b"url\nhttp://h/2\n"

    objects = listing("1.csv", "2.csv", "3.zip")
    assert expand("s3://bucket/*.csv", list_objects=objects, read=read) == ["http://h/2"]
    assert list(unlisted("s3://bucket/*.csv", list_objects=objects, read=read)) == ["s3://bucket/1.csv"]
    assert list(unlisted("s3://bucket/*.zip", list_objects=objects)) == ["s3://bucket/3.zip"]


@pytest.mark.parametrize(
    ("pattern", "expected", "listed"),
    [
        ("2025/*/*.jpg", ["2025/a/1.jpg", "2025/b/2.jpg"], "2025/"),
        ("2025/b/?.*", ["2025/b/2.jpg", "2025/b/3.png"], "2025/b/"),
        ("2025/**/*.jpg", ["2025/a/1.jpg", "2025/b/2.jpg", "2025/b/c/4.jpg"], "2025/"),
        ("20*/[!a]/[2-3].???", ["2025/b/2.jpg", "2025/b/3.png"], "20"),
        ("2025/?", ["2025/a/1.jpg", "2025/b/2.jpg", "2025/b/3.png", "2025/b/c/4.jpg"], "2025/"),
        ("202[6-9]*", ["2026/7.jpg"], "202"),
        ("2025/b/**", ["2025/b/2.jpg", "2025/b/3.png", "2025/b/c/4.jpg"], "2025/b/"),
        ("2025/.h/*.jpg", ["2025/.h/5.jpg"], "2025/.h/"),
        ("odd/x[1].jpg", ["odd/x1.jpg", "odd/x[1].jpg"], "odd/x"),
        ("2025/b/*.txt", ["2025/b/9.jpg"], "2025/b/"),
    ],
)
def test_a_glob_of_keys_is_one_listing(pattern: str, expected: list[str], listed: str) -> None:
    asked: list[str] = []
    found = expand(f"s3://bucket/{pattern}", list_objects=listing(*KEYS, asked=asked), read=lambda _: b"9.jpg")
    assert found == [f"s3://bucket/{key}" for key in expected]
    assert asked == [f"s3://bucket/{listed}"]
