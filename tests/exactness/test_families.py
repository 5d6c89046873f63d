"""The suite's own ground: its models find several segments, firmly; its comparison tells outputs apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from .compare import Segment, assert_same_output, stock_output, stock_pipeline
from .families import CASES, FAMILIES

NOISE_STD = 1e-5
"""Well above what batching changes in the logits' inputs."""

ModelFolder = Callable[[str], Path]


@pytest.mark.parametrize(("family", "subtask"), [case for case in CASES if case[1]])
def test_stock_pipeline_finds_segments_of_several_labels(
    family: str, subtask: str, model_folder: ModelFolder, photograph_paths: dict[str, Path]
) -> None:
    parameters = FAMILIES[family].parameters
    folder = model_folder(family)

    outputs = [stock_output(folder, path, subtask, **parameters) for path in photograph_paths.values()]

    several = sum(_visible(output) >= 2 for output in outputs)
    labels = {segment["label"] for output in outputs for segment in output}
    assert several >= len(outputs) / 2
    assert len(labels) >= 2


@pytest.mark.parametrize("family", [family for family, subtask in CASES if subtask is None])
def test_the_default_subtask_is_the_first_that_is_served(
    family: str, model_folder: ModelFolder, photograph_paths: dict[str, Path]
) -> None:
    folder, photograph = model_folder(family), photograph_paths["motorcycle.jpg"]
    first = FAMILIES[family].subtasks[1]

    default = stock_output(folder, photograph, **FAMILIES[family].parameters)

    assert_same_output(default, stock_output(folder, photograph, first, **FAMILIES[family].parameters), family)


def _visible(output: list[Segment]) -> int:
    """How many segments have a mask that is neither empty nor full."""
    return sum(segment["mask"].getextrema() == (0, 255) for segment in output)


@pytest.mark.parametrize("family", FAMILIES)
def test_float_noise_in_the_input_moves_no_segment(
    family: str, model_folder: ModelFolder, photograph_paths: dict[str, Path]
) -> None:
    folder, subtask = model_folder(family), FAMILIES[family].subtasks[-1]
    parameters = FAMILIES[family].parameters | {"subtask": subtask}

    for name in ("china.jpg", "chelsea_exif_rotated.jpg", "astronaut_rgba.png"):
        noisy = _output_under_noise(folder, photograph_paths[name], parameters)
        assert_same_output(noisy, stock_output(folder, photograph_paths[name], **parameters), name)


def _output_under_noise(folder: Path, photograph: Path, parameters: dict[str, Any]) -> list[Segment]:
    pipe = stock_pipeline(folder)
    inputs = pipe.preprocess(str(photograph), subtask=parameters["subtask"])
    generator = torch.Generator().manual_seed(0)
    inputs["pixel_values"] += NOISE_STD * torch.randn(inputs["pixel_values"].shape, generator=generator)
    return pipe.postprocess(pipe.forward(inputs), **parameters)


def test_writing_a_family_again_gives_the_same_files(model_folder: ModelFolder, tmp_path: Path) -> None:
    first = model_folder("segformer")

    again = FAMILIES["segformer"].write(tmp_path / "again")

    assert {path.name: path.read_bytes() for path in again.iterdir()} == {
        path.name: path.read_bytes() for path in first.iterdir()
    }


def test_photographs_have_mixed_sizes_modes_and_formats(photograph_paths: dict[str, Path]) -> None:
    images = [Image.open(path) for path in photograph_paths.values()]

    assert [image.size for image in images].count((640, 427)) == 4
    assert len({image.size for image in images}) >= 5
    assert {image.mode for image in images} == {"RGB", "L", "RGBA"}
    assert {image.format for image in images} == {"JPEG", "PNG"}


def _segment(label: str = "sky", score: float | None = 0.95, flipped: int = 0) -> Segment:
    """A segment on a 100 by 100 image that is on in its left half, but for some flipped pixels."""
    mask = Image.new("L", (100, 100))
    mask.paste(255, (0, 0, 50, 100))
    for column in range(flipped):
        mask.putpixel((column, 0), 0)
    return {"label": label, "score": score, "mask": mask}


def test_comparison_accepts_small_differences() -> None:
    assert_same_output([_segment(score=0.95009, flipped=10)], [_segment()], "image")
    assert_same_output([_segment(score=None)], [_segment(score=None)], "image")
    assert_same_output([], [], "image")


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        pytest.param([], "labels", id="missing segment"),
        pytest.param([_segment("water")], "labels", id="other label"),
        pytest.param([_segment(score=0.9502)], "score", id="other score"),
        pytest.param([_segment(score=None)], "score None", id="no score"),
        pytest.param([_segment(flipped=11)], "99.8900%", id="other mask"),
    ],
)
def test_comparison_refuses_differences(ours: list[Segment], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        assert_same_output(ours, [_segment()], "image")
