"""Label Studio itself: takes our interface and tasks by its API, gives back each mask as it was, and the images."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import stamina
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image, ImageOps

from maskmill import Job
from maskmill_producer.embedded.ports import free_ports
from tests.exports.scenes import SCENES

REQUIRES = ("label-studio>=1.23,<2",)
APART = True
"""Its redis is older than Celery's and ours."""

TOKEN = "0123456789abcdef0123456789abcdef01234567"
START_SECONDS = 600
"""Its database is made first, in 30 s of a whole core."""


@pytest.fixture(scope="module")
def studio(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server of the module's own, which may show what lies beside the images."""
    folder, [port] = tmp_path_factory.mktemp("label-studio"), free_ports(1)
    command = [Path(sys.executable).with_name("label-studio"), "start", "--no-browser", "--enable-legacy-api-token"]
    options = {
        "data-dir": folder, "internal-host": "127.0.0.1", "port": port, "username": "me@example.org",
        "password": "not-a-secret", "user-token": TOKEN,
    }  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(images.parent),
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
    }
    words = [*map(str, command), *(str(each) for name, value in options.items() for each in (f"--{name}", value))]
    headers = {"Authorization": f"Token {TOKEN}"}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(words, stdout=log, stderr=log, env=environment) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=120) as client,
    ):
        try:
            for attempt in stamina.retry_context(on=httpx.TransportError, attempts=None, timeout=START_SECONDS):
                with attempt:
                    assert server.poll() is None, (folder / "log").read_text(errors="replace")[-2000:]
                    client.get("/health").raise_for_status()
            yield client
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(30)
            server.kill()


@pytest.fixture(scope="module")
def project(studio: httpx.Client, job: Job, images: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """A project with our interface, the folder of the images, and all tasks."""
    out = tmp_path_factory.mktemp("tasks") / "tasks"
    job.export("label-studio", out, image_root=f"/data/local-files/?d={images.name}", images_per_file=4, processes=1)
    config = (out / "label_config.xml").read_text(encoding="utf-8")
    made: int = asked(studio.post("/api/projects", json={"title": "made", "label_config": config}))["id"]
    storage = {"project": made, "path": str(images), "use_blob_urls": True}
    asked(studio.post("/api/storages/localfiles", json=storage))
    files = sorted(out.glob("tasks-*.json"))
    assert len(files) > 1
    counts = [
        asked(studio.post(f"/api/projects/{made}/import", json=json.loads(file.read_bytes())))["prediction_count"]
        for file in files
    ]
    assert sum(counts) == len(SCENES)
    return made


def asked(response: httpx.Response) -> Any:
    assert response.is_success, response.text[:2000]
    return response.json()


def tasks(studio: httpx.Client, project: int) -> dict[int, dict[str, Any]]:
    found = asked(studio.get("/api/tasks", params={"project": project, "page_size": 100, "fields": "all"}))["tasks"]
    return {each["id"]: each["data"] for each in found}


def test_each_mask_comes_back_pixel_by_pixel(studio: httpx.Client, project: int) -> None:
    data = tasks(studio, project)
    predictions = asked(studio.get("/api/predictions", params={"project": project}))
    assert sorted(data[each["task"]]["name"] for each in predictions) == sorted(SCENES)
    for each in predictions:
        scene = SCENES[data[each["task"]]["name"]]
        assert len(each["result"]) == len(scene.segments)
        for region, segment in zip(each["result"], scene.segments, strict=True):
            alpha = decode_rle(region["value"]["rle"]).reshape(*scene.ids.shape, 4)[..., 3]
            assert np.array_equal(alpha == 255, scene.ids == segment.id)
            assert (region["value"]["brushlabels"], region.get("score")) == ([segment.title], segment.score)


def test_each_image_is_shown_in_the_size_of_its_mask(studio: httpx.Client, project: int) -> None:
    for data in tasks(studio, project).values():
        response = studio.get(data["image"])
        assert response.is_success, data
        with Image.open(io.BytesIO(response.content)) as image:
            upright = ImageOps.exif_transpose(image)
            assert (upright.height, upright.width) == SCENES[data["name"]].ids.shape
