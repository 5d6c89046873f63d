"""Images in archives, tables and references: listed without unpacking, and read one by one by the fetcher."""

from __future__ import annotations

import base64
import io
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.access import Access
from maskmill.errors import ImageError, SourceError
from maskmill.images.fetch import Fetcher
from maskmill.images.limits import FetchLimits
from tests.unit.expanding import entries, expand, left_out, unlisted

FILES = {
    "a.jpg": b"one",
    "deep/b c.PNG": b"two" * 1000,
    "../evil.jpg": b"three",
    "é.tif": b"four",
    "notes.txt": b"no",
    "__MACOSX/._a.jpg": b"no",
}
IMAGES = [name for name in FILES if name not in ("notes.txt", "__MACOSX/._a.jpg")]


def write_archive(path: Path) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.mkdir("deep")
            for name, data in FILES.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(path, "w") as archive:
            folder = tarfile.TarInfo("deep")
            folder.type = tarfile.DIRTYPE
            archive.addfile(folder)
            for name, data in FILES.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher(FetchLimits(max_bytes=10_000))


def error_of(fetcher: Fetcher, uri: str) -> tuple[str, str]:
    with pytest.raises(ImageError) as caught:
        fetcher.fetch(uri)
    return caught.value.code, str(caught.value)


ARCHIVES = pytest.mark.parametrize("kind", ["zip", "tar"])


@ARCHIVES
def test_the_images_in_an_archive_are_read_without_unpacking_it(tmp_path: Path, fetcher: Fetcher, kind: str) -> None:
    path = write_archive(tmp_path / f"photos.{kind}")
    uris = [f"{kind}://{name}::{path}" for name in IMAGES]
    assert expand(path) == uris
    assert left_out(path) == {
        "not_an_image_name": [f"{kind}://notes.txt::{path}"],
        "hidden": [f"{kind}://__MACOSX/._a.jpg::{path}"],
    }
    assert [fetcher.fetch(uri) for uri in uris] == [FILES[name] for name in IMAGES]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@ARCHIVES
def test_a_member_is_read_by_many_threads_at_once(tmp_path: Path, fetcher: Fetcher, kind: str) -> None:
    path = write_archive(tmp_path / f"photos.{kind}")
    wrong: list[str] = []

    def read() -> None:
        wrong.extend(name for name in IMAGES * 20 if fetcher.fetch(f"{kind}://{name}::{path}") != FILES[name])

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@ARCHIVES
def test_a_member_that_is_unchanged_is_not_read_again(tmp_path: Path, fetcher: Fetcher, kind: str) -> None:
    path = write_archive(tmp_path / f"photos.{kind}")
    uri = f"{kind}://a.jpg::{path}"
    version = fetcher.download(uri).version
    assert fetcher.download(uri, known=version).unchanged
    FILES["a.jpg"], before = b"another", FILES["a.jpg"]
    try:
        write_archive(path)
        assert fetcher.download(uri, known=version).data == b"another"
    finally:
        FILES["a.jpg"] = before


@ARCHIVES
def test_what_is_wrong_with_a_member_is_its_own_outcome(tmp_path: Path, kind: str) -> None:
    path = write_archive(tmp_path / f"photos.{kind}")
    small = Fetcher(FetchLimits(max_bytes=100))
    assert error_of(small, f"{kind}://gone.jpg::{path}")[0] == "not_found"
    assert error_of(small, f"{kind}://deep/b c.PNG::{path}")[0] == "too_large"
    assert error_of(small, f"{kind}://a.jpg::{tmp_path}/none.{kind}")[0] == "not_found"
    assert error_of(small, f"{kind}://a.jpg::s3://bucket/x.{kind}")[0] == "unsupported"
    elsewhere = Fetcher(access=Access(roots=("/nowhere",)))
    assert error_of(elsewhere, f"{kind}://a.jpg::{path}")[0] == "refused"
    whole = path.read_bytes()
    path.write_bytes(whole[: 600 if kind == "zip" else 1025])
    code, reason = error_of(small, f"{kind}://a.jpg::{path}")
    assert (code, path.name in reason) == ("truncated", True)


def test_a_member_behind_a_password_is_unsupported(tmp_path: Path, fetcher: Fetcher) -> None:
    path = write_archive(tmp_path / "p.zip")
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x03\x04") + 6] |= 1
    directory = data.index(b"PK\x01\x02")
    for _ in range(2):  # the folder's entry, and that of a.jpg
        data[directory + 8] |= 1
        directory = data.index(b"PK\x01\x02", directory + 1)
    path.write_bytes(bytes(data))
    assert error_of(fetcher, f"zip://a.jpg::{path}")[0] == "unsupported"


@ARCHIVES
def test_a_file_that_is_no_such_archive_is_an_error(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"x.{kind}").write_bytes(b"not one" * 200)
    with pytest.raises(SourceError, match=f"x.{kind}"):
        expand(tmp_path / f"x.{kind}")


def test_members_of_an_archive_of_a_folder_have_plain_names(tmp_path: Path, fetcher: Fetcher) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "a.jpg", "./deep/a.jpg")
    [uri] = expand(tmp_path / "x.tar")
    assert uri == f"tar://deep/a.jpg::{tmp_path}/x.tar"
    assert fetcher.fetch(uri) == b"one"


def test_an_archive_that_breaks_off_is_listed_up_to_there(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "photos.tar")
    path.write_bytes(path.read_bytes()[:3000])
    assert expand(path) == [f"tar://a.jpg::{path}", f"tar://deep/b c.PNG::{path}"]
    assert unlisted(path) == {f"{path}#end": "the file breaks off here: unexpected end of data"}


def test_lines_of_a_list_may_name_members(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("zip://a.jpg::photos.zip\nzip://b.jpg::/data/x.zip\n")
    assert entries(tmp_path / "l.txt") == [f"zip://a.jpg::{tmp_path}/photos.zip", "zip://b.jpg::/data/x.zip"]


# Tables with images in their rows


def write_table(path: Path, cells: list[Any], kind: pa.DataType, **options: Any) -> Path:
    table = pa.table({"id": list(range(len(cells))), "image": pa.array(cells, kind)})
    pq.write_table(table, path, **options)
    return path


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize("statistics", [True, False])
def test_rows_with_images_in_them_are_references_into_the_table(
    tmp_path: Path, fetcher: Fetcher, statistics: bool
) -> None:
    cells: list[Any] = [{"bytes": b"image %d" % n, "path": f"{n}.jpg"} for n in range(7)]
    path = write_table(tmp_path / "t.parquet", cells, STRUCT, row_group_size=3, write_statistics=statistics)
    uris = [f"parquet://image/{n}::{path}" for n in range(7)]
    assert entries(path) == uris
    assert [fetcher.fetch(uri) for uri in reversed(uris)] == [b"image %d" % n for n in reversed(range(7))]
    version = fetcher.download(uris[0]).version
    assert fetcher.download(uris[0], known=version).unchanged


def test_rows_without_bytes_are_references_by_their_path(tmp_path: Path) -> None:
    cells: list[Any] = [{"bytes": None, "path": "a.jpg"}, {"bytes": b"x", "path": "b.jpg"}, None, {"path": "/c.jpg"}]
    path = write_table(tmp_path / "t.parquet", cells, STRUCT, row_group_size=2)
    assert expand(path) == [str(tmp_path / "a.jpg"), f"parquet://image/1::{path}", "/c.jpg"]
    assert left_out(path) == {"empty": [f"{path}#row=3"]}


def test_a_column_of_bytes_alone_is_one_of_images(tmp_path: Path, fetcher: Fetcher) -> None:
    path = write_table(tmp_path / "t.parquet", [b"one", None, b"two"], pa.binary())
    [first, second] = expand(path)
    assert (fetcher.fetch(first), fetcher.fetch(second)) == (b"one", b"two")
    assert left_out(path) == {"empty": [f"{path}#row=2"]}


@pytest.mark.parametrize("kind", [pa.int64(), pa.list_(pa.string()), pa.timestamp("s")])
def test_a_column_of_something_else_is_an_error_before_the_job(tmp_path: Path, kind: pa.DataType) -> None:
    path = write_table(tmp_path / "t.parquet", [None, None], kind)
    with pytest.raises(SourceError, match=r"t\.parquet has no text in column 'image'"):
        expand(path)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_column_of_texts_of_any_width_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    path = write_table(tmp_path / "t.parquet", ["/a.jpg", "/a.jpg"], kind)
    assert expand(path) == ["/a.jpg", "/a.jpg"]


def test_listing_rows_reads_no_image(tmp_path: Path) -> None:
    cells: list[Any] = [{"bytes": bytes(100_000), "path": "x"} for _ in range(300)]
    path = write_table(tmp_path / "t.parquet", cells, STRUCT, compression="none", use_dictionary=False)
    before, most = pa.total_allocated_bytes(), 0
    for _ in entries(path):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 2**20


def test_what_is_wrong_with_a_row_is_its_own_outcome(tmp_path: Path, fetcher: Fetcher) -> None:
    path = write_table(tmp_path / "t.parquet", [b"x" * 9_000, b"y" * 9_000], pa.binary(), compression="none")
    other = write_table(tmp_path / "u.parquet", ["text", None], pa.string())
    for uri, code in {
        f"parquet://image/0::{path}": "too_large",
        f"parquet://image/7::{path}": "not_found",
        f"parquet://image/x::{path}": "not_found",
        f"parquet://other/0::{path}": "unsupported",
        f"parquet://image/0::{other}": "not_found",
        f"parquet://image/0::{tmp_path}/none.parquet": "not_found",
    }.items():
        assert error_of(fetcher, uri)[0] == code, uri
    assert "fewer rows a group" in error_of(fetcher, f"parquet://image/0::{path}")[1]


# Images in the reference itself


@pytest.mark.parametrize(
    ("address", "data"),
    [
        (f"data:image/png;base64,{base64.b64encode(b'pixels').decode()}", b"pixels"),
        ("DATA:;base64,cGl4ZWxz", b"pixels"),
        ("data:image/png;base64,cGl4ZWxzIQ%3D%3D", b"pixels!"),
        ("data:image/svg+xml,%3Csvg%3E", b"<svg>"),
    ],
)
def test_a_data_address_is_its_own_image(fetcher: Fetcher, address: str, data: bytes) -> None:
    assert fetcher.fetch(address) == data


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("data:image/png;base64,***", "unsupported"),
        ("data:image/png", "unsupported"),
        ("data:,", "unsupported"),
        (f"data:,{'x' * 10_001}", "too_large"),
    ],
)
def test_a_data_address_that_holds_none_is_refused(fetcher: Fetcher, address: str, code: str) -> None:
    assert error_of(fetcher, address)[0] == code
