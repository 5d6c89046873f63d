"""Tar shards are read by `tarfile` and `datasets` here, by the library itself in tests/interop/with_webdataset.py."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from maskmill import Job
from maskmill.export import webdataset
from tests.exports.files import files
from tests.exports.scenes import SCENES


@pytest.fixture(scope="module")
def out(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job's two shards of images, of which the first has five, in tars of four."""
    out = tmp_path_factory.mktemp("webdataset") / "tars"
    account = job.export("webdataset", out, copy_images=True, images_per_file=4, processes=1)
    assert account.notes == {"turned_upright": 1}
    return out


def samples(path: Path) -> dict[str, dict[str, bytes]]:
    """The files of each sample, which stand beside each other."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            key, _, kind = member.name.partition(".")
            if key not in found:
                found[key] = {}
            assert [*found][-1] == key
            file = tar.extractfile(member)
            assert file
            found[key][kind] = file.read()
            assert (member.mtime, member.uid, member.uname, member.mode) == (0, 0, "", 0o644)
    return found


def test_tars_have_so_many_samples_whatever_the_shards_of_the_job(out: Path) -> None:
    tars = sorted(out.glob("*.tar"))
    assert [path.name for path in tars] == ["samples-000000.tar", "samples-000001.tar", "samples-000002.tar"]
    found = [samples(path) for path in tars]
    assert [len(each) for each in found] == [4, 4, 1]
    assert [key for each in found for key in each] == [f"{number:09d}" for number in range(len(SCENES))]
    assert {tuple(each) for some in found for each in some.values()} == {("jpg", "json", "seg.png")}


def test_maps_and_images_and_segments_are_the_scenes(out: Path) -> None:
    found = [each for path in sorted(out.glob("*.tar")) for each in samples(path).values()]
    for each, (name, scene) in zip(found, SCENES.items(), strict=True):
        described = json.loads(each["json"])
        ids = np.asarray(Image.open(io.BytesIO(each["seg.png"])))
        assert np.array_equal(ids, scene.ids)
        assert Path(described["file_name"]).stem == Path(name).stem
        assert Image.open(io.BytesIO(each["jpg"])).size == (described["width"], described["height"])
        assert (described["height"], described["width"]) == scene.ids.shape
        assert [
            (row["id"], row["label"], row["score"], row["area"], tuple(row["bbox"])) for row in described["segments"]
        ] == [(row.id, row.label, row.score, row.area, row.box) for row in scene.segments]


def test_datasets_reads_all_samples(out: Path, tmp_path: Path) -> None:
    found = datasets.load_dataset("webdataset", data_files=str(out / "*.tar"), split="train", cache_dir=str(tmp_path))
    assert len(found) == len(SCENES)
    for row, scene in zip(found, SCENES.values(), strict=True):
        assert row["jpg"].size == scene.ids.shape[::-1]
        assert np.array_equal(np.asarray(row["seg.png"]), scene.ids)
        assert len(row["json"]["segments"]) == len(scene.of)


def test_the_same_bytes_again(job: Job, out: Path, tmp_path: Path) -> None:
    job.export("webdataset", tmp_path, copy_images=True, images_per_file=4, processes=1)
    assert files(tmp_path) == files(out)


def test_without_copies_there_are_masks_alone_and_tars_are_bounded_by_bytes(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "MAX_BYTES", 1)
    job.export("webdataset", tmp_path, processes=1)
    found = [samples(path) for path in sorted(tmp_path.glob("*.tar"))]
    assert [len(each) for each in found] == [1] * len(SCENES)
    assert {tuple(each) for some in found for each in some.values()} == {("json", "seg.png")}
