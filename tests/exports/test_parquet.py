"""Tables are read by pyarrow, DuckDB, Polars, pandas and `datasets`, and run lengths by pycocotools, as they are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from maskmill import Job
from maskmill.export import parquet, tables
from tests.exports.files import files
from tests.exports.scenes import SCENES, TURNED

SEGMENTS = sum(len(scene.of) for scene in SCENES.values())


@pytest.fixture(scope="module")
def out(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tables, with the images."""
    out = tmp_path_factory.mktemp("parquet") / "tables"
    account = job.export("parquet", out, copy_images=True, processes=1)
    assert (account.images, account.segments, account.notes) == (len(SCENES), SEGMENTS, {"turned_upright": 1})
    return out


def same(row: dict[str, Any], name: str) -> None:
    """The segment of a row is that of the scene, pixel by pixel."""
    scene = SCENES[name]
    segment = {each.id: each for each in scene.segments}[row["id"]]
    assert (row["label"], row["label_id"], row["score"]) == (segment.label, segment.label_id, segment.score)
    assert (row["area"], tuple(row["bbox"])) == (segment.area, segment.box)
    assert np.array_equal(coco_mask.decode(row["rle"]), scene.ids == segment.id)


def test_pyarrow_finds_every_pixel(out: Path) -> None:
    images = pq.read_table(out / "images").to_pylist()
    assert [row["file_name"] for row in images] == [*SCENES]
    for row in images:
        scene = SCENES[row["file_name"]]
        assert (row["height"], row["width"]) == scene.ids.shape
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["mask"]["bytes"]))), scene.ids)
        assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (row["width"], row["height"])
        assert [each["id"] for each in row["segments"]] == [*scene.of]
    segments = pq.read_table(out / "segments").to_pylist()
    assert len(segments) == SEGMENTS
    for row in segments:
        same(row, row["file_name"])


def test_duckdb_and_polars_ask_either_table(out: Path) -> None:
    by_label = f"SELECT label, count(*), sum(area) FROM '{out}/segments/*.parquet' GROUP BY label ORDER BY label"
    nested = (
        "SELECT s.label, count(*), sum(s.area) "
        f"FROM (SELECT unnest(segments) AS s FROM '{out}/images/*.parquet') GROUP BY ALL ORDER BY ALL"
    )
    wanted: dict[str, tuple[int, int]] = {}
    for scene in SCENES.values():
        for each in scene.segments:
            many, area = wanted.get(str(each.label), (0, 0))
            wanted[str(each.label)] = many + 1, area + each.area
    assert {label: (many, area) for label, many, area in duckdb.sql(by_label).fetchall()} == wanted
    assert duckdb.sql(nested).fetchall() == duckdb.sql(by_label).fetchall()
    low = pl.scan_parquet(out / "segments/*.parquet").filter(pl.col("score") < 0.6).select("file_name", "id").collect()
    assert {*low.iter_rows()} == {
        (name, each.id)
        for name, scene in SCENES.items()
        for each in scene.segments
        if each.score is not None and each.score < 0.6
    }
    found = pl.read_parquet(out / "images/*.parquet")
    assert found.filter(pl.col("segments").list.len() == 0)["file_name"].to_list() == ["b/empty.jpg"]


def test_pandas_reads_types_that_do_not_change_with_what_is_missing(out: Path) -> None:
    table = pd.read_parquet(out / "segments")
    assert {name: str(table[name].dtype) for name in ("id", "score", "area")} == {
        "id": "int32", "score": "float64", "area": "int64",
    }  # fmt: skip
    assert table["score"].isna().sum() == 1


def test_datasets_open_the_folder(out: Path, tmp_path: Path) -> None:
    images = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path))
    assert isinstance(images.features["image"], datasets.Image)
    assert isinstance(images.features["mask"], datasets.Image)
    for row in images:
        scene = SCENES[row["file_name"]]
        assert np.array_equal(np.asarray(row["mask"]), scene.ids)
        assert row["image"].size == scene.ids.shape[::-1], "upright"
    [turned] = [row for row in images if row["file_name"] == TURNED]
    for segment in turned["segments"]:
        same(segment, TURNED)
    segments = datasets.load_dataset(str(out), "segments", split="train", cache_dir=str(tmp_path))
    assert len(segments) == SEGMENTS


def test_the_same_bytes_again(job: Job, out: Path, tmp_path: Path) -> None:
    job.export("parquet", tmp_path, copy_images=True, processes=1)
    assert files(tmp_path) == files(out)
    assert [*files(out)] == ["README.md", "export.json", "images/00000.parquet", "segments/00000.parquet"]


def test_files_of_so_many_images_have_their_segments_beside_them(job: Job, tmp_path: Path) -> None:
    job.export("parquet", tmp_path, images_per_file=4, processes=1)
    sizes = []
    for path in sorted((tmp_path / "images").iterdir()):
        images, segments = pq.read_table(path), pq.read_table(tmp_path / "segments" / path.name)
        sizes.append(len(images))
        assert "image" not in images.column_names
        numbers = [row["image_id"] for row in images.to_pylist() for _ in row["segments"]]
        assert segments["image_id"].to_pylist() == numbers
    assert sizes == [4, 4, 1]


def test_files_and_row_groups_are_bounded_by_bytes(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "BUFFERED_BYTES", 1)
    monkeypatch.setattr(tables, "GROUP_BYTES", 1)
    monkeypatch.setattr(parquet, "FILE_BYTES", 1)
    job.export("parquet", tmp_path, processes=1)
    files = sorted((tmp_path / "images").iterdir())
    assert [pq.read_metadata(path).num_rows for path in files] == [1] * len(SCENES)
    assert sum(pq.read_metadata(path).num_rows for path in (tmp_path / "segments").iterdir()) == SEGMENTS


def test_rows_are_compressed_in_groups_with_an_index(out: Path) -> None:
    group = pq.read_metadata(out / "images" / "00000.parquet").row_group(0)
    assert group.num_rows == len(SCENES)
    assert {group.column(n).compression for n in range(group.num_columns)} == {"ZSTD"}
    [number] = [column for n in range(group.num_columns) if (column := group.column(n)).path_in_schema == "image_id"]
    assert number.has_column_index
