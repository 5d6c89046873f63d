"""The WebDataset library reads every sample, and ids above 255 where masks are decoded as docs/exports.md says."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image

from maskmill import Job
from tests.exports.scenes import SCENES

REQUIRES = ("webdataset>=1.0,<2",)


def test_all_samples_are_read_with_their_ids(job: Job, tmp_path: Path) -> None:
    job.export("webdataset", tmp_path, copy_images=True, images_per_file=4, processes=1)
    tars = [str(path) for path in sorted(tmp_path.glob("*.tar"))]
    ids_of = webdataset.handle_extension("seg.png", lambda data: np.asarray(Image.open(io.BytesIO(data))))
    found = list(webdataset.WebDataset(tars, shardshuffle=False).decode(ids_of, "pil"))
    assert [sample["json"]["file_name"].rpartition(".")[0] for sample in found] == [
        name.rpartition(".")[0] for name in SCENES
    ]
    for sample, scene in zip(found, SCENES.values(), strict=True):
        assert np.array_equal(sample["seg.png"], scene.ids)
        assert sample["jpg"].size == scene.ids.shape[::-1]
        assert [each["id"] for each in sample["json"]["segments"]] == [*scene.of]
