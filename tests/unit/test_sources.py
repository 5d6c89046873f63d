from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.errors import ObjectForbidden, SourceError
from maskmill.images import sources


def no_objects(uri: str) -> Iterator[str]:
    yield from ()


def expand(*names: str | Path, **options: Any) -> list[str]:
    return list(sources.expand([str(name) for name in names], **{"list_objects": no_objects} | options))


def make(folder: Path, *names: str) -> list[str]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
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


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("missing", "no such file or folder"), ("empty", "has no images"), ("*.jpg", "matches no image")],
)
def test_a_local_source_that_names_nothing_is_an_error(tmp_path: Path, name: str, complaint: str) -> None:
    make(tmp_path, "empty/readme.md")
    with pytest.raises(SourceError, match=complaint):
        expand(tmp_path / name)


def test_an_empty_source_is_not_the_current_directory() -> None:
    with pytest.raises(SourceError):
        expand("")


def test_a_name_that_is_not_utf8_is_an_error_that_names_it(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(SourceError, match=r"caf\\udce9.jpg' is not UTF-8: rename it"):
        expand(tmp_path)


def test_sources_come_one_after_the_other(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    stream = sources.expand([str(tmp_path), "ftp://host/b.jpg"], list_objects=no_objects)
    assert next(stream) == str(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match="ftp"):
        next(stream)


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
    assert expand(tmp_path / "*") == [str(tmp_path / "1.jpg")]
    assert expand(tmp_path / "*.dat") == [str(tmp_path / "2.dat")]


def test_a_folder_that_a_glob_matches_is_taken_with_all_below(tmp_path: Path) -> None:
    images = make(tmp_path, "2025-12/a/1.jpg", "2026-01/2.jpg")
    make(tmp_path, "other/3.jpg")
    assert expand(tmp_path / "20*") == images


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    images = make(tmp_path, "cat[1].jpg")
    make(tmp_path, "cat1.jpg")
    assert expand(*images) == images


# Addresses


def test_addresses_are_unchanged() -> None:
    addresses = ["https://host/a.jpg?sig=1#x", "http://host/folder/", "s3://bucket/key/cat.bin"]
    assert expand(*addresses) == addresses


@pytest.mark.parametrize("prefix", ["s3://bucket", "s3://bucket/", "s3://bucket/a/"])
def test_an_s3_prefix_gives_the_images_below_it(prefix: str) -> None:
    asked = []

    def list_objects(uri: str) -> Iterator[str]:
        asked.append(uri)
        yield from ("s3://bucket/a/1.JPG", "s3://bucket/a/labels.json", "s3://bucket/a/")

    assert expand(prefix, list_objects=list_objects) == ["s3://bucket/a/1.JPG"]
    assert asked == [prefix]


@pytest.mark.parametrize("prefix", ["s3://bucket/none/", "s3://", "s3:///key"])
def test_an_s3_prefix_that_names_nothing_is_an_error(prefix: str) -> None:
    with pytest.raises(SourceError, match="s3://"):
        expand(prefix)


def test_what_the_object_store_refuses_is_passed_on() -> None:
    def list_objects(uri: str) -> Iterator[str]:
        raise ObjectForbidden("denied")
        yield

    with pytest.raises(ObjectForbidden):
        expand("s3://bucket/", list_objects=list_objects)


# Lists


def test_a_text_list_has_one_reference_a_line(tmp_path: Path) -> None:
    path = tmp_path / "images.txt"
    lines = [
        "\ufeff# comment",
        "\r",
        "sub/cat.jpg\r",
        " /abs/dog.png ",
        "https://h/a#b",
        f"file://{tmp_path}/x%20y.png",
    ]
    path.write_text("\n".join(lines))
    assert expand(path) == [
        str(tmp_path / "sub/cat.jpg"),
        "/abs/dog.png",
        "https://h/a#b",
        str(tmp_path / "x y.png"),
    ]


def test_a_line_of_an_unknown_scheme_is_left_to_the_report(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("ftp://host/a.jpg\n")
    assert expand(tmp_path / "l.txt") == ["ftp://host/a.jpg"]


def test_standard_input_is_read_against_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stdin = io.StringIO("cat.jpg\n# no\nhttp://h/x\n")
    assert expand("-", stdin=stdin) == [str(tmp_path / "cat.jpg"), "http://h/x"]
    with pytest.raises(SourceError, match="standard input is empty"):
        expand("-", stdin=io.StringIO("\n"))


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(str(cell) for cell in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".jsonl":
        path.write_text("\n\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


TABLES = pytest.mark.parametrize("extension", [".csv", ".jsonl", ".parquet"])


@TABLES
def test_a_table_is_read_by_the_first_known_column(tmp_path: Path, extension: str) -> None:
    rows = [{"id": 1, "path": "/no", "URL": "http://h/1"}, {"id": 2, "path": "/no", "URL": "http://h/2"}]
    assert expand(write_table(tmp_path / f"list{extension}", rows)) == ["http://h/1", "http://h/2"]


@TABLES
def test_a_table_is_read_by_the_named_column(tmp_path: Path, extension: str) -> None:
    rows = [{"url": "http://h/1", "scene": "a.tif"}, {"url": "http://h/1", "scene": ""}]
    path = write_table(tmp_path / f"list{extension}", rows)
    assert expand(path, column="scene") == [str(tmp_path / "a.tif")]


@TABLES
@pytest.mark.parametrize("column", [None, "picture"])
def test_a_missing_column_is_an_error_that_names_those_found(
    tmp_path: Path, extension: str, column: str | None
) -> None:
    path = write_table(tmp_path / f"list{extension}", [{"id": "1", "scene": "a.tif"}])
    with pytest.raises(SourceError, match="id, scene"):
        expand(path, column=column)


@pytest.mark.parametrize("extension", [".jsonl", ".parquet"])
def test_a_column_that_holds_no_text_is_an_error(tmp_path: Path, extension: str) -> None:
    path = write_table(tmp_path / f"list{extension}", [{"image": {"bytes": "x"}}])
    with pytest.raises(SourceError, match="no text in column 'image'"):
        expand(path)


def test_a_json_row_without_the_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="row 2"):
        expand(write_table(tmp_path / "l.jsonl", [{"url": "http://h/1"}, {"other": "x"}]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.txt", b""),
        ("comments.txt", b"# only\n\n"),
        ("binary.txt", b"\xff\xfe\x00\n"),
        ("header.csv", b"url\n"),
        ("long.csv", b"url\n" + b"x" * 200_000 + b"\n"),
        ("broken.jsonl", b'{"url": '),
        ("number.jsonl", b"5\n"),
        ("broken.parquet", b"PAR1 not really"),
    ],
)
def test_an_empty_or_broken_list_is_an_error_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name) as caught:
        expand(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_long_list_keeps_memory_flat(tmp_path: Path) -> None:
    with (tmp_path / "list.txt").open("w") as file:
        file.writelines(f"some/longer/path/{i:09d}.jpg\n" for i in range(300_000))
    program = (
        "import psutil, sys; from maskmill.images import sources; rss = psutil.Process().memory_info\n"
        "before = rss().rss; stream = sources.expand(sys.argv[1:], list_objects=None)\n"
        "print(sum(1 for _ in stream), (rss().rss - before) // 2**20)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "list.txt")]
    count, grown_mib = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    assert count == "300000"
    assert int(grown_mib) < 30


def test_a_long_parquet_list_is_read_in_batches(tmp_path: Path) -> None:
    urls = [f"https://images.example.org/some/longer/path/{i:09d}.jpg" for i in range(200_000)]
    pq.write_table(pa.table({"url": urls, "text": urls}), tmp_path / "list.parquet", row_group_size=50_000)
    before, most = pa.total_allocated_bytes(), 0
    for _ in sources.expand([str(tmp_path / "list.parquet")], list_objects=no_objects):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 8 * 2**20


# Descriptions


def test_describe_gives_absolute_paths_and_unchanged_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sources.describe("photos/") == str(tmp_path / "photos")
    assert sources.describe("photos/**/*.jpg") == str(tmp_path / "photos/**/*.jpg")
    assert sources.describe("file:///data/a%20b.jpg") == "/data/a b.jpg"
    for unchanged in ("https://h/a?b#c", "s3://bucket/prefix/", "-"):
        assert sources.describe(unchanged) == unchanged


@pytest.mark.parametrize(
    ("names", "base"),
    [
        (["photos"], ""),
        (["photos/cat.jpg"], "photos"),
        (["photos/2026/*.jpg"], "photos"),
        (["photos/**/x/*.jpg"], ""),
        (["lists/images.csv"], "lists"),
        (["photos/cat.jpg", "photos/2026"], "photos"),
        (["photos/cat.jpg", "https://h/a.jpg", "lists/images.csv"], ""),
        (["-"], ""),
    ],
)
def test_local_base_is_the_common_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], base: str
) -> None:
    make(tmp_path, "photos/cat.jpg", "photos/2026/dog.jpg", "lists/images.csv")
    monkeypatch.chdir(tmp_path)
    assert sources.local_base(names) == str(tmp_path / base)


def test_local_base_is_none_without_a_local_source() -> None:
    assert sources.local_base(["https://h/a.jpg", "s3://b/c/"]) is None
