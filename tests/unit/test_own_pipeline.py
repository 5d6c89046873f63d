"""Models with a pipeline of their own, as cut-out models have: run as it is when trusted, its masks stored."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from maskmill.errors import ModelUnusable, SegmentationFailed
from maskmill.schema import Spec
from maskmill_worker.model.forward import shape_of
from maskmill_worker.model.models import Models
from maskmill_worker.model.own_pipeline import segmentation_of
from maskmill_worker.model.segmenter import AtATime
from tests.own_model import write_own_model


@pytest.fixture
def folder(tmp_path: Path, modules_of_models: Path) -> Path:
    return write_own_model(tmp_path / "cut-out")


@pytest.fixture
def photograph() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    return Image.fromarray(pixels).resize((90, 60), Image.Resampling.BICUBIC)


def test_a_model_with_a_pipeline_of_its_own_gives_what_that_gives(folder: Path, photograph: Image.Image) -> None:
    stock = transformers.pipeline("image-segmentation", model=str(folder), trust_remote_code=True, device="cpu")
    matte = np.asarray(stock(photograph))
    segmenter = Models("cpu", trusted=[str(folder)]).get(Spec(model=str(folder), mask_threshold=0.5))

    inputs = pickle.loads(pickle.dumps(segmenter.preprocess(photograph)))  # as a loader process hands them over
    [outputs] = segmenter.forward(segmenter.collate([inputs]))
    result = segmenter.postprocess(outputs)

    assert shape_of(inputs) is None, "its images share no batch"
    assert segmenter.at_a_time is AtATime.BATCH
    assert (result.ids == (matte >= 128)).all()
    [segment] = result.segments
    assert (segment.label, segment.score, segment.area) == ("foreground", None, int((matte >= 128).sum()))


def test_its_pipeline_does_not_run_unless_it_is_trusted(folder: Path) -> None:
    with pytest.raises(ModelUnusable, match="MASKMILL_TRUSTED_MODELS"):
        Models("cpu").get(Spec(model=str(folder)))


def test_its_weights_are_checked_as_others_are(folder: Path) -> None:
    save_file({"layer.bias": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelUnusable, match=r"lacks weights of OwnNet: layer\.weight"):
        Models("cpu", trusted=[str(folder)]).get(Spec(model=str(folder)))


def test_it_has_no_subtasks(folder: Path) -> None:
    with pytest.raises(ModelUnusable, match="leave --subtask out"):
        Models("cpu", trusted=[str(folder)]).get(Spec.model_validate({"model": str(folder), "subtask": "semantic"}))


def half(left: int, right: int, mode: str = "L") -> Image.Image:
    image = Image.new("L", (4, 2), right)
    image.paste(left, (0, 0, 2, 2))
    if mode == "RGBA":
        cut_out = Image.new("RGBA", (4, 2), "white")
        cut_out.putalpha(image)
        return cut_out
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["L", "RGBA", "1"])
def test_a_matte_or_a_cut_out_is_a_mask_from_the_threshold_on(mode: str) -> None:
    result = segmentation_of(half(255, 0, mode), (2, 4), 0.5)
    assert result.ids.tolist() == [[1, 1, 0, 0]] * 2


@pytest.mark.parametrize(("threshold", "area"), [(0.0, 8), (0.5, 4), (1.0, 0)])
def test_the_mask_threshold_cuts_a_soft_matte(threshold: float, area: int) -> None:
    [segment] = segmentation_of(half(200, 60), (2, 4), threshold).segments
    assert segment.area == area


def test_a_list_of_segments_keeps_labels_and_scores_and_later_ones_cover_earlier_ones() -> None:
    parts = [
        {"label": "cat", "score": 0.9, "mask": half(255, 255)},
        {"label": "dog", "mask": half(255, 0)},
        {"label": "cat", "score": 0.8, "mask": half(0, 0)},
    ]
    result = segmentation_of(parts, (2, 4), 0.5)
    assert result.ids.tolist() == [[2, 2, 1, 1]] * 2
    found = [(each.label, each.label_id, each.score, each.area) for each in result.segments]
    assert found == [("cat", 0, 0.9, 4), ("dog", 1, None, 4), ("cat", 0, 0.8, 0)]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (Image.new("RGB", (4, 2)), "an image of mode RGB"),
        (np.zeros((2, 4)), "ndarray, not a mask"),
        (half(1, 1).resize((8, 8)), r"mask of \(8, 8\), not \(4, 2\)"),
        ([0.5], "float, not masks"),
        (None, "NoneType"),
    ],
)
def test_a_result_of_another_kind_fails_its_image_with_a_sentence(result: object, reason: str) -> None:
    with pytest.raises(SegmentationFailed, match=reason):
        segmentation_of(result, (2, 4), 0.5)
