from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.errors import ImageNotFound, SourceError
from maskmill.images import sources
from maskmill.images.columns import cells
from maskmill.images.entries import LeftOut, Reason, Unlisted
from maskmill.images.sources import Reach
from tests.unit.expanding import entries, expand, left_out, no_list, no_objects, unlisted


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
    assert entries("-", stdin=io.StringIO("\n")) == [LeftOut(Reason.EMPTY, "-")]


def test_a_line_of_standard_input_that_is_not_utf8_costs_only_itself() -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"/a.jpg\n/caf\xe9.jpg\n/b.jpg\n"), "utf-8")
    assert entries("-", stdin=stdin) == [
        "/a.jpg",
        Unlisted("/caf\\xe9.jpg", "the name is not UTF-8: rename the file"),
        "/b.jpg",
    ]


def test_a_line_that_is_far_too_long_is_an_entry_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("a.jpg\n" + "x" * 200_000 + "\nb.jpg\n")
    (tmp_path / "l.csv").write_text("url\na.jpg\n" + "x" * 200_000 + "\nb.jpg\n")
    for name, where in (("l.txt", "#line=2"), ("l.csv", "#row=2")):
        assert expand(tmp_path / name) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
        assert list(unlisted(tmp_path / name)) == [f"{tmp_path / name}{where}"]


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(str(cell) for cell in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix in (".jsonl", ".ndjson"):
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


@pytest.mark.parametrize("extension", [".jsonl", ".ndjson", ".json", ".parquet"])
def test_a_row_that_gives_no_reference_is_an_entry_of_its_own(tmp_path: Path, extension: str) -> None:
    cells: list[Any] = ["a.jpg", None, "", "b.jpg"]
    rows = [{"url": cell} for cell in cells]
    if extension != ".parquet":
        rows += [{"other": "x"}, {"url": 5}, {"url": ["c.jpg"]}]
    path = tmp_path / f"list{extension}"
    path.write_text(json.dumps(rows)) if extension == ".json" else write_table(path, rows)
    assert expand(path) == [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    assert left_out(path) == {"empty": [f"{path}#row=2", f"{path}#row=3"]}
    wrong = {5: "the row has no column 'url'"} | dict.fromkeys((6, 7), "there is no text in column 'url'")
    expected = {f"{path}#row={row}": problem for row, problem in wrong.items()}
    assert unlisted(path) == ({} if extension == ".parquet" else expected)


def test_a_short_row_and_a_broken_line_cost_only_themselves(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("id,url\n1,http://h/1\n2\n\n3,http://h/3\n")
    (tmp_path / "l.jsonl").write_text('{"url": \n[]\n{"url": "http://h/1"}\n{"url": "http://h/3"}\nnull\n')
    (tmp_path / "half.jsonl").write_text('{"url": "\\ud800.jpg"}\n{"url": "http://h/1"}\n{"url": "http://h/3"}\n')
    assert unlisted(tmp_path / "half.jsonl") == {f"{tmp_path}/\\ud800.jpg": "the name is not UTF-8: rename the file"}
    for name in ("l.csv", "l.jsonl", "half.jsonl"):
        assert expand(tmp_path / name) == ["http://h/1", "http://h/3"]
    assert unlisted(tmp_path / "l.csv") == {f"{tmp_path}/l.csv#row=2": "the row has no column 'url'"}
    assert [name.rpartition("#")[2] for name in unlisted(tmp_path / "l.jsonl")] == ["row=1", "row=2"]


@pytest.mark.parametrize("cut", [40, -3])
def test_a_list_that_breaks_off_stands_up_to_there(tmp_path: Path, cut: int) -> None:
    lines = "".join(f"http://host/{n * 7919 % 10_007}.jpg\n" for n in range(3_000))
    path = tmp_path / "l.txt.gz"
    whole = gzip.compress(lines.encode())
    path.write_bytes(whole[:cut] if cut < 0 else whole[: len(whole) - cut])
    found = expand(path)
    assert found == lines.split()[: len(found)]
    assert len(found) > 1_000
    [problem] = unlisted(path).values()
    assert problem.startswith("the file breaks off here")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("binary.txt", b"\x7fELF\x02\x00\n"),
        ("broken.jsonl", b'{"url": '),
        ("number.jsonl", b"5\n"),
        ("broken.json", b"[{]"),
        ("geo.json", b'{"type": "FeatureCollection", "features": []}'),
        ("broken.parquet", b"PAR1 not really"),
        ("not.csv.gz", b"url\nhttp://h/1\n"),
        ("other.csv", b"id,scene\n1,a.jpg\n"),
    ],
)
def test_what_is_no_list_from_its_beginning_is_an_error_that_names_it(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name) as caught:
        expand(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.tsv", b"cap\turl\nx, y\ta.jpg\n"),
        ("tab.csv", b"cap\turl\nx, y\ta.jpg\n"),
        ("semicolon.csv", b"cap;url\nx, y;a.jpg\n"),
        ("sep.csv", b"sep=|\ncap|url\nx, y|a.jpg\n"),
        ("spaces.csv", b'cap, url\n"x, y", a.jpg\n'),
        ("comment.csv", b"# made by, x\n\nurl\na.jpg\n"),
        ("lines.csv", b'cap,url\n"x\ny",a.jpg\n'),
        ("bom.csv", b"\xef\xbb\xbfurl,cap\na.jpg,x\n"),
        ("spreadsheet.txt", "a.jpg\n".encode("utf-16")),
        ("l.LST", b"a.jpg\n"),
        ("l.ndjson", b'{"url":"a.jpg"}\n'),
        ("texts.jsonl", b'"a.jpg"\n'),
        ("texts.json", b'["a.jpg"]'),
        ("coco.json", b'{"info": {}, "annotations": [{"id": 1}], "images": [{"id": 1, "file_name": "a.jpg"}]}'),
        ("tasks.json", b'\xef\xbb\xbf [{"data": {"image": "a.jpg"}, "id": 5}]'),
        ("hf.jsonl", b'{"image": {"path": "a.jpg", "bytes": null}}\n'),
    ],
)
def test_lists_as_other_programs_write_them(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    assert entries(tmp_path / name) == entries(tmp_path / f"{name}.gz") == [str(tmp_path / "a.jpg")]


@pytest.mark.parametrize("first", [{"url": "a.jpg"}, "a.jpg"])
def test_no_more_rows_are_read_than_it_takes_to_know_the_column(first: object) -> None:
    def rows() -> Iterator[Any]:
        yield from (None, first)
        raise AssertionError("a third row was asked for")

    stream = cells(rows(), "l.jsonl", None)
    assert [next(stream), next(stream)] == [LeftOut(Reason.EMPTY, "l.jsonl#row=1"), "a.jpg"]


def test_a_list_whose_first_rows_lack_the_column_is_read_by_the_later_ones(tmp_path: Path) -> None:
    rows = [{"id": n} for n in range(99)] + [{"url": "http://h/1"}]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert (expand(tmp_path / "l.jsonl"), len(unlisted(tmp_path / "l.jsonl"))) == (["http://h/1"], 99)


def test_a_line_that_starts_with_a_hash_is_a_comment(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("a.jpg\n#1.jpg\n./#2.jpg\nimg/#3.jpg\n")
    assert expand(tmp_path / "l.txt") == [str(tmp_path / name) for name in ("a.jpg", "#2.jpg", "img/#3.jpg")]


def test_a_data_address_of_a_list_is_taken_as_it_is(tmp_path: Path) -> None:
    address = "data:image/png;base64,iVBORw0KGgo="
    (tmp_path / "l.txt").write_text(f"a.jpg\n{address}\n")
    assert expand(tmp_path / "l.txt") == [str(tmp_path / "a.jpg"), address]
    assert expand(address) == [address]


# Lists elsewhere


@pytest.mark.parametrize(
    ("address", "first"),
    [
        ("https://host/lists/l.csv?token=t", "https://host/lists/img/a%20b.jpg"),
        ("https://host/lists/l.csv.gz", "https://host/lists/img/a%20b.jpg"),
        ("s3://bucket/lists/l.csv", "s3://bucket/lists/img/a%20b.jpg"),
    ],
)
def test_a_list_at_an_address_is_read_and_its_paths_are_beside_it(address: str, first: str) -> None:
    content = b"url\nimg/a%20b.jpg\nhttp://other/c.jpg\n../d.jpg\n"

    def read(asked: str) -> bytes:
        assert asked == address
        return gzip.compress(content) if ".gz" in address else content

    assert expand(address, read=read) == [first, "http://other/c.jpg", f"{address.partition('lists')[0]}d.jpg"]


def test_a_list_that_cannot_be_fetched_is_an_error() -> None:
    def read(address: str) -> bytes:
        raise ImageNotFound(f"{address}: HTTP 404")

    with pytest.raises(SourceError, match="HTTP 404"):
        expand("https://host/l.txt", read=read)


@pytest.mark.parametrize("source", ["https://host/photos.zip", "s3://bucket/photos.tar", "http://h/a.tgz?x=1"])
def test_an_archive_at_an_address_is_refused_as_that(source: str) -> None:
    with pytest.raises(SourceError, match="download it"):
        expand(source)


# Memory


def test_a_long_list_keeps_memory_flat(tmp_path: Path) -> None:
    with (tmp_path / "list.txt").open("w") as file:
        file.writelines(f"some/longer/path/{i:09d}.jpg\n" for i in range(300_000))
    program = (
        "import psutil, sys; from maskmill.images import sources; rss = psutil.Process().memory_info\n"
        "before = rss().rss; stream = sources.expand(sys.argv[1:], reach=None)\n"
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
    for _ in sources.expand([str(tmp_path / "list.parquet")], reach=Reach(no_objects, no_list)):
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 8 * 2**20
