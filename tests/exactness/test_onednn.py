"""Linear layers by oneDNN: where they are used, and that they are the stock ones."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskmill.schema import Spec
from maskmill_worker.model import fastest
from maskmill_worker.model.forward import StockForward, everything
from maskmill_worker.model.models import Models
from maskmill_worker.model.parts import onednn

timed: Callable[[int], bool] = onednn.is_faster.__wrapped__
"""As it is before the fixture that has oneDNN used everywhere, and not remembered."""


@pytest.mark.parametrize(("faster_by", "used"), [(onednn.TIMES_FASTER * 1.1, True), (1.0, False)])
def test_onednn_is_used_where_it_is_timed_to_be_faster(
    faster_by: float, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([faster_by, 1.0] * onednn.TRIALS)
    monkeypatch.setattr(onednn, "_seconds", lambda function: (function(), next(times))[1])
    assert timed(1) is used


def test_a_torch_without_onednn_keeps_its_own_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")

    monkeypatch.setattr(onednn, "product", absent)
    assert timed(1) is False


@torch.inference_mode()
def test_deterministic_jobs_have_the_same_bits_with_onednn_as_without(model_folder: Callable[[str], Path]) -> None:
    """Another machine may have timed it otherwise."""
    segmenter = Models("cpu").get(Spec(model=str(model_folder("upernet"))))
    inputs = fastest._noise(segmenter.pipeline, (64, 96))
    stock = StockForward(segmenter.pipeline.model)
    assert any(type(module) is onednn.Linear for module in segmenter._run.model.modules())
    torch.use_deterministic_algorithms(True)
    try:
        ours, theirs = segmenter._run(inputs, everything), stock(inputs, everything)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(one.logits, other.logits) for one, other in zip(ours, theirs, strict=True))


@torch.inference_mode()
def test_a_layer_takes_rows_of_any_shape_and_order() -> None:
    layer = nn.Linear(6, 4)
    rows = [torch.randn(5, 2, 3, 6).transpose(1, 2), torch.randn(6), torch.randn(3, 6)[:, :], torch.randn(0, 6)]
    expected = [layer(each) for each in rows]
    layer.__class__ = onednn.Linear
    for each, other in zip(rows, expected, strict=True):
        assert layer(each).shape == other.shape
        assert torch.allclose(layer(each), other, atol=1e-5)


def test_layers_too_small_to_gain_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "LEAST_WEIGHTS", 64 * 64)
    layers = nn.Sequential(nn.Linear(64, 63), nn.Linear(64, 64), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1))
    onednn.use(layers)
    assert [type(layer) for layer in layers] == [nn.Linear, onednn.Linear, nn.Conv2d, onednn.PointwiseConvolution]
