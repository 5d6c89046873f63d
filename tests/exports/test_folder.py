"""A folder of results is exported as its job is, without a server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from maskmill import Client, Job, exit_codes
from maskmill.dataset.images import Dataset, ShardPlace
from maskmill.errors import UsageError
from maskmill.masks.segment_map import decode, encode
from maskmill.settings import Settings
from maskmill_producer import embedded
from maskmill_producer.cli.main import app
from maskmill_producer.local import folder_source
from maskmill_producer.local.folder_source import FolderSource
from maskmill_producer.local.mirror import mirror
from maskmill_producer.local.recorded import Recorded
from tests.conftest import settings_of
from tests.exports.files import files
from tests.exports.scenes import SCENES, Scene, made_job

WITHOUT_MASK = {"failed": 1}


@pytest.fixture(scope="module")
def mirrored(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folder") / "results"
    assert mirror(job, out).not_copied == 0
    return out


@pytest.fixture
def results(mirrored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to break, and no server anywhere."""
    monkeypatch.setenv("MASKMILL_BROKER_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    shutil.copytree(mirrored, tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("coco-instances", {}), ("parquet", {"copy_images": True}), ("label-studio", {}), ("cutout", {}),
        ("semantic", {}), ("webdataset", {}),
    ],
)  # fmt: skip
def test_it_gives_the_files_that_the_job_gives(
    form: str, options: dict[str, Any], job: Job, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_source, "LINES", 4)
    account = Recorded(results).export(form, tmp_path / "of-folder", processes=1, **options)
    assert (account.images, account.without_mask) == (len(SCENES), WITHOUT_MASK)
    job.export(form, tmp_path / "of-job", processes=1, **options)
    ours, theirs = files(tmp_path / "of-folder"), files(tmp_path / "of-job")
    plans = [json.loads(found.pop("export.json")) for found in (ours, theirs)]
    assert ours == theirs
    assert plans[0]["plan"].pop("contents")
    assert plans[0] == plans[1]


def test_two_processes_open_it_once_each(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_source, "LINES", 4)
    for processes in (1, 2):
        Recorded(results).export("masks", tmp_path / str(processes), processes=processes)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_the_command_takes_a_folder_that_is_called_masks(
    mirrored: Path, results: Path, tmp_path: Path, job: Job
) -> None:
    mirror(job, tmp_path / "masks")
    assert (tmp_path / "masks" / "metadata.jsonl").exists()
    done = CliRunner().invoke(
        app, ["export", str(tmp_path / "masks"), "--format", "semantic", "--out", str(tmp_path / "out"), "--json"]
    )
    assert (done.exit_code, json.loads(done.stdout)["images"]) == (0, len(SCENES))
    refused = CliRunner().invoke(
        app, ["export", str(results), "--format", "masks", "--out", str(tmp_path / "o"), "--from", "s3://b/o"]
    )
    assert (refused.exit_code, "--from is for a job's id" in refused.stderr) == (exit_codes.USAGE, True)


def test_masks_that_are_gone_or_others_cost_themselves_alone(results: Path, tmp_path: Path) -> None:
    root = json.loads((results / "job.json").read_bytes())["root"].lstrip("/")
    found = {path.name: path for path in (results / "masks").rglob("*.png")}
    found["small.png.png"].unlink()
    shutil.copy(found["whole.jpg.png"], found["empty.jpg.png"])
    found["many.png.png"].write_bytes(b"no mask")
    found["turned.jpg.png"].unlink()
    found["turned.jpg.png"].symlink_to("/etc/passwd")
    account = Recorded(results).export("semantic", tmp_path / "out", processes=1)
    assert sorted((Path(each.uri).name, each.code) for each in account.problems) == [
        ("empty.jpg", "mask_replaced"), ("many.png", "invalid_record"), ("small.png", "object_not_found"),
        ("turned.jpg", "object_not_found"),
    ]  # fmt: skip
    [broken] = (each for each in account.problems if each.code == "invalid_record")
    assert broken.reason.endswith("many.png.png cannot be read: not a whole PNG: it does not begin as one")
    assert account.images == len(SCENES) - 4
    assert root


@pytest.mark.parametrize("form", ["parquet", "label-studio"])
def test_a_mask_without_a_pixel_of_its_segment_costs_itself_alone(form: str, results: Path, tmp_path: Path) -> None:
    [small] = (results / "masks").rglob("small.png.png")
    ids, header = decode(small.read_bytes())
    small.write_bytes(encode(np.where(ids == 1, 0, ids).astype(np.uint8), header))
    account = Recorded(results).export(form, tmp_path / "out", processes=1)
    assert [(Path(each.uri).name, each.code) for each in account.problems] == [("small.png", "invalid_record")]
    assert account.images == len(SCENES) - 1


def test_images_whose_mask_was_not_downloaded_are_counted(results: Path, tmp_path: Path) -> None:
    lines = (results / "metadata.jsonl").read_bytes().splitlines(keepends=True)
    (results / "metadata.jsonl").write_bytes(b"".join(lines[:-2]))
    account = Recorded(results).export("masks", tmp_path / "out", processes=1)
    assert account.without_mask == WITHOUT_MASK | {"not_downloaded": 2}
    (results / "metadata.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(UsageError, match="holds another export"):
        Recorded(results).export("masks", tmp_path / "out", processes=1)


def test_labels_that_are_no_texts_are_told_from_no_other(servers: embedded.Servers, tmp_path: Path) -> None:
    scene = SCENES["a/small.png"]
    odd = Scene(scene.ids, scene.of, {0: None, 1: 17})
    job = made_job(Client(settings_of(servers)), (tmp_path / "images").resolve(), {"a.png": odd})
    mirror(job, tmp_path / "results")
    account = Recorded(tmp_path / "results").export("masks", tmp_path / "out", processes=1)
    assert (account.images, account.problems) == (1, ())
    rows = [json.loads(line) for line in (tmp_path / "out" / "masks.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["label 0", "17"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("metadata.jsonl", "metadata.jsonl is gone"), ("failures.jsonl", "failures.jsonl is gone"),
        ("manifest.json", "are not complete"), ("job.json", "has no job.json"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(name: str, says: str, results: Path, tmp_path: Path) -> None:
    (results / name).unlink()
    with pytest.raises(UsageError, match=says):
        Recorded(results).export("masks", tmp_path / "out")


def test_classes_are_optional(results: Path) -> None:
    (results / "classes.json").unlink()
    source = FolderSource.open(Settings(), results)
    assert source.labels == {}
    assert [image.name for image in Dataset(source).images_at(ShardPlace(0))] == [*SCENES]
    (results / "classes.json").write_text("[]")
    with pytest.raises(UsageError, match=r"classes.json is not one of Maskmill's files"):
        FolderSource.open(Settings(), results)
