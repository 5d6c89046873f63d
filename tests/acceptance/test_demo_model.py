"""The shipped model keeps its promise on scenes that it has never seen, measured by the full job."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.quality import Panoptic, panoptic_quality
from demo.scenes import HELD_OUT_SEEDS, Scene, generate_scene
from maskmill import Client, Result

BAR = 0.80
MAX_BYTES = 8 * 2**20
WAIT_SECONDS = 600
MODEL = Path(__file__).parents[2] / "worker" / "maskmill_worker" / "demo_model"


def predicted(result: Result) -> Panoptic:
    return Panoptic(result.segment_map.astype("int32"), {segment.id: segment.label for segment in result.segments})


@pytest.mark.attended
def test_panoptic_quality_on_two_hundred_held_out_scenes(client: Client, tmp_path: Path) -> None:
    scenes: dict[str, Scene] = {}
    for seed in HELD_OUT_SEEDS:
        path = tmp_path / "scenes" / f"{seed}.png"
        path.parent.mkdir(exist_ok=True)
        scenes[str(path)] = generate_scene(seed)
        scenes[str(path)].image.save(path)

    job = client.submit(str(tmp_path / "scenes"), model="demo", batch_size=8)
    job.wait(timeout=WAIT_SECONDS)

    pairs = [(scenes[result.uri].panoptic, predicted(result)) for result in job.results()]
    assert len(pairs) == len(HELD_OUT_SEEDS) == 200
    quality = panoptic_quality(pairs)
    print(f"panoptic quality {quality:.4f}")
    assert quality >= BAR


def test_the_demo_model_ships_as_safetensors_with_its_image_processor_within_eight_megabytes() -> None:
    names = {path.name for path in MODEL.iterdir()}

    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= MAX_BYTES
