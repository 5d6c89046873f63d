"""Whole jobs through real worker processes: what is stored, what fails, and that the account balances."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from maskmill import Client, Job, Settings
from maskmill.masks.segment_map import decode
from maskmill.schema import JobState, Outcome, Status
from maskmill.storage import keys
from maskmill.storage.store import Store
from tests.acceptance.images import write_broken, write_good
from tests.conftest import DEMO_SAMPLES
from tests.serving import serving

pytestmark = pytest.mark.attended

WAIT_SECONDS = 600


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A real web server over `tmp_path`."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def assert_every_image_has_one_outcome(job: Job, uris: list[str]) -> list[Outcome]:
    """Object by object: reports, metadata, masks and manifest all tell the same story."""
    outcomes = list(job.outcomes())
    manifest = job.manifest()
    assert manifest is not None
    assert Counter(outcome.uri for outcome in outcomes) == Counter(uris)
    assert manifest.submitted == manifest.counts.total == len(uris)
    assert manifest.counts.stored == sum(outcome.status is Status.STORED for outcome in outcomes)
    assert manifest.counts.failed == sum(outcome.status is Status.FAILED for outcome in outcomes)
    metadata = [
        Outcome.from_json(line)
        for shard in range(job.record().shards)
        for line in job.store.get(keys.metadata(job.id, shard)).splitlines()
    ]
    assert metadata == [outcome for outcome in outcomes if outcome.status is Status.STORED]
    for outcome in metadata:
        ids, header = decode(job.store.get(outcome.mask_key or ""))
        assert (ids.shape, header.segments) == ((outcome.height, outcome.width), outcome.segments)
        assert header.uri == outcome.uri
    return outcomes


def test_two_hundred_mixed_images_with_ten_broken_ones(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    good = write_good(folder / "good", 190)
    broken = write_broken(folder / "broken")
    gone = folder / "gone.jpg"
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(str(path) for path in [*good, *broken, gone]))

    job = client.submit(str(listed), model="demo", batch_size=8)
    manifest = job.wait(timeout=WAIT_SECONDS)

    outcomes = assert_every_image_has_one_outcome(job, [str(path) for path in [*good, *broken, gone]])
    assert manifest.state is JobState.COMPLETED_WITH_FAILURES
    assert (manifest.counts.stored, manifest.counts.failed) == (190, 10)
    codes = {Path(outcome.uri): outcome.code for outcome in outcomes if outcome.status is Status.FAILED}
    assert codes == broken | {gone: "not_found"}
    assert all(outcome.reason for outcome in job.failures())
    for result in list(job.results())[:25]:
        with Image.open(result.uri) as image:
            assert result.segment_map.shape == ImageOps.exif_transpose(image).size[::-1]


def test_one_job_takes_images_from_a_folder_a_list_the_web_and_a_bucket(
    client: Client, settings: Settings, tmp_path: Path, web: str
) -> None:
    local, *others = write_good(tmp_path / "pictures", 4)
    bucket = Store(f"s3://{settings.bucket}/{settings.prefix}-source", settings.s3)
    bucket.put("deep/down/scene.webp", others[1].read_bytes())
    table = tmp_path / "table.csv"
    table.write_text(f"id,picture\n1,pictures/{others[0].name}\n2,pictures/{others[2].name}\n")
    on_web = f"{web}/pictures/{others[0].name}"

    job = client.submit([str(local), on_web, f"{bucket.url}/", str(table)], column="picture", model="demo")
    job.wait(timeout=WAIT_SECONDS)

    expected = [str(local), on_web, f"{bucket.url}/deep/down/scene.webp", str(others[0]), str(others[2])]
    outcomes = assert_every_image_has_one_outcome(job, expected)
    assert all(outcome.status is Status.STORED for outcome in outcomes), [outcome.reason for outcome in outcomes]
    same_image = [result.segment_map for result in job.results() if others[0].name in result.uri]
    assert np.array_equal(*same_image)


def test_a_model_that_cannot_be_had_fails_every_image_with_that_reason(client: Client, tmp_path: Path) -> None:
    images = write_good(tmp_path / "few", 3)

    job = client.submit(str(tmp_path / "few"), model="nobody/no-such-model")
    manifest = job.wait(timeout=WAIT_SECONDS)

    assert manifest.counts.failed == len(images)
    assert manifest.failures == {"model_unavailable": 3}
    assert all("HF_ENDPOINT" in (outcome.reason or "") for outcome in job.failures())


def test_a_model_folder_that_is_no_segmentation_model_is_named_so(client: Client, tmp_path: Path) -> None:
    write_good(tmp_path / "few", 1)
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))

    job = client.submit(str(tmp_path / "few"), model=str(tmp_path / "bert"))
    job.wait(timeout=WAIT_SECONDS)

    [failure] = job.failures()
    assert failure.code == "model_unusable"


def test_jobs_with_two_models_share_one_worker(client: Client, tmp_path: Path) -> None:
    write_good(tmp_path / "few", 5)

    jobs = [client.submit(str(tmp_path / "few"), model="demo", threshold=value) for value in (0.5, 0.9)]
    counts = [job.wait(timeout=WAIT_SECONDS).counts.stored for job in jobs]

    assert counts == [5, 5]
    loose, strict = (sum(len(result.segments) for result in job.results()) for job in jobs)
    assert loose >= strict


def test_the_samples_shipped_with_the_project_are_all_segmented(client: Client) -> None:

    job = client.submit(str(DEMO_SAMPLES), model="demo")
    manifest = job.wait(timeout=WAIT_SECONDS)

    assert manifest.counts.stored == manifest.submitted >= 16
    assert len({result.segment_map.shape for result in job.results()}) >= 5
    assert sum(bool(result.segments) for result in job.results()) >= 0.9 * manifest.submitted


def test_what_was_decided_about_pictures_is_in_metadata_and_account(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "wide"
    folder.mkdir()
    ramp = np.tile(np.linspace(0, 4095, 96).astype(np.uint16), (72, 1))
    dim, pages, bands = folder / "dim.tif", folder / "pages.tif", folder / "bands.tif"
    tifffile.imwrite(dim, np.stack([ramp, ramp[::-1], ramp // 2], axis=-1), photometric="rgb")
    tifffile.imwrite(pages, np.zeros((30, 72, 96, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(bands, np.zeros((72, 96, 5), np.uint16), photometric="minisblack", planarconfig="contig")

    job = client.submit(str(folder), model="demo")
    manifest = job.wait(timeout=WAIT_SECONDS)
    scaled = client.submit(str(folder), model="demo", scale="0:4095", out=f"{job.out}-scaled")
    scaled_manifest = scaled.wait(timeout=WAIT_SECONDS)

    outcomes = {outcome.uri: outcome for outcome in job.outcomes()}
    assert_every_image_has_one_outcome(job, [str(path) for path in (bands, dim, pages)])
    assert outcomes[str(dim)].scale == (0, 65535)
    assert [warning.code for warning in outcomes[str(dim)].warnings or ()] == ["low_contrast"]
    assert [warning.reason for warning in outcomes[str(pages)].warnings or ()] == ["the first of 30 pages"]
    assert (manifest.warnings, manifest.failures) == ({"first_frame": 1, "low_contrast": 1}, {"unsupported": 1})
    assert job.status().warnings == manifest.warnings
    assert "--scale" in manifest.examples["low_contrast"].reason
    assert "choose three" in (outcomes[str(bands)].reason or "")
    assert scaled_manifest.warnings == {"first_frame": 1}
    assert {outcome.scale for outcome in scaled.outcomes()} == {(0, 4095), None}

    again = client.submit(str(folder), model="demo")
    assert again.wait(timeout=WAIT_SECONDS).warnings == manifest.warnings, "masks that are kept bring theirs"
    assert {outcome.status for outcome in again.outcomes()} == {Status.REUSED, Status.FAILED}
