from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskmill.errors import ObjectForbidden, SourceError
from maskmill.images import references, sources
from maskmill.images.entries import LeftOut, Reason
from maskmill.images.sources import Reach
from tests.unit.expanding import entries, expand, left_out, no_list, no_objects, unlisted

JPEG = b"\xff\xd8\xff\xe0"


def make(folder: Path, *names: str) -> list[str]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)
    return [str(folder / name) for name in names]


# Files and folders


def test_a_named_file_is_taken_whatever_its_extension(tmp_path: Path) -> None:
    make(tmp_path, "scan.dat")
    assert expand(tmp_path / "scan.dat") == [str(tmp_path / "scan.dat")]


def test_relative_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/cat.jpg")
    monkeypatch.chdir(tmp_path)
    assert expand("a/cat.jpg", "./a/../a") == [str(tmp_path / "a/cat.jpg")] * 2


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    make(tmp_path, "my cat.jpg")
    assert expand(f"file://{tmp_path}/my%20cat.jpg") == [str(tmp_path / "my cat.jpg")]


def test_a_folder_gives_its_images_in_name_order_without_hidden_ones(tmp_path: Path) -> None:
    images = make(tmp_path, "a.PNG", "z.tif", "b/c/d.webp", "b2/e.jpeg")
    make(tmp_path, "notes.txt", "b/data.json", ".hidden.jpg", ".git/f.png", "b/.x/g.png", "noextension")
    assert expand(tmp_path) == images


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    images = make(tmp_path, "data/a/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "data/a/round").symlink_to(tmp_path / "data")
    (tmp_path / "data/b").symlink_to(tmp_path / "elsewhere")
    assert expand(tmp_path / "data") == [images[0], str(tmp_path / "data/b/2.jpg")]


def test_a_local_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        expand(tmp_path / "missing")


def test_a_source_without_anything_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("# only a comment\n\n")
    (tmp_path / "empty.csv").write_text("url\n")
    names = [str(tmp_path / name) for name in ("empty", "empty.txt", "empty.csv", "*.jpg")]
    assert entries(*names) == [LeftOut(Reason.EMPTY, name) for name in names]


def test_an_empty_source_is_not_the_current_directory() -> None:
    with pytest.raises(SourceError):
        expand("")


def test_a_name_that_is_not_utf8_is_an_entry_that_names_it(tmp_path: Path) -> None:
    good = make(tmp_path, "a.jpg", "z.jpg")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).write_bytes(b"")
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.doc")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    assert expand(tmp_path) == good
    assert unlisted(tmp_path) == {f"{tmp_path}/caf\\xe9.jpg": "the name is not UTF-8: rename the file"}
    assert left_out(tmp_path) == {"not_an_image_name": [f"{tmp_path}/caf\\xe9.doc"]}


def test_sources_come_one_after_the_other(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    stream = sources.expand([str(tmp_path), "ftp://host/b.jpg"], reach=Reach(no_objects, no_list))
    assert next(stream) == str(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match="ftp"):
        next(stream)


# What is left out, and what cannot be listed


def test_each_entry_of_a_folder_is_a_reference_or_left_out_for_a_reason(tmp_path: Path) -> None:
    make(tmp_path, "a.HEIC", "b.heif", "c.jxl", "noextension", "d.jpg", "notes.txt", ".hidden.jpg", ".git/deep/x.png")
    assert [Path(uri).name for uri in expand(tmp_path)] == ["a.HEIC", "b.heif", "c.jxl", "d.jpg"]
    assert left_out(tmp_path) == {
        "hidden": [str(tmp_path / ".hidden.jpg"), str(tmp_path / ".git")],
        "not_an_image_name": [str(tmp_path / "noextension"), str(tmp_path / "notes.txt")],
    }


def test_all_files_are_taken_when_they_are_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "b/noextension", "a.jpg", ".hidden.jpg", ".git/x.pack")
    taken = entries(tmp_path, all_files=True)
    assert sorted(taken) == sorted(str(path) for path in tmp_path.rglob("*") if path.is_file())


def test_links_that_lead_nowhere_cost_only_themselves(tmp_path: Path) -> None:
    good = make(tmp_path, "z.jpg")
    for name, target in (("loop", "loop"), ("loop.jpg", "loop.jpg"), ("dangling.jpg", "gone"), ("ring", "ring/x")):
        (tmp_path / name).symlink_to(tmp_path / target)
    assert expand(tmp_path) == [str(tmp_path / name) for name in ("dangling.jpg", "loop.jpg")] + good
    assert left_out(tmp_path) == {"not_an_image_name": [str(tmp_path / "loop"), str(tmp_path / "ring")]}


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Whoever runs the tests may be root, who reads everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("pattern", ["", "**/*.jpg", "*", "*/*.jpg"])
def test_a_folder_that_may_not_be_read_costs_only_itself(pattern: str) -> None:
    with as_somebody_else(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = make(folder, "a/1.jpg", "c/2.jpg")
        make(folder, "b/3.jpg")
        (folder / "b").chmod(0o000)
        try:
            assert expand(folder / pattern) == good
            assert unlisted(folder / pattern) == {f"{name}/b": "the folder cannot be read: Permission denied"}
        finally:
            (folder / "b").chmod(0o755)


def test_results_of_maskmill_below_a_folder_are_left_out(tmp_path: Path) -> None:
    photos = make(tmp_path, "photos/a.jpg", "photos/results/b.jpg", "photos/masks/c.jpg")
    own = make(tmp_path, "photos/results/masks/a.jpg.png", "photos/results/job.json", "photos/results/metadata.jsonl")
    own += make(tmp_path, "photos/results/contact-sheet.png", "photos/results/masks/deep/b.png")
    own += make(tmp_path, "photos/report-1/report.json", "photos/report-1/data/index.js")
    own += make(tmp_path, "photos/report-1/pictures/00000/000000.jpg")
    photos += make(tmp_path, "photos/data/d.jpg", "photos/pictures/e.jpg")
    own += make(tmp_path, "photos/out/masks/job.json", "photos/out/masks/metadata.jsonl", "photos/out/masks/d/x.png")
    assert sorted(expand(tmp_path / "photos")) == sorted(photos)
    assert sorted(left_out(tmp_path / "photos")["own_result"]) == sorted(own)


def test_a_named_file_that_is_neither_a_list_nor_an_image_is_left_out_as_that(tmp_path: Path) -> None:
    (tmp_path / "letter.docx").write_bytes(b"PK\x03\x04 a word processor's")
    (tmp_path / "noext").write_text("img/a.jpg\n")
    (tmp_path / "photos.tar.gz").write_bytes(b"\x1f\x8b")
    names = [str(tmp_path / name) for name in ("letter.docx", "noext", "photos.tar.gz")]
    reasons = (Reason.UNKNOWN_KIND, Reason.UNKNOWN_KIND, Reason.PACKED)
    assert entries(*names) == [LeftOut(reason, name) for reason, name in zip(reasons, names, strict=True)]
    assert expand(*names, all_files=True) == names


@pytest.mark.parametrize(
    "head",
    [
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"II*\0",
        b"MM\0*",
        b"RIFF\0\0\0\0WEBP",
        b"\0\0\0\x18ftypheic",
        b"\0\0\0\x1cftypavif",
        b"\xff\x0a",
        b"P5\n2 2",
        b"\0\0\0\x0cjP  \r\n\x87\n",
    ],
)
def test_a_named_file_without_an_extension_is_an_image_if_it_begins_like_one(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "scan").write_bytes(head)
    assert expand(tmp_path / "scan") == [str(tmp_path / "scan")]


# Globs


def test_a_glob_gives_matches_in_name_order(tmp_path: Path) -> None:
    images = make(tmp_path, "a/1.jpg", "a/2.jpg", "b/1.jpg")
    make(tmp_path, "a/3.png", "c/x/1.jpg", ".d/1.jpg")
    assert expand(tmp_path / "*/*.jpg") == images
    assert expand(tmp_path / "[ab]/?.jpg") == images


def test_two_stars_match_at_any_depth(tmp_path: Path) -> None:
    images = make(tmp_path, "0.jpg", "a/1.jpg", "a/b/2.jpg")
    make(tmp_path, "a/b/notes.txt")
    assert expand(tmp_path / "**/*.jpg") == images
    assert expand(tmp_path / "**") == images
    assert expand(tmp_path / "**/**/b/*") == images[2:]


def test_a_glob_takes_other_files_only_if_it_spells_their_extension(tmp_path: Path) -> None:
    make(tmp_path, "1.jpg", "2.dat")
    (tmp_path / "3.txt").write_text("a.jpg\n")
    assert expand(tmp_path / "*") == [str(tmp_path / "1.jpg")]
    assert left_out(tmp_path / "*") == {"not_an_image_name": [str(tmp_path / "2.dat"), str(tmp_path / "3.txt")]}
    assert expand(tmp_path / "*", all_files=True) == [str(tmp_path / name) for name in ("1.jpg", "2.dat", "3.txt")]
    assert expand(tmp_path / "*.dat") == [str(tmp_path / "2.dat")]
    assert expand(tmp_path / "*.txt") == [str(tmp_path / "a.jpg")]


def test_a_broken_list_among_those_that_a_glob_matches_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("url\nhttp://h/1\n")
    (tmp_path / "2.csv").write_text("name\nx\n")
    (tmp_path / "3.csv").write_text("url\nhttp://h/3\n")
    assert expand(tmp_path / "*.csv") == ["http://h/1", "http://h/3"]
    assert list(unlisted(tmp_path / "*.csv")) == [str(tmp_path / "2.csv")]


def test_a_folder_that_a_glob_matches_is_taken_with_all_below(tmp_path: Path) -> None:
    images = make(tmp_path, "2025-12/a/1.jpg", "2026-01/2.jpg")
    make(tmp_path, "other/3.jpg")
    assert expand(tmp_path / "20*") == images


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    images = make(tmp_path, "cat[1].jpg")
    make(tmp_path, "cat1.jpg")
    assert expand(*images) == images


# Addresses


def test_what_the_object_store_refuses_is_passed_on() -> None:
    def list_objects(uri: str) -> Iterator[str]:
        raise ObjectForbidden("denied")
        yield

    with pytest.raises(ObjectForbidden):
        expand("s3://bucket/", list_objects=list_objects)


@pytest.mark.parametrize("source", ["s3://", "s3:///key", "ftp://h/a.jpg", "file://elsewhere/a.jpg"])
def test_an_address_that_can_be_no_source_is_an_error(source: str) -> None:
    with pytest.raises(SourceError, match=source[:5]):
        sources.check(source)


# Descriptions


def test_describe_gives_absolute_paths_and_unchanged_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert references.describe("photos/") == str(tmp_path / "photos")
    assert references.describe("photos/**/*.jpg") == str(tmp_path / "photos/**/*.jpg")
    assert references.describe("file:///data/a%20b.jpg") == "/data/a b.jpg"
    for unchanged in ("https://h/a?b#c", "s3://bucket/prefix/", "-"):
        assert references.describe(unchanged) == unchanged


def test_only_one_folder_or_prefix_alone_cannot_give_an_image_twice(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    assert sources.never_repeats([str(tmp_path)])
    assert sources.never_repeats(["s3://b/prefix/"])
    for names in ([str(tmp_path)] * 2, [str(tmp_path / "*")], [str(tmp_path / "l.txt")], ["s3://b/*/"], ["-"], []):
        assert not sources.never_repeats(names)
