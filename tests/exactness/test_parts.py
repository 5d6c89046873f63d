"""The faster parts of models against the stock ones, where they could come apart, and the check that sees it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor, nn
from transformers.models.mask2former import modeling_mask2former
from transformers.models.oneformer import modeling_oneformer
from transformers.models.segformer import modeling_segformer

from maskmill.schema import Spec
from maskmill_worker.model import fastest
from maskmill_worker.model.fastest import forward_of
from maskmill_worker.model.forward import StockForward, everything
from maskmill_worker.model.models import Models
from maskmill_worker.model.parts import changes, deformable, faster, onednn, segformer
from maskmill_worker.model.segmenter import Segmenter

from .families import FAMILIES, OTHERS, is_here

ModelFolder = Callable[[str], Path]

TOLERANCE = 5e-4
"""Of an output's spread: these models' heads are scaled up until float noise (the order of sums) shows."""

HERE = [family for family in (*FAMILIES.values(), *OTHERS.values()) if is_here(family)]
CHANGED = ["mask2former", "mask2former-resnet", "oneformer", "segformer", "segformer-150"]
"""Families that have parts of their own; the others have linear layers."""

SHAPES = [(1, 96, 128), (3, 97, 131), (2, 64, 33)]


@pytest.fixture
def segmenter_of(model_folder: ModelFolder) -> Callable[..., Segmenter]:
    return lambda family, **parameters: Models("cpu").get(Spec(model=str(model_folder(family)), **parameters))


def warnings(logs: list[Any]) -> list[Any]:
    return [each for each in logs if each["event"] == "stock_forward_used"]


@torch.inference_mode()
def assert_like_stock(segmenter: Segmenter, shape: tuple[int, int, int]) -> None:
    images, *size = shape
    generator = torch.Generator().manual_seed(7)
    inputs: dict[str, Any] = fastest._noise(segmenter.pipeline, tuple(size))
    inputs = {
        name: value[:1].expand(images, *value.shape[1:]) for name, value in inputs.items() if torch.is_tensor(value)
    }
    inputs |= {"pixel_values": torch.randn(images, 3, *size, generator=generator), "target_size": [(1, 1)] * images}
    ours, stock = (run(inputs, everything) for run in (segmenter._run, StockForward(segmenter.pipeline.model)))
    for one, other in zip(ours, stock, strict=True):
        for name in set(fastest.READ) & set(other):
            assert torch.allclose(one[name], other[name], rtol=0, atol=TOLERANCE * float(other[name].std())), name


@pytest.mark.parametrize("family", [family.name for family in HERE])
def test_every_family_has_a_faster_forward_that_passes_its_check(
    family: str, segmenter_of: Callable[..., Segmenter]
) -> None:
    """With oneDNN for every linear layer (see conftest), whatever this machine is fastest with."""
    with capture_logs() as logs:
        segmenter = segmenter_of(family)
    assert segmenter._run.model is not segmenter.pipeline.model, logs
    assert not warnings(logs)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("family", CHANGED)
def test_outputs_of_any_batch_and_size_equal_the_stock_ones(
    family: str, shape: tuple[int, int, int], segmenter_of: Callable[..., Segmenter]
) -> None:
    assert_like_stock(segmenter_of(family), shape)


def wrong_halves(places: Tensor, size: Tensor) -> Any:
    before, after = right_parts(places, size)
    return before, 1 - after


right_parts = deformable._parts


@pytest.mark.parametrize(
    ("family", "where", "name", "wrong"),
    [
        ("mask2former", deformable, "_parts", wrong_halves),
        ("oneformer", deformable, "_parts", wrong_halves),
        ("segformer", segformer.FoldedHead, "forward", lambda self, states: states[0].new_zeros(2, 8, 16, 24)),
        ("beit", onednn, "product", lambda rows, weight, bias: nn.functional.linear(rows, weight * 1.01, bias)),
        ("mobilevit", onednn.PointwiseConvolution, "forward", lambda self, x: self._conv_forward(x, self.weight, x[0])),
    ],
)
def test_a_part_that_disagrees_is_not_used_and_one_line_says_so(
    family: str,
    where: Any,
    name: str,
    wrong: Any,
    segmenter_of: Callable[..., Segmenter],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(where, name, wrong)
    with capture_logs() as logs:
        segmenter = segmenter_of(family)
    assert segmenter._run.model is segmenter.pipeline.model
    [warning] = warnings(logs)
    assert warning["model"] == type(segmenter.pipeline.model).__name__
    assert warning["reason"]


def test_a_mask_that_flips_by_chance_is_forgiven_and_one_that_always_does_is_not(
    segmenter_of: Callable[..., Segmenter], monkeypatch: pytest.MonkeyPatch
) -> None:
    for noises_that_differ, is_stock in ((fastest.NOISES - 1, False), (fastest.NOISES, True)):
        answers = iter(["by much"] * noises_that_differ + [None] * 9)
        monkeypatch.setattr(fastest, "_difference_for", lambda *_, answers=answers: next(answers))
        segmenter = segmenter_of("mask2former")
        assert (segmenter._run.model is segmenter.pipeline.model) is is_stock


def test_an_output_that_is_missing_is_a_difference() -> None:
    with pytest.raises(KeyError):
        fastest._difference([{"logits": torch.ones(2)}], [{"logits": torch.ones(2), "pred_masks": torch.ones(2)}])  # type: ignore[list-item]


def test_a_model_that_takes_no_noise_runs_the_stock_way(
    segmenter_of: Callable[..., Segmenter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "_own_sizes", lambda _: [])
    segmenter = segmenter_of("dpt")
    assert segmenter._run.model is segmenter.pipeline.model


def test_the_copy_shares_the_weights_and_leaves_the_model_as_it_was(segmenter_of: Callable[..., Segmenter]) -> None:
    segmenter = segmenter_of("mask2former")
    model, ours = segmenter.pipeline.model, segmenter._run.model
    kinds = {type(module) for module in model.modules()}
    assert not kinds & {onednn.Linear, onednn.PointwiseConvolution, deformable.SummedSamples}
    assert deformable.SummedSamples in {type(module) for module in ours.modules()}
    theirs, mine = ({each.untyped_storage().data_ptr() for each in one.parameters()} for one in (model, ours))
    assert mine <= theirs


def test_half_precision_has_the_stock_parts(segmenter_of: Callable[..., Segmenter]) -> None:
    assert faster(segmenter_of("mask2former", dtype="bfloat16").pipeline.model) is None


def test_what_is_compiled_has_the_stock_parts(segmenter_of: Callable[..., Segmenter]) -> None:
    pipeline = segmenter_of("segformer").pipeline
    assert forward_of(pipeline, compiled=True).model is pipeline.model


def test_every_part_is_one_of_the_installed_transformers() -> None:
    """A class that a release renames has no faster form any more: this says so."""
    families = (modeling_mask2former, modeling_oneformer, modeling_segformer)
    assert set(changes.CHANGES) <= {name for each in families for name in vars(each)}
