"""From what an image processor's functions give to segments; and whether ours may take their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from maskmill.schema import Subtask
from maskmill_worker.model.fastest import postprocess_of
from maskmill_worker.model.forward import Outputs
from maskmill_worker.model.postprocess import Segments, StockPostProcess, check, families, mismatch, postprocess_for
from maskmill_worker.model.postprocess.stock import from_labels, from_segments

from .test_postprocess import LABELS, SERVED, outputs_of, processors

QUERIES = 12


@pytest.fixture(scope="module")
def processor_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    return processors(tmp_path_factory.mktemp("classes"))


def info(segment_id: int, label_id: int, score: float = 0.5) -> dict[str, Any]:
    return {"id": segment_id, "label_id": label_id, "score": score, "was_fused": False}


def test_segments_are_numbered_from_1_in_the_processor_s_order() -> None:
    raw = torch.tensor([[7, 7, 3], [3, 3, 0]])
    segments = from_segments(raw, [info(7, 1, 0.9), info(3, 0, 0.8), info(0, 2, 0.7)])
    assert segments.ids.tolist() == [[1, 1, 2], [2, 2, 3]]
    assert segments.found == [(1, 1, 0.9), (0, 2, 0.8), (2, 3, 0.7)]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float32])
def test_pixels_of_no_segment_become_0(dtype: torch.dtype) -> None:
    assert from_segments(torch.tensor([[-1, 5], [4, 0]], dtype=dtype), [info(5, 1)]).ids.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("fill", [-1, 0, 9])
def test_an_image_without_segments_is_all_0(fill: int) -> None:
    segments = from_segments(torch.full((2, 3), fill), [])
    assert segments.ids.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert segments.found == []


def test_a_segment_that_has_no_pixel_left_is_kept() -> None:
    assert from_segments(torch.tensor([[1, 1]]), [info(1, 1), info(12, 2)]).found == [(1, 1, 0.5), (2, 2, 0.5)]


def test_semantic_segments_have_the_label_plus_one_as_id_and_no_score() -> None:
    segments = from_labels(torch.tensor([[2, 2], [0, 2]]))
    assert segments.ids.tolist() == [[3, 3], [1, 3]]
    assert segments.found == [(0, 1, None), (2, 3, None)]


# Ours, checked against the stock functions when a model is loaded

Change = Callable[[Segments], Segments]


def dull_outputs(family: str, dtype: torch.dtype = torch.float32) -> Outputs:
    """As a model gives them for noise: no object anywhere, and every mask empty."""
    generator = torch.Generator().manual_seed(0)
    logits = 0.1 * torch.randn(QUERIES, LABELS + 1, generator=generator)
    logits[:, -1] += 20
    masks = 0.1 * torch.nn.functional.interpolate(
        torch.randn(1, QUERIES, 4, 6, generator=generator), size=(32, 48), mode="bicubic"
    )
    return outputs_of(family, logits.to(dtype), (masks[0] - 20).to(dtype))


def chosen_is_ours(processor: Any, subtask: Subtask, outputs: Outputs) -> bool:
    return not isinstance(postprocess_of(processor, subtask, outputs), StockPostProcess)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "subtask"), SERVED, ids=[f"{f}-{s}" for f, s in SERVED])
def test_every_function_that_is_known_passes(
    family: str, subtask: Subtask, dtype: torch.dtype, processor_of: Callable[[str], Any]
) -> None:
    assert chosen_is_ours(processor_of(family), subtask, dull_outputs(family, dtype))


@pytest.mark.parametrize(("family", "subtask"), SERVED, ids=[f"{f}-{s}" for f, s in SERVED])
def test_what_is_compared_has_segments(
    family: str, subtask: Subtask, processor_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def counted(function: Any, *arguments: Any) -> Segments:
        segments: Segments = function(*arguments)
        seen.append(len(segments.found))
        return segments

    monkeypatch.setattr(check, "_result", counted)
    assert chosen_is_ours(processor_of(family), subtask, dull_outputs(family))
    assert len(seen) == 2 * len(check.TRIALS)
    assert min(seen) >= 1, seen
    assert max(seen) >= 2, seen


def shifted(segments: Segments) -> Segments:
    return replace(segments, ids=segments.ids.roll(5, dims=1))


def reordered(segments: Segments) -> Segments:
    return replace(segments, found=segments.found[::-1])


def relabelled(segments: Segments) -> Segments:
    return replace(segments, found=[(label + 1, number, score) for label, number, score in segments.found])


def rescored(segments: Segments) -> Segments:
    return replace(segments, found=[(label, n, (score or 0) + 0.01) for label, n, score in segments.found])


def transposed(segments: Segments) -> Segments:
    return replace(segments, ids=segments.ids.T)


def empty(segments: Segments) -> Segments:
    return Segments(torch.zeros_like(segments.ids), [])


def failing(_: Segments) -> Segments:
    raise ValueError("another version of transformers")


@pytest.mark.parametrize("change", [shifted, reordered, relabelled, rescored, transposed, empty, failing])
@pytest.mark.parametrize(
    ("family", "subtask"),
    [("detr", Subtask.PANOPTIC), ("maskformer", Subtask.INSTANCE), ("segformer", Subtask.SEMANTIC)],
)
def test_a_function_that_gives_something_else_is_not_used(
    family: str,
    subtask: Subtask,
    change: Change,
    processor_of: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    processor = processor_of(family)
    name = type(processor).__name__
    right = families.FUNCTIONS[name][subtask]

    def wrong(*arguments: Any) -> Segments:
        return change(right(*arguments))

    monkeypatch.setitem(families.FUNCTIONS, name, {subtask: wrong})  # type: ignore[misc]
    assert not chosen_is_ours(processor, subtask, dull_outputs(family))
    assert "stock_postprocess_used" in capsys.readouterr().out


@pytest.mark.parametrize("limit", ["threshold", "mask_threshold", "overlap_mask_area_threshold"])
def test_a_function_that_does_without_a_threshold_is_not_used(
    limit: str, processor_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = processor_of("maskformer")
    right = families.FUNCTIONS["MaskFormerImageProcessor"][Subtask.PANOPTIC]

    def wrong(processor: Any, outputs: Outputs, size: Any, thresholds: Any) -> Segments:
        return right(processor, outputs, size, replace(thresholds, **{limit: 0.0}))

    monkeypatch.setitem(families.FUNCTIONS, "MaskFormerImageProcessor", {Subtask.PANOPTIC: wrong})  # type: ignore[misc]
    assert not chosen_is_ours(processor, Subtask.PANOPTIC, dull_outputs("maskformer"))


def test_one_that_is_wrong_for_large_images_alone_is_not_used(
    processor_of: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(planes: Tensor, scale: Tensor | None, grid: Any) -> Any:
        return right(planes.flip(0), scale, grid)

    right = families.Planes.winners.__globals__["cells"].winners
    monkeypatch.setattr("maskmill_worker.model.postprocess.cells.winners", wrong)
    assert not chosen_is_ours(processor_of("segformer"), Subtask.SEMANTIC, dull_outputs("segformer"))


@pytest.mark.parametrize("subtask", [Subtask.PANOPTIC, Subtask.INSTANCE])
def test_eomt_refuses_patches_as_the_stock_functions_do(subtask: Subtask) -> None:
    """Otherwise the first patch's masks would be stretched over the whole image."""
    processor = hf.EomtImageProcessor(size={"shortest_edge": 24, "longest_edge": None}, do_split_image=True)
    ours = postprocess_for(processor, subtask)
    assert ours is not None
    patches = Outputs(
        class_queries_logits=torch.randn(2, QUERIES, LABELS + 1),
        masks_queries_logits=torch.randn(2, QUERIES, 12, 12),
        patch_offsets=[[0, 0, 24], [0, 6, 30]],
    )
    for function in (ours, StockPostProcess(processor, subtask)):
        with pytest.raises(IndexError):
            function(patches, (24, 30), families.Thresholds())
    assert mismatch(ours, StockPostProcess(processor, subtask), patches) is None
    careless = partial(lambda outputs, size, _: Segments(torch.zeros(size), []))
    assert "IndexError" in (mismatch(careless, StockPostProcess(processor, subtask), patches) or "")
