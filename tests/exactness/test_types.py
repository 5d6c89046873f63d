"""Every model type that the installed transformers admits, against its pipeline; a new one must get a model here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from PIL import Image
from transformers import SegformerConfig

from maskmill.schema import Subtask
from maskmill_worker.model.fastest import HALF_TOLERANCE
from maskmill_worker.model.forward import StockForward, everything
from maskmill_worker.model.models import Models
from maskmill_worker.model.postprocess import StockPostProcess
from maskmill_worker.model.refusals import admitted

from .compare import assert_same_output, mask_agreement, stock_output, stock_pipeline
from .families import FAMILIES, OTHERS, is_here
from .in_process import output, sample_of, segmentations, segmenter_of

VIDEO = {"videomt"}
"""Types that are admitted and take no images: their stock pipeline cannot be made."""

HERE = [family for family in OTHERS.values() if is_here(family)]
CASES = [(family.name, subtask) for family in HERE for subtask in family.subtasks]
ALL = [family.name for family in (*FAMILIES.values(), *HERE)]

ModelFolder = Callable[[str], Path]
Photographs = dict[str, Path]


@pytest.fixture(scope="module")
def models() -> Models:
    return Models("cpu")


def changed(folder: Path, into: Path, file: str, **changes: object) -> Path:
    """A copy of a model folder with other values in one of its files."""
    into.mkdir()
    for each in folder.iterdir():
        (into / each.name).write_bytes(each.read_bytes())
    found = json.loads((into / file).read_text())
    (into / file).write_text(json.dumps(found | changes))
    return into


def takes(names: dict[str, object]) -> bool:
    """Whether a configuration may have these labels."""
    try:
        return bool(SegformerConfig(id2label=names))
    except StrictDataclassFieldValidationError:
        return False


def test_every_admitted_type_has_a_small_model(model_folder: ModelFolder) -> None:
    tried = {json.loads((model_folder(name) / "config.json").read_text())["model_type"] for name in ALL}
    assert set(admitted()) - VIDEO == tried & set(admitted()), "write a small model of the type that is new"
    assert tried <= set(admitted())


@pytest.mark.parametrize(("family", "subtask"), CASES, ids=[f"{family}-{subtask}" for family, subtask in CASES])
def test_every_type_gives_what_the_stock_pipeline_gives(
    family: str, subtask: str | None, models: Models, model_folder: ModelFolder, photograph_paths: Photographs
) -> None:
    folder, paths = model_folder(family), list(photograph_paths.values())
    for path, result in segmentations(segmenter_of(models, folder, subtask), paths, 4).items():
        assert_same_output(output(result), stock_output(folder, path, subtask), f"{family}, {subtask}, {path.name}")


@pytest.mark.parametrize(
    ("family", "size"),
    [
        ("beit", (96, 96)),
        ("data2vec-vision", (96, 96)),
        ("rf_detr", (112, 112)),
        ("detr", (80, 120)),
        ("dpt", (96, 96)),
    ],
)
def test_a_model_of_one_size_takes_images_of_that_size(
    family: str, size: tuple[int, int], model_folder: ModelFolder, photograph_paths: Photographs, tmp_path: Path
) -> None:
    """Its processor leaves sizes as they are (`do_resize: false`), so a probe of another size says nothing."""
    folder = changed(model_folder(family), tmp_path / "model", "preprocessor_config.json", do_resize=False)
    path = tmp_path / "tile.png"
    with Image.open(photograph_paths["china.jpg"]) as image:
        image.crop((100, 100, 100 + size[1], 100 + size[0])).save(path)
    segmenter = segmenter_of(Models("cpu"), folder)
    [result] = segmentations(segmenter, [path], 1).values()
    assert_same_output(output(result), stock_output(folder, path), family)
    if family != "rf_detr":
        assert not isinstance(segmenter._post_process, StockPostProcess), "it was tried out at its own size"


def test_a_model_that_takes_no_size_that_is_tried_uses_the_processor_s_functions(
    model_folder: ModelFolder, photograph_paths: Photographs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmill_worker.model.fastest._own_sizes", lambda _: [])
    monkeypatch.setattr("maskmill_worker.model.fastest.TRIAL_SIZES", ((7, 7),))
    folder = changed(model_folder("beit"), tmp_path / "model", "preprocessor_config.json", do_resize=False)
    path = tmp_path / "tile.png"
    with Image.open(photograph_paths["coffee.png"]) as image:
        image.crop((0, 0, 96, 96)).save(path)
    segmenter = segmenter_of(Models("cpu"), folder)
    assert isinstance(segmenter._post_process, StockPostProcess)
    [result] = segmentations(segmenter, [path], 1).values()
    assert_same_output(output(result), stock_output(folder, path), "beit")


@pytest.mark.parametrize("labels", [{"0": 10, "1": 20}, dict.fromkeys(map(str, range(8)))], ids=["numbers", "null"])
def test_labels_may_be_numbers_or_null(
    labels: dict[str, object], model_folder: ModelFolder, photograph_paths: Photographs, tmp_path: Path
) -> None:
    names = {str(index): index * 10 for index in range(8)} if labels["0"] else labels
    if not takes(names):
        pytest.skip("this release of transformers refuses such labels, in the stock pipeline too")
    folder = changed(model_folder("segformer"), tmp_path / "model", "config.json", id2label=names, label2id={})
    path = photograph_paths["flower.jpg"]
    [result] = segmentations(segmenter_of(Models("cpu"), folder), [path], 1).values()
    assert_same_output(output(result), stock_output(folder, path), "segformer")


def test_the_dtype_is_the_one_that_the_weights_were_saved_in_unless_it_is_said(
    model_folder: ModelFolder, tmp_path: Path
) -> None:
    folder = tmp_path / "half"
    stock_pipeline(model_folder("segformer")).image_processor.save_pretrained(folder)
    stock_pipeline(model_folder("segformer")).model.__class__.from_pretrained(
        model_folder("segformer"), dtype=torch.bfloat16
    ).save_pretrained(folder)
    models = Models("cpu")
    assert segmenter_of(models, folder).pipeline.dtype == stock_pipeline(folder).dtype == torch.bfloat16
    assert segmenter_of(models, folder, dtype="float32").pipeline.dtype == torch.float32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", ["detr", "mask2former", "segformer"])
def test_half_precision_is_as_good_as_the_stock_pipeline_s(
    family: str, dtype: str, model_folder: ModelFolder, photograph_paths: Photographs
) -> None:
    """Both halves round otherwise: against float32 ours must not be worse."""
    folder, paths = model_folder(family), list(photograph_paths.values())[:4]
    ours = segmentations(segmenter_of(Models("cpu"), folder, "semantic", dtype=dtype), paths, 1)
    half = stock_pipeline(folder, dtype=dtype)
    wrong = {"ours": 0.0, "stock": 0.0}
    for path in paths:
        exact = {segment["label"]: segment["mask"] for segment in stock_output(folder, path, "semantic")}
        for name, found in (("ours", output(ours[path])), ("stock", half(str(path), subtask="semantic"))):
            wrong[name] += sum(
                1 - mask_agreement(each["mask"], exact[each["label"]]) for each in found if each["label"] in exact
            )
    assert wrong["ours"] <= HALF_TOLERANCE * wrong["stock"] + 0.01, wrong


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_detr_s_fast_forward_is_used_in_half_precision_and_as_near_to_float32(
    dtype: str, model_folder: ModelFolder, photograph_paths: Photographs
) -> None:
    folder, path = model_folder("detr"), photograph_paths["china.jpg"]
    half, exact = (segmenter_of(Models("cpu"), folder, dtype=each) for each in (dtype, "float32"))
    assert not isinstance(half._run, StockForward)

    def masks(run: object, segmenter: object) -> torch.Tensor:
        with torch.inference_mode():
            [found] = run(dict(sample_of(segmenter, path).inputs), everything)  # type: ignore[operator, arg-type]  # either class has both
        return found.pred_masks.float()

    truth = masks(exact._run, exact)
    ours, stock = masks(half._run, half), masks(StockForward(half.pipeline.model), half)
    assert (ours - truth).abs().mean() <= HALF_TOLERANCE * (stock - truth).abs().mean()


def test_a_fast_forward_that_is_further_from_float32_than_the_stock_one_is_not_used(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from maskmill_worker.model import detr

    right = detr._Shared.masks
    monkeypatch.setattr(detr._Shared, "masks", lambda *arguments: right(*arguments) * 1.1)
    segmenter = segmenter_of(Models("cpu"), model_folder("detr"), dtype="bfloat16")
    assert isinstance(segmenter._run, StockForward)


@pytest.mark.parametrize("size", [(64, 96), (224, 64), (224, 224)], ids=str)
def test_an_image_in_any_number_of_patches_is_compared_when_the_model_is_loaded(
    size: tuple[int, int], model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong for one number of patches, and at sizes that are looked at in cells, is not used."""
    from maskmill_worker.model.postprocess import eomt, families

    segmenter = segmenter_of(Models("cpu"), model_folder("eomt-semantic"), "semantic")
    assert not isinstance(segmenter._post_process, StockPostProcess)
    patches = len(segmenter.trial(size)["patch_offsets"])
    right = eomt.semantic

    def wrong(processor: object, outputs: object, at: tuple[int, int], thresholds: object) -> object:
        found = right(processor, outputs, at, thresholds)  # type: ignore[arg-type]
        is_it = len(outputs.patch_offsets) == patches and max(at) > 1000  # type: ignore[attr-defined]
        return type(found)(found.ids.flip(1), found.found) if is_it else found

    functions = {**families.FUNCTIONS["EomtImageProcessor"], Subtask.SEMANTIC: wrong}
    monkeypatch.setitem(families.FUNCTIONS, "EomtImageProcessor", functions)  # type: ignore[misc]
    again = segmenter_of(Models("cpu"), model_folder("eomt-semantic"), "semantic")
    assert isinstance(again._post_process, StockPostProcess)
