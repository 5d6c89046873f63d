"""Every kind of source through a real worker: the same picture gets the same mask wherever it lies."""

from __future__ import annotations

import base64
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill import Client
from maskmill.schema import Counts, Outcome
from tests.acceptance.images import jpeg

pytestmark = pytest.mark.attended

WAIT_SECONDS = 600
IMAGE = jpeg((96, 64))


def write_sources(folder: Path) -> list[str]:
    """The picture in a folder, two archives, a table and a list, beside entries that give none."""
    photos = folder / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(IMAGE)
    (photos / "notes.md").write_text("no image")
    (photos / ".a.jpg").write_bytes(IMAGE)
    (photos / "loop.jpg").symlink_to("loop.jpg")
    (folder / "scan").write_bytes(IMAGE)
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        archive.writestr("../b.jpg", IMAGE)
    with tarfile.open(folder / "x.tar", "w") as tar:
        tar.add(photos / "a.jpg", "deep/c.jpg")
    rows = [{"bytes": IMAGE, "path": "d.jpg"}, {"bytes": IMAGE, "path": None}]
    pq.write_table(pa.table({"image": rows}), folder / "x.parquet")
    address = f"data:image/jpeg;base64,{base64.b64encode(IMAGE).decode()}"
    urls = ["photos/a.jpg", "./photos/../photos/a.jpg", None, address]
    listed = [json.dumps({"url": url}) for url in urls]
    (folder / "x.jsonl").write_text("\n".join([*listed[:2], '{"other": 1}', *listed[2:]]))
    (folder / "letter.docx").write_bytes(b"PK\x03\x04")
    return ["photos", "scan", "x.zip", "x.tar", "x.parquet", "x.jsonl", "letter.docx"]


def short(outcome: Outcome) -> str:
    return outcome.uri.rpartition("/")[2] if not outcome.uri.startswith("data:") else "data"


def test_all_kinds_of_sources_in_one_job(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = client.submit(write_sources(tmp_path), model="demo")
    manifest = job.wait(WAIT_SECONDS)

    assert manifest.counts == Counts(stored=7, failed=2)
    assert manifest.left_out == {
        "hidden": 1,
        "not_an_image_name": 1,
        "duplicate": 2,
        "empty": 1,
        "unknown_kind": 1,
    }
    assert (manifest.found, manifest.submitted) == (15, 9)
    failures = {short(each): (each.code, each.reason) for each in job.failures()}
    assert failures["x.jsonl#row=3"] == ("unlisted", "the row has no column 'url'")
    assert failures["loop.jpg"][0] == "fetch_failed"
    results = list(job.results())
    keys = sorted(result.mask_key for result in results if not result.uri.startswith("data:"))
    odd = [key for key in keys if "~" in key]
    assert [key for key in keys if key not in odd] == [
        "masks/photos/a.jpg.png",
        "masks/scan.png",
        "masks/x.parquet!/image/0.png",
        "masks/x.parquet!/image/1.png",
        "masks/x.tar!/deep/c.jpg.png",
    ]
    assert [key.partition("~")[0] for key in odd] == ["masks/x.zip!/_/b.jpg"]
    for result in results:
        assert np.array_equal(result.segment_map, results[0].segment_map), result.uri
    assert not (tmp_path.parent / "b.jpg").exists()

    again = client.submit([str(tmp_path / "x.zip"), "x.tar", "x.parquet", "x.jsonl"], model="demo")
    assert again.wait(WAIT_SECONDS).counts == Counts(reused=6, failed=1)
