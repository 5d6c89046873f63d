"""`torch.compile` gives what the stock pipeline gives; it needs a C++ compiler, as the settings say."""

from collections.abc import Callable
from pathlib import Path

import pytest

from maskmill.images.decode import decode
from maskmill.masks.segment_map import pipeline_output
from maskmill.schema import Spec
from maskmill_worker.model.models import Models
from maskmill_worker.model.segmenter import AtATime

from .compare import assert_same_output, stock_output


@pytest.mark.slow
@pytest.mark.parametrize(("family", "subtask"), [("detr", "panoptic")])
def test_a_compiled_model_gives_what_the_stock_pipeline_gives(
    family: str, subtask: str, model_folder: Callable[[str], Path], photograph_paths: dict[str, Path]
) -> None:
    folder = model_folder(family)
    segmenter = Models("cpu", compiled=True).get(Spec.model_validate({"model": str(folder), "subtask": subtask}))
    assert segmenter.at_a_time is AtATime.PASS, "nobody has shown that several threads may run it"
    for path in list(photograph_paths.values())[:3]:
        image = decode(path.read_bytes(), max_pixels=10**7).image
        result = segmenter.postprocess(segmenter.forward(segmenter.collate([segmenter.preprocess(image)]))[0])
        assert_same_output(pipeline_output(result.ids, result.segments), stock_output(folder, path, subtask), path.name)
