"""Each faster part by itself against the stock one, where they could come apart."""

from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn
from transformers.models.mask2former import modeling_mask2former
from transformers.models.segformer.modeling_segformer import SegformerDecodeHead

from maskmill_worker.model.parts import changes, deformable, onednn, segformer


@pytest.mark.parametrize("spread", [0.1, 1.0, 30.0])
@torch.inference_mode()
def test_samples_inside_on_and_far_beyond_the_border_are_the_stock_ones(spread: float) -> None:
    torch.manual_seed(3)
    stock = modeling_mask2former.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(32, 4, 3, 4).eval()
    nn.init.normal_(stock.sampling_offsets.weight, std=spread)
    shapes = [(3, 5), (1, 1), (9, 4)]
    pixels = sum(height * width for height, width in shapes)
    padded = torch.rand(2, pixels) < 0.2
    references = torch.rand(2, pixels, 3, 2)
    references[:, :3] = torch.tensor([0.0, 0.5, 1.0])[:, None, None]
    inputs = {
        "hidden_states": torch.randn(2, pixels, 32),
        "attention_mask": padded,
        "encoder_hidden_states": torch.randn(2, pixels, 32),
        "position_embeddings": torch.randn(2, pixels, 32),
        "reference_points": references,
        "spatial_shapes_list": shapes,
    }
    expected, expected_weights = stock(**inputs)
    stock.__class__ = deformable.SummedSamples
    found, weights = stock(**inputs)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.equal(weights, expected_weights)


def decode_head(**options: Any) -> SegformerDecodeHead:
    config = hf.SegformerConfig(hidden_sizes=[8, 16, 24, 32], decoder_hidden_size=20, num_labels=7, **options)
    head = SegformerDecodeHead(config).eval()
    for parameter in (*head.batch_norm.parameters(), head.batch_norm.running_mean):
        nn.init.normal_(parameter)
    nn.init.uniform_(head.batch_norm.running_var, 0.5, 2)
    return head


@torch.inference_mode()
def test_a_folded_head_has_the_norm_s_statistics_and_each_stage_s_own_weights() -> None:
    torch.manual_seed(0)
    head = decode_head()
    states = [
        torch.randn(2, channels, 12 // times, 20 // times) for channels, times in ((8, 1), (16, 2), (24, 3), (32, 4))
    ]
    expected = head(states)
    segformer.fold_head(head)
    assert type(head) is segformer.FoldedHead
    assert torch.allclose(head(states), expected, atol=1e-5)
    assert head(states).is_contiguous()


def test_a_head_whose_last_stage_has_no_shape_stays_as_it_is() -> None:
    head = decode_head(reshape_last_stage=False)
    segformer.fold_head(head)
    assert type(head) is SegformerDecodeHead


def test_a_class_of_somebody_else_with_a_known_name_is_left_alone() -> None:
    namesake = type("SegformerDecodeHead", (nn.Module,), {})
    assert changes._change(namesake()) is None
    assert changes._change(decode_head()) is not None


def test_a_model_of_somebody_else_s_code_keeps_all_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may rely on what its layers are, and what it does with noise is not for us to find out."""
    monkeypatch.setattr(onednn, "is_faster", lambda _threads: True)
    small = {"hidden_sizes": [4, 4, 4, 8], "depths": [1] * 4, "num_attention_heads": [1] * 4}
    config = hf.SegformerConfig(num_labels=2, decoder_hidden_size=64, **small)
    own = hf.SegformerForSemanticSegmentation(config)
    assert changes.faster(own) is not None
    own.__class__ = type("Trusted", (hf.SegformerForSemanticSegmentation,), {})
    assert changes.faster(own) is None
