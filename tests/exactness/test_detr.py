"""DETR's fast forward against the stock model, where they could come apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DetrForSegmentation

from maskmill_worker.model.detr import DetrForward
from maskmill_worker.model.fastest import FAST, forward_of
from maskmill_worker.model.forward import Keep, above, everything
from maskmill_worker.model.frozen_norms import folded

from .small_models import QUERIES

TOLERANCE = 5e-4
"""Of the masks' spread: this model's head is scaled up until float noise (the order of sums) shows."""


@pytest.fixture(scope="module")
def model(model_folder: Callable[[str], Path]) -> DetrForSegmentation:
    return DetrForSegmentation.from_pretrained(model_folder("detr")).eval()


def noise(images: int, height: int, width: int) -> dict[str, Any]:
    pixels = torch.randn(images, 3, height, width, generator=torch.Generator().manual_seed(7))
    return {"pixel_values": pixels, "pixel_mask": torch.ones(images, height, width, dtype=torch.long)}


def kept_of(*rows: list[int]) -> Tensor:
    """A mask (B, Q) of the queries listed for each image."""
    kept = torch.zeros(len(rows), QUERIES, dtype=torch.bool)
    for image, queries in enumerate(rows):
        kept[image, queries] = True
    return kept


@torch.inference_mode()
def assert_like_stock(model: DetrForSegmentation, inputs: dict[str, Any], keep: Keep) -> None:
    stock = model(**inputs)
    kept = keep(stock.logits)
    sizes = [(1, 1)] * len(kept)
    ours = DetrForward(model)({**inputs, "target_size": sizes}, keep)
    assert [each.target_size for each in ours] == [[size] for size in sizes]
    for image, each in enumerate(ours):
        masks = stock.pred_masks[image][kept[image]]
        assert each.pred_masks.shape == (1, *masks.shape)
        assert torch.allclose(each.logits[0], stock.logits[image][kept[image]], atol=TOLERANCE)
        assert torch.allclose(each.pred_masks[0], masks, atol=TOLERANCE * float(stock.pred_masks.std()))


@pytest.mark.parametrize("shape", [(96, 128), (97, 131), (64, 33), (224, 96)], ids=str)
@pytest.mark.parametrize("images", [1, 3, 8])
def test_masks_of_all_queries_equal_the_stock_ones(
    model: DetrForSegmentation, images: int, shape: tuple[int, int]
) -> None:
    assert_like_stock(model, noise(images, *shape), everything)


def test_images_may_keep_none_few_and_all_of_their_queries(model: DetrForSegmentation) -> None:
    kept = kept_of([], [3, 5], list(range(QUERIES)), [], [0])
    assert_like_stock(model, noise(5, 96, 128), lambda _: kept)


def test_a_batch_may_keep_nothing(model: DetrForSegmentation) -> None:
    kept = kept_of([], [])
    assert_like_stock(model, noise(2, 96, 128), lambda _: kept)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0])
def test_queries_are_kept_by_their_scores(model: DetrForSegmentation, threshold: float) -> None:
    assert_like_stock(model, noise(3, 96, 128), above(threshold))


def test_padding_is_attended_to_as_by_the_stock_model(model: DetrForSegmentation) -> None:
    inputs = noise(2, 96, 128)
    inputs["pixel_mask"][0, 64:] = 0
    assert_like_stock(model, inputs, everything)


def test_masks_are_the_same_in_parts(model: DetrForSegmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmill_worker.model.detr.MAX_MASK_PIXELS", 3 * 24 * 32)
    assert_like_stock(model, noise(2, 96, 128), everything)


def test_what_is_kept_is_what_post_processing_would_keep() -> None:
    logits = torch.tensor([[[9.0, 0, 0], [0, 0, 9.0], [1.0, 0, 0], [0, 9.0, 0]]])
    assert above(0.9)(logits).tolist() == [[True, False, False, True]]
    assert above(1.0)(logits).tolist() == [[False] * 4]
    assert above(0.0)(logits).tolist() == [[True, False, True, True]]


def test_the_original_backbone_is_left_as_it_was(model: DetrForSegmentation) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    DetrForward(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_folding_leaves_a_norm_that_follows_no_convolution() -> None:
    class FrozenBatchNorm2d(nn.Module):
        pass

    module = nn.Sequential(nn.ReLU(), FrozenBatchNorm2d())
    assert isinstance(folded(module)[1], FrozenBatchNorm2d)


class Loaded:
    """What `forward_of` asks of a pipeline."""

    def __init__(self, model: DetrForSegmentation) -> None:
        self.model, self.device, self.dtype, self.tokenizer = model, model.device, model.dtype, None


def test_a_model_that_computes_something_else_runs_the_stock_way(model: DetrForSegmentation) -> None:
    class Other(DetrForSegmentation):
        pass

    other = Other(model.config).eval()
    assert not isinstance(forward_of(Loaded(other)), DetrForward)


def test_a_fast_forward_that_disagrees_is_not_used(model: DetrForSegmentation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(forward_of(Loaded(model)), DetrForward)
    monkeypatch.setattr(
        "maskmill_worker.model.detr.functional.interpolate", lambda x, size, mode: x.new_zeros(*x.shape[:2], *size)
    )
    assert not isinstance(forward_of(Loaded(model)), DetrForward)


def test_a_fast_forward_is_compared_without_tf32_and_used_as_torch_is_set(
    model: DetrForSegmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TF32's rounding in a GPU's convolutions, torch's default, is as large as what a wrong forward might change."""
    allowed = []

    class Watched(DetrForward):
        def __call__(self, *arguments: Any) -> Any:
            allowed.append(torch.backends.cudnn.allow_tf32)
            return super().__call__(*arguments)

    monkeypatch.setitem(FAST, DetrForSegmentation, Watched)
    assert isinstance(forward_of(Loaded(model)), Watched)
    assert set(allowed) == {False}
    assert torch.backends.cudnn.allow_tf32
