"""A folder of results is read by `datasets`, pandas, Polars and DuckDB as it is, whatever the names and labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from maskmill import Client, Job
from maskmill.errors import InvalidRecord
from maskmill.jobs.account import close_job, commit_shard
from maskmill.jobs.records import read_references
from maskmill.masks.segment_map import MaskHeader, encode, narrowest, read_header
from maskmill.masks.stored import check_mask_of
from maskmill.schema import (
    FailureRow,
    ImageWarning,
    MaskRow,
    Outcome,
    Segment,
    ShardReport,
    Status,
    Subtask,
    outcome_in,
    utc_now,
)
from maskmill_producer import embedded
from maskmill_producer.local.mirror import mirror
from tests.conftest import settings_of

MASK_COLUMNS, FAILURE_COLUMNS = list(MaskRow.model_fields), list(FailureRow.model_fields)
SEGMENT_COLUMNS = tuple(each.name for each in fields(Segment))

ODD = (
    "a b",
    "кот",
    "100% #1?",
    "q'uo\"te",
    "back\\slash",
    "[x]*{a,b}",
    "..",
    "~",
    "line\u2028end",
    "new\nline",
    "a\x85b",
)
"""Names of images."""

LABELS = (
    "cat",
    'two\nlines\r\n "quoted" \\',
    "line\u2028end\x85",
    "half \ud800",
    "../../etc",
    "nul\x00",
    "",
    "<b>",
    17,
    2.5,
    None,
)
TEXTS = [
    "cat",
    'two\nlines\r\n "quoted" \\',
    "line\u2028end\x85",
    "half ?",
    "../../etc",
    "nul\x00",
    "",
    "<b>",
    "17",
    "2.5",
    "label 11",
]
"""The same in `metadata.jsonl`."""

EMPTY = 120
"""Images without any segment, with which the job begins: more than Polars looks at."""

SEGMENT_TYPES = {"id": pl.Int64, "label": pl.String, "label_id": pl.Int64, "score": pl.Float64, "area": pl.Int64,
                 "box": pl.List(pl.Int64)}  # fmt: skip
MASK_TYPES = dict.fromkeys(MASK_COLUMNS, pl.String) | {
    "width": pl.Int64, "height": pl.Int64, "schema_version": pl.Int64, "segments": pl.List(pl.Struct(SEGMENT_TYPES)),
}  # fmt: skip


@pytest.fixture(scope="module")
def module_client(servers: embedded.Servers) -> Client:
    return Client(settings_of(servers, shard_size=500))


def job_of(
    client: Client, names: Sequence[str], found: dict[str, Sequence[Segment]], failed: Sequence[str], folder: Path
) -> Job:
    """A job that has ended, with these segments of each image, in masks of 8 or 16 bits."""
    listed = folder / "list.jsonl"
    listed.write_text("".join(json.dumps({"uri": f"/photos/{name}.jpg"}) + "\n" for name in names))
    job = client.submit(listed, model="demo")
    fingerprint = job.record().spec.fingerprint()
    outcomes = []
    for name, reference in zip(names, read_references(job.store, job.id, 0), strict=True):
        if name in failed:
            outcomes.append(
                Outcome(uri=reference.uri, status=Status.FAILED, code="not_an_image", reason=f"{name}\n'\u2028")
            )
            continue
        segments = tuple(found.get(name, ()))
        ids = np.zeros((4, max(6, len(segments))), np.uint16)
        ids[0, : len(segments)] = [segment.id for segment in segments]
        header = MaskHeader(
            uri=reference.uri, fingerprint=fingerprint, subtask=Subtask.PANOPTIC, segments=segments, job=job.id
        )
        job.store.put(reference.mask_key, encode(narrowest(ids), header))
        odd = {"scale": (0.0, 65535.0), "warnings": (ImageWarning(code="first_frame", reason="the first\nof 30"),)}
        outcome = Outcome(
            uri=reference.uri,
            status=Status.STORED,
            mask_key=reference.mask_key,
            fingerprint=fingerprint,
            width=ids.shape[1],
            height=4,
            segments=segments,
            **(odd if name == names[-1] else {}),
        )
        outcomes.append(outcome)
    report = ShardReport(job=job.id, shard=0, attempt=1, worker="w", finished=utc_now(), outcomes=tuple(outcomes))
    commit_shard(client.services, job.out, report)
    close_job(client.services, job.id)
    return job


def segments_of(labels: Sequence[Any], *, score: float | None = 0.5) -> list[Segment]:
    return [
        Segment(id=n, label=label, label_id=n, score=score, area=1, box=(n - 1, 0, 1, 1))
        for n, label in enumerate(labels, 1)
    ]


@pytest.fixture(scope="module", params=["labels", "masks"])
def out(request: pytest.FixtureRequest, module_client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with odd names and labels, and with pictures that are no masks beside them."""
    folder = tmp_path_factory.mktemp("readers")
    names = [*(f"{n:03d}" for n in range(EMPTY)), *ODD, "many", "no", "last"]
    found = dict.fromkeys(ODD, segments_of(LABELS)) | {"many": segments_of(["cat"] * 300), "last": segments_of([8])}
    out = folder / request.param
    assert mirror(job_of(module_client, names, found, ["no"], folder), out).not_copied == 0
    (out / "overlays" / "photos").mkdir(parents=True)
    for picture in (out / "contact-sheet.png", out / "overlays" / "photos" / "000.jpg.jpg"):
        Image.new("RGB", (6, 4)).save(picture)
    return out


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Each line, taken apart at anything that Python takes for a line's end."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_line_has_every_column_in_the_same_order_and_of_one_type(out: Path) -> None:
    rows, failures = lines_of(out / "metadata.jsonl"), lines_of(out / "failures.jsonl")
    assert len(rows) == EMPTY + len(ODD) + 2
    assert {tuple(row) for row in rows} == {tuple(MASK_COLUMNS)}
    assert {tuple(segment) for row in rows for segment in row["segments"]} == {SEGMENT_COLUMNS}
    for name in MASK_COLUMNS:
        assert len({type(row[name]) for row in rows}) == 1, name
    assert [tuple(row) for row in failures] == [tuple(FAILURE_COLUMNS)]
    assert {row["schema_version"] for row in rows + failures} == {1}


def test_a_line_tells_what_the_job_does(out: Path) -> None:
    """To whom a mask is checked by it, too."""
    lines = (out / "metadata.jsonl").read_bytes().splitlines()
    told = [outcome_in(line) for line in lines]
    for outcome in told:
        file = out.parent / (outcome.mask_key or "") if out.name == "masks" else out / (outcome.mask_key or "")
        check_mask_of(read_header(file.read_bytes()), outcome)
    assert told[-1].warnings == (ImageWarning(code="first_frame", reason="the first\nof 30"),)
    assert (told[-1].scale, told[0].scale, told[0].warnings) == ((0.0, 65535.0), None, None)
    broken = lines[-1].replace(b"0.0:65535.0", b"dark:bright")
    with pytest.raises(InvalidRecord, match="not a MaskRow"):
        outcome_in(broken)


def test_labels_are_texts_and_file_names_lead_to_the_masks(out: Path) -> None:
    rows = lines_of(out / "metadata.jsonl")
    assert [
        each["label"] for row in rows if len(row["segments"]) == len(TEXTS) for each in row["segments"]
    ] == TEXTS * len(ODD)
    listed = {path.relative_to(out).as_posix() for path in out.rglob("*.png")} - {"contact-sheet.png"}
    assert {row["file_name"] for row in rows} == listed
    assert {row["uri"] for row in rows} > {f"/photos/{name}.jpg" for name in ("кот", "line\u2028end", "back\\slash")}
    assert {(row["scale"], row["warnings"]) for row in rows} == {
        ("", ""), ("0.0:65535.0", "first_frame: the first\nof 30"),
    }  # fmt: skip


def test_the_first_line_with_segments_leads_and_the_others_are_in_the_order_of_submission(out: Path) -> None:
    first, *others = lines_of(out / "metadata.jsonl")
    assert first["segments"]
    assert [row["uri"] for row in others[:EMPTY]] == [f"/photos/{n:03d}.jpg" for n in range(EMPTY)]
    assert others[-1]["uri"] == "/photos/last.jpg"


def test_polars(out: Path) -> None:
    for read in (pl.read_ndjson, lambda path: pl.scan_ndjson(path).collect()):
        table = read(out / "metadata.jsonl")
        assert dict(table.schema) == MASK_TYPES
        assert table.to_dicts() == lines_of(out / "metadata.jsonl")
    failures = pl.read_ndjson(out / "failures.jsonl")
    assert failures.to_dicts() == lines_of(out / "failures.jsonl")


@pytest.mark.parametrize("function", ["read_json", "read_ndjson"])
def test_duckdb(out: Path, function: str) -> None:
    table = duckdb.sql(f"SELECT * FROM {function}('{out}/metadata.jsonl')")
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    assert types == dict.fromkeys(MASK_COLUMNS, "VARCHAR") | {
        "width": "BIGINT", "height": "BIGINT", "schema_version": "BIGINT",
        "segments": 'STRUCT(id BIGINT, "label" VARCHAR, label_id BIGINT, score DOUBLE, area BIGINT, box BIGINT[])[]',
    }  # fmt: skip
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
    assert rows == lines_of(out / "metadata.jsonl")
    counted = f"SELECT s.label, count(*) FROM {function}('{out}/metadata.jsonl'), unnest(segments) AS _(s) GROUP BY ALL"
    assert dict(duckdb.sql(counted).fetchall())["cat"] == 300 + len(ODD)
    failures = duckdb.sql(f"SELECT * FROM {function}('{out}/failures.jsonl')")
    assert (failures.columns, {*map(str, failures.types[:-1])}) == (FAILURE_COLUMNS, {"VARCHAR"})


def test_pandas(out: Path) -> None:
    table = pd.read_json(out / "metadata.jsonl", lines=True)
    assert list(table.columns) == MASK_COLUMNS
    assert table.to_dict("records") == lines_of(out / "metadata.jsonl")
    assert {str(table[name].dtype) for name in ("width", "height", "schema_version")} == {"int64"}
    assert pd.read_json(out / "failures.jsonl", lines=True).to_dict("records") == lines_of(out / "failures.jsonl")


def imagefolder(cache: Path, **what: Any) -> Any:
    """The one split of the folder, read anew."""
    return datasets.load_dataset("imagefolder", cache_dir=str(cache), split="train", **what)


def test_imagefolder(out: Path, tmp_path: Path) -> None:
    found, rows = imagefolder(tmp_path, data_dir=str(out)), lines_of(out / "metadata.jsonl")
    assert found.column_names == ["image", *MASK_COLUMNS[1:]]
    assert found.remove_columns("image").to_list() == [{**row} for row in rows for _ in [row.pop("file_name")]]
    for each, row in zip(found, lines_of(out / "metadata.jsonl"), strict=True):
        ids = np.asarray(each["image"])
        assert (ids == np.asarray(Image.open(out / row["file_name"]))).all()
        assert sorted({*ids.ravel().tolist()} - {0}) == [segment["id"] for segment in each["segments"]]


def test_images_that_are_called_as_splits_are_read_by_the_metadata(module_client: Client, tmp_path: Path) -> None:
    job = job_of(module_client, ["train/a", "val2017/b", "test"], {"test": segments_of(["cat"])}, (), tmp_path)
    mirror(job, tmp_path / "labels")
    found = imagefolder(tmp_path / "cache", data_files=str(tmp_path / "labels" / "metadata.jsonl"))
    assert [len(each) for each in found["segments"]] == [0, 0, 1]


def test_segments_without_scores_are_read_too(module_client: Client, tmp_path: Path) -> None:
    names = [f"s{n}" for n in range(3)]
    job = job_of(module_client, names, dict.fromkeys(names[1:], segments_of(["sky", "sea"], score=None)), (), tmp_path)
    mirror(job, tmp_path / "labels")
    path = tmp_path / "labels" / "metadata.jsonl"
    rows = lines_of(path)
    assert {tuple(each) for row in rows for each in row["segments"]} == {SEGMENT_COLUMNS}
    assert pl.read_ndjson(path).to_dicts() == pd.read_json(path, lines=True).to_dict("records") == rows
    table = duckdb.sql(f"SELECT * FROM read_json('{path}')")
    assert [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()] == rows
    found = imagefolder(tmp_path / "cache", data_dir=str(path.parent))
    assert [[each["label"] for each in row] for row in found["segments"]] == [[], ["sky", "sea"], ["sky", "sea"]]
