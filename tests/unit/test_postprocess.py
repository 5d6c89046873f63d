"""Post-processing by families against the stock `post_process_*` of real image processors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from maskmill.schema import Subtask
from maskmill_worker.model.forward import Outputs
from maskmill_worker.model.postprocess import Found, Thresholds, cells, planes, postprocess_for
from maskmill_worker.model.postprocess.axis import Size
from tests.torch_threads import torch_threads

LABELS, QUERIES = 5, 7
SQUARE = {"shortest_edge": 48, "longest_edge": 48}
NARROW = {"shortest_edge": 24, "longest_edge": None}
SIZES: dict[str, tuple[Size, Size]] = {
    "up": ((16, 20), (61, 83)),
    "up a little": ((16, 20), (17, 39)),
    "down": ((16, 20), (7, 9)),
    "up and down": ((16, 20), (47, 9)),
    "the same": ((16, 20), (16, 20)),
    "from one sample": ((1, 1), (9, 5)),
    "to one pixel": ((5, 4), (1, 1)),
}
KINDS = ("smooth", "saturated", "tied", "constant")
THRESHOLDS = {
    "defaults": Thresholds(),
    "everything": Thresholds(0.0, 0.0, 0.0),
    "half": Thresholds(0.0, 0.5, 0.5),
    "mask 1": Thresholds(0.3, 1.0, 0.8),
    "all 1": Thresholds(1.0, 1.0, 1.0),
}
FAMILIES = {
    "detr": hf.DetrImageProcessor,
    "detr-pil": hf.DetrImageProcessorPil,
    "conditional-detr": hf.ConditionalDetrImageProcessor,
    "maskformer": hf.MaskFormerImageProcessor,
    "mask2former": hf.Mask2FormerImageProcessor,
    "mask2former-pil": hf.Mask2FormerImageProcessorPil,
    "oneformer": hf.OneFormerImageProcessor,
    "oneformer-pil": hf.OneFormerImageProcessorPil,
    "eomt": hf.EomtImageProcessor,
    "segformer": hf.SegformerImageProcessor,
    "beit": hf.BeitImageProcessor,
    "dpt": hf.DPTImageProcessor,
    "mobilevit": hf.MobileViTImageProcessor,
    "mobilenet": hf.MobileNetV2ImageProcessor,
}


@pytest.fixture(scope="module")
def processor_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The image processor of a family, from its constructor."""
    return processors(tmp_path_factory.mktemp("classes"))


def processors(folder: Path) -> Callable[[str], Any]:
    """By the family's name; the folder is for what one of them reads."""
    names = {str(index): {"name": str(index), "isthing": index % 2} for index in range(LABELS)}
    (folder / "classes.json").write_text(json.dumps(names), encoding="utf-8")
    arguments: dict[str, dict[str, Any]] = {
        "oneformer": {"repo_path": str(folder), "class_info_file": "classes.json", "num_text": QUERIES},
        "eomt": {"size": SQUARE},
    }
    return cache(lambda name: FAMILIES[name](**arguments.get(name.removesuffix("-pil"), {})))


@pytest.fixture(params=["planes", "cells"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small maps go both ways, and in as many parts as large ones."""
    monkeypatch.setattr(planes, "FEW_VALUES", 0 if request.param == "cells" else 2**30)
    monkeypatch.setattr(planes, "CHUNK_VALUES", 10_000)
    monkeypatch.setattr(cells, "SLAB_VALUES", 500)
    monkeypatch.setattr(cells, "CHUNK_VALUES", 1_000)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def volume(kind: str, number: int, samples: Size, seed: int = 0) -> Tensor:
    """Planes (K × h × w) of logits."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(number, *samples, generator=generator)
    coarse = torch.randn(1, max(number, 1), 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=samples, mode="bicubic")[0, :number]
    return {
        "smooth": 6 * smooth,
        "noisy": noise,
        "saturated": 200 * smooth,
        "tied": noise.round(),
        "constant": torch.zeros_like(noise),
    }[kind]


def outputs_of(family: str, logits: Tensor, masks: Tensor) -> Outputs:
    """Class logits (Q × C+1) and masks (Q × h × w) as the family's model names them, a batch of one."""
    if "detr" in family:
        return Outputs(logits=logits[None], pred_masks=masks[None])
    if family.startswith(("mask", "one", "eomt")):
        return Outputs(class_queries_logits=logits[None], masks_queries_logits=masks[None], patch_offsets=[])
    return Outputs(logits=masks[None])


def class_logits(queries: int, seed: int = 0) -> Tensor:
    return 4 * torch.randn(queries, LABELS + 1, generator=torch.Generator().manual_seed(seed))


def stock(
    processor: Any, outputs: Outputs, size: Size, subtask: Subtask, thresholds: Thresholds
) -> tuple[Tensor, list[Found]]:
    """What the processor's own function gives: ids from 1 in the order of its segments, and those."""
    copied = Outputs({name: v.clone() if torch.is_tensor(v) else v for name, v in outputs.items()})
    post_process = getattr(processor, f"post_process_{subtask}_segmentation")
    if subtask is Subtask.SEMANTIC:
        labels = post_process(copied, target_sizes=[size])[0]
        return labels + 1, [(label, label + 1, None) for label in labels.unique().tolist()]
    accepted = {"threshold": thresholds.threshold}
    if not (type(processor) is hf.EomtImageProcessor and subtask is Subtask.INSTANCE):
        accepted["mask_threshold"] = thresholds.mask_threshold
        accepted["overlap_mask_area_threshold"] = thresholds.overlap_mask_area_threshold
    result = post_process(copied, target_sizes=[size], **accepted)[0]
    ids = torch.zeros(size, dtype=torch.int64)
    for number, info in enumerate(result["segments_info"], 1):
        ids[result["segmentation"] == info["id"]] = number
    return ids, [(info["label_id"], n, info["score"]) for n, info in enumerate(result["segments_info"], 1)]


def assert_stock(processor: Any, outputs: Outputs, size: Size, subtask: Subtask, thresholds: Thresholds) -> None:
    """Equal maps and segments; scores may round to another sixth digit, as EoMT sums up all masks at once."""
    ours = postprocess_for(processor, subtask)
    assert ours is not None
    segments = ours(outputs, size, thresholds)
    ids, found = stock(processor, outputs, size, subtask, thresholds)
    assert [each[:2] for each in segments.found] == [each[:2] for each in found]
    for (*_, ours_score), (*_, stock_score) in zip(segments.found, found, strict=True):
        assert ours_score == stock_score or abs(ours_score - stock_score) < 2e-6
    assert segments.ids.shape == size
    assert torch.equal(segments.ids.long(), ids)


def served(family: str) -> list[Subtask]:
    return [subtask for subtask in Subtask if hasattr(FAMILIES[family], f"post_process_{subtask}_segmentation")]


SERVED = [(family, subtask) for family in FAMILIES for subtask in served(family)]
ONCE = [(f, s) for f, s in SERVED if not f.endswith("-pil") and f not in ("beit", "dpt", "mobilevit", "mobilenet")]
"""Without those whose functions are the same but for their names."""
each_class = pytest.mark.parametrize(("family", "subtask"), SERVED, ids=[f"{f}-{s}" for f, s in SERVED])
each_family = pytest.mark.parametrize(("family", "subtask"), ONCE, ids=[f"{f}-{s}" for f, s in ONCE])
Processors = Callable[[str], Any]


@each_family
@pytest.mark.parametrize("sizes", SIZES)
def test_maps_of_every_size_are_the_stock_ones(
    family: str, subtask: Subtask, sizes: str, processor_of: Processors
) -> None:
    samples, size = SIZES[sizes]
    for seed, kind in enumerate(KINDS):
        outputs = outputs_of(family, class_logits(QUERIES, seed), volume(kind, QUERIES, samples, seed))
        assert_stock(processor_of(family), outputs, size, subtask, THRESHOLDS["half"])


@each_class
@pytest.mark.parametrize("sizes", ["up", "up and down"])
def test_every_known_class_is_met(family: str, subtask: Subtask, sizes: str, processor_of: Processors) -> None:
    samples, size = SIZES[sizes]
    outputs = outputs_of(family, class_logits(QUERIES), volume("smooth", QUERIES, samples))
    assert_stock(processor_of(family), outputs, size, subtask, THRESHOLDS["half"])


@each_family
@pytest.mark.parametrize("thresholds", THRESHOLDS)
def test_every_threshold_acts_as_in_the_stock_functions(
    family: str, subtask: Subtask, thresholds: str, processor_of: Processors
) -> None:
    for seed, kind in enumerate(["saturated", "tied"]):
        outputs = outputs_of(family, class_logits(QUERIES, seed), volume(kind, QUERIES, (9, 11), seed))
        assert_stock(processor_of(family), outputs, (31, 45), subtask, THRESHOLDS[thresholds])


@each_family
@pytest.mark.parametrize("queries", [1, 40])
def test_any_number_of_queries_gives_the_stock_map(
    family: str, subtask: Subtask, queries: int, processor_of: Processors
) -> None:
    outputs = outputs_of(family, class_logits(queries), volume("noisy", queries, (9, 11)))
    assert_stock(processor_of(family), outputs, (31, 45), subtask, THRESHOLDS["everything"])


@pytest.mark.parametrize(("family", "subtask"), [("detr", Subtask.PANOPTIC), ("segformer", Subtask.SEMANTIC)])
def test_more_labels_than_a_byte_holds_give_the_stock_map(
    family: str, subtask: Subtask, processor_of: Processors
) -> None:
    outputs = outputs_of(family, class_logits(300), volume("noisy", 300, (9, 11)))
    assert_stock(processor_of(family), outputs, (31, 45), subtask, THRESHOLDS["everything"])


@pytest.mark.parametrize("family", ["detr", "detr-pil", "conditional-detr"])
@pytest.mark.parametrize("subtask", [Subtask.PANOPTIC, Subtask.INSTANCE])
def test_detr_without_a_query_left_has_no_segment(family: str, subtask: Subtask, processor_of: Processors) -> None:
    outputs = outputs_of(family, class_logits(0), volume("noisy", 0, (9, 11)))
    assert_stock(processor_of(family), outputs, (31, 45), subtask, Thresholds())


def test_queries_that_were_chosen_before_give_the_same_segments(processor_of: Processors) -> None:
    logits, masks, thresholds = class_logits(40), volume("smooth", 40, (9, 11)), Thresholds(0.9, 0.1, 0.0)
    scores, labels = logits.softmax(-1).max(-1)
    kept = (labels != LABELS) & (scores > thresholds.threshold)
    ours = postprocess_for(processor_of("detr"), Subtask.PANOPTIC)
    assert ours is not None
    pruned = ours(outputs_of("detr", logits[kept], masks[kept]), (31, 45), thresholds)
    whole = ours(outputs_of("detr", logits, masks), (31, 45), thresholds)
    assert 0 < len(pruned.found) < 40
    assert pruned.found == whole.found
    assert torch.equal(pruned.ids, whole.ids)


@pytest.mark.parametrize("size", [(30, 61), (61, 30), (24, 24)])
def test_patches_of_eomt_are_merged_as_in_the_stock_function(size: Size) -> None:
    processor = hf.EomtImageProcessor(size=NARROW, do_split_image=True)
    image = torch.zeros(3, *size, dtype=torch.uint8)
    offsets = processor(image, return_tensors="pt")["patch_offsets"]
    patches = len(offsets)
    outputs = Outputs(
        class_queries_logits=torch.stack([class_logits(QUERIES, seed) for seed in range(patches)]),
        masks_queries_logits=torch.stack([volume("smooth", QUERIES, (12, 12), seed) for seed in range(patches)]),
        patch_offsets=offsets,
    )
    assert_stock(processor, outputs, size, Subtask.SEMANTIC, Thresholds())


@each_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_half_precision_gives_the_stock_map(
    family: str, subtask: Subtask, dtype: torch.dtype, processor_of: Processors
) -> None:
    outputs = outputs_of(family, class_logits(QUERIES).to(dtype), volume("smooth", QUERIES, (9, 11)).to(dtype))
    assert_stock(processor_of(family), outputs, (31, 45), subtask, THRESHOLDS["half"])


# Which processors are known


class Changed(hf.DetrImageProcessor):
    """A subclass may have functions of its own."""


@pytest.mark.parametrize("subtask", Subtask)
@pytest.mark.parametrize("processor", [Changed(), hf.YolosImageProcessor(), object()])
def test_processors_of_other_classes_keep_their_own_functions(processor: Any, subtask: Subtask) -> None:
    assert postprocess_for(processor, subtask) is None


@pytest.mark.parametrize("subtask", [Subtask.PANOPTIC, Subtask.INSTANCE])
def test_a_subtask_that_a_processor_does_not_have_is_not_invented(subtask: Subtask) -> None:
    assert postprocess_for(hf.SegformerImageProcessor(), subtask) is None
