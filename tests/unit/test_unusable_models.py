"""What is no segmentation model, or not a whole one, is refused with its reason and the cure; never run with noise."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers as hf
from PIL import Image
from safetensors.torch import load_file, save_file

from maskmill.errors import ModelUnusable
from maskmill.schema import Spec, Subtask
from maskmill_worker.model.models import Models
from maskmill_worker.model.segmenter import Segmenter

Weights = dict[str, torch.Tensor]

LABELS = 8


def segformer(**changes: object) -> hf.SegformerConfig:
    return hf.SegformerConfig(
        depths=[1] * 4,
        hidden_sizes=[8, 16, 32, 32],
        num_attention_heads=[1, 2, 4, 4],
        decoder_hidden_size=32,
        num_labels=LABELS,
        **changes,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SegFormer."""
    folder = tmp_path_factory.mktemp("whole")
    hf.SegformerForSemanticSegmentation(segformer()).save_pretrained(folder)
    hf.SegformerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def load(folder: Path, **spec: object) -> Segmenter:
    return Models("cpu").get(Spec.model_validate({"model": str(folder), **spec}))


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(change(weights), folder / "model.safetensors", metadata={"format": "pt"})


def configure(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def without_head(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if "classifier" not in name}


def test_a_whole_model_is_taken(folder: Path) -> None:
    assert load(folder).subtask is Subtask.SEMANTIC


# Weights that do not fill the model


def test_a_model_without_its_head_is_refused_with_the_names_that_are_missing(folder: Path) -> None:
    rewrite(folder, without_head)
    with pytest.raises(ModelUnusable, match=r"lacks weights of Segfor.*: decode_head\.classifier\.bias.*--allow"):
        load(folder)


def test_an_encoder_alone_is_refused(folder: Path) -> None:
    hf.SegformerForImageClassification(segformer()).save_pretrained(folder)
    with pytest.raises(ModelUnusable, match=r"\(it has classifier\.bias, classifier\.weight instead\)"):
        load(folder)


def test_names_with_a_wrapper_s_prefix_are_refused_with_the_cure(folder: Path) -> None:
    rewrite(folder, lambda weights: {f"module.{name}": value for name, value in weights.items()})
    with pytest.raises(ModelUnusable, match=r"save `model\.module`"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused(folder: Path, dtype: torch.dtype) -> None:
    def spoilt(weights: Weights) -> Weights:
        weights = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}
        weights["decode_head.classifier.weight"][3] = float("nan")
        return weights

    rewrite(folder, spoilt)
    with pytest.raises(ModelUnusable, match=r"no numbers \(NaN\): decode_head\.classifier\.weight"):
        load(folder, allow_missing_weights=True)


def test_weights_of_other_sizes_are_refused_with_both(folder: Path) -> None:
    configure(folder, id2label={str(n): f"x{n}" for n in range(150)}, label2id={})
    with pytest.raises(ModelUnusable, match=r"classifier\.bias is \(8,\), its config\.json wants \(150,\)"):
        load(folder)


def test_weights_that_only_training_uses_may_be_missing(folder: Path) -> None:
    rewrite(folder, lambda weights: {k: v for k, v in weights.items() if "num_batches_tracked" not in k})
    assert load(folder)


def test_who_asks_for_it_gets_random_weights_and_the_same_in_each_process(folder: Path) -> None:
    rewrite(folder, without_head)
    first, second = (load(folder, allow_missing_weights=True).pipeline.model.state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_missing_weights_that_were_allowed_for_one_job_are_not_for_the_next(folder: Path) -> None:
    rewrite(folder, without_head)
    models = Models("cpu")
    assert models.get(Spec(model=str(folder), allow_missing_weights=True))
    with pytest.raises(ModelUnusable):
        models.get(Spec(model=str(folder)))


# Broken files


def test_weights_that_are_cut_off_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(ModelUnusable, match="broken or cut off"):
        load(folder)


@pytest.mark.parametrize("data", [b"", b"no pickle", pickle.dumps({"a": print})], ids=["empty", "text", "objects"])
def test_a_pickle_that_is_none_or_holds_more_than_tensors_is_refused(folder: Path, data: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(data)
    with pytest.raises(ModelUnusable, match=r"pytorch_model|pickle|weights"):
        load(folder)


def test_a_shard_that_is_missing_is_named(folder: Path) -> None:
    hf.SegformerForSemanticSegmentation(segformer()).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    next(folder.glob("model-00002-*.safetensors")).unlink()
    with pytest.raises(ModelUnusable, match="model-00002-of"):
        load(folder)


# Models of other tasks


def saved(folder: Path, model: hf.PreTrainedModel) -> Path:
    model.save_pretrained(folder)
    hf.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("sam", "mask generation"),
        ("sam2", "mask generation"),
        ("clipseg", "wants a text"),
        ("owlv2", "wants a text"),
        ("bert", "no model of image segmentation"),
        ("yolo12", "does not know"),
        ("", "no model_type"),
    ],
)
def test_a_model_of_another_task_is_told_what_it_is_before_its_weights_are_read(
    folder: Path, kind: str, sentence: str
) -> None:
    configure(folder, model_type=kind, architectures=["SomeModel"])
    (folder / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(ModelUnusable, match=sentence):
        load(folder)


def test_a_classifier_of_a_known_kind_is_no_segmentation_model(tmp_path: Path) -> None:
    config = hf.ViTConfig(**TINY, image_size=32, patch_size=8)
    with pytest.raises(ModelUnusable, match=r"no model of image segmentation .ViTForImageClassification"):
        load(saved(tmp_path, hf.ViTForImageClassification(config)))


def test_a_model_whose_class_is_not_named_is_told_which_one_to_write_down(folder: Path) -> None:
    configure(folder, model_type="mask2former", architectures=None)
    with pytest.raises(ModelUnusable, match='"Mask2FormerForUniversalSegmentation"'):
        load(folder)


def test_a_subtask_that_the_model_lacks_is_answered_with_those_it_has(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"never read")
    with pytest.raises(ModelUnusable, match="no panoptic segmentation: --subtask semantic"):
        load(folder, subtask="panoptic")


def test_a_model_without_an_image_processor_is_told_how_to_name_one(folder: Path, whole: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelUnusable, match="--image-processor"):
        load(folder)
    assert load(folder, image_processor=str(whole))


def test_an_image_processor_of_an_unknown_kind_is_told_in_a_sentence(folder: Path, whole: Path) -> None:
    """Also that it is the image processor's fault, where that is another one than the model's."""
    found = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(found | {"image_processor_type": "Turbo"}))
    told = rf"'{folder}' has an image processor that transformers does not know .*: name one with --image-processor"
    with pytest.raises(ModelUnusable, match=told):
        load(folder)
    with pytest.raises(ModelUnusable, match=told):
        load(whole, image_processor=str(folder))


def test_a_gap_in_the_labels_fails_the_images_that_have_the_label_and_no_others(folder: Path) -> None:
    """As in the stock pipeline; a probe of noise says nothing about it."""
    names = {str(n): f"x{n}" for n in range(LABELS)}
    del names["3"]
    configure(folder, id2label=names | {"90": "toothbrush"}, label2id={})
    segmenter = load(folder)
    assert segmenter.preprocess(Image.new("RGB", (64, 64)))
