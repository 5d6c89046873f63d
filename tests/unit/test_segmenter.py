from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from maskmill.errors import DeviceLost, ModelUnavailable, SegmentationFailed
from maskmill.masks.segment_map import narrowest
from maskmill.schema import Reference, Segment, Spec, Subtask
from maskmill_worker.model.batch_size import BatchSize
from maskmill_worker.model.forward import Outputs, collate, image_outputs, shape_of
from maskmill_worker.model.models import Models
from maskmill_worker.model.predict import NoMemory, Prediction, predict
from maskmill_worker.model.sample import Sample, Task
from maskmill_worker.model.segmenter import Segmentation, described

PANOPTIC = Subtask.PANOPTIC


LABELS = {0: "sky", 1: "cat", 2: "grass", 4: 17, 5: None}
"""Of a model: label 3 has no name."""

# From segments to a segmentation


@pytest.mark.parametrize(("number", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_the_map_is_as_deep_as_its_segments_need(number: int, dtype: type) -> None:
    assert narrowest(np.arange(1, number + 1, dtype=np.int32)[None]).dtype == dtype


def test_segments_have_their_label_area_and_box() -> None:
    ids = np.array([[1, 1, 2], [2, 2, 0]], np.uint8)
    segments = described(ids, [(1, 1, 0.9), (0, 2, None), (2, 3, 0.7)], LABELS)
    assert [(s.id, s.label, s.label_id, s.score, s.area, s.box) for s in segments] == [
        (1, "cat", 1, 0.9, 2, (0, 0, 2, 1)),
        (2, "sky", 0, None, 3, (0, 0, 3, 2)),
        (3, "grass", 2, 0.7, 0, (0, 0, 0, 0)),
    ]


def test_labels_may_be_numbers_or_nothing_as_in_the_pipeline() -> None:
    segments = described(np.array([[1, 2]], np.uint8), [(4, 1, None), (5, 2, None)], LABELS)
    records = TypeAdapter(tuple[Segment, ...])
    again = records.validate_json(records.dump_json(segments, exclude_none=True))
    assert [(each.label, each.title) for each in again] == [(17, "17"), (None, "label 5")]


def test_a_label_without_a_name_fails_its_image_alone() -> None:
    with pytest.raises(SegmentationFailed, match="no name for label 3"):
        described(np.array([[1]], np.uint8), [(3, 1, None)], LABELS)


# Batches of plain tensors


def one(value: float, side: int = 2, **more: Any) -> dict[str, Any]:
    return {"pixel_values": torch.full((1, 3, side, side), value), "target_size": [(value, side)], **more}


def test_equal_tensors_have_equal_shapes_whatever_their_original_sizes() -> None:
    assert shape_of(one(1)) == shape_of(one(2))


def test_other_sizes_or_other_tensors_are_another_shape() -> None:
    shapes = {shape_of(one(1)), shape_of(one(1, side=3)), shape_of(one(1, pixel_mask=torch.ones(1, 2, 2)))}
    assert len(shapes) == 3


def test_an_image_in_patches_runs_alone() -> None:
    assert shape_of(one(1, patch_offsets=[[0, 0, 2]])) is None


def test_collating_concatenates_tensors_and_joins_lists() -> None:
    batch = collate([one(1), one(2), one(3)])
    assert batch["pixel_values"].shape == (3, 3, 2, 2)
    assert batch["pixel_values"][:, 0, 0, 0].tolist() == [1, 2, 3]
    assert batch["target_size"] == [(1, 2), (2, 2), (3, 2)]


def test_collating_one_image_leaves_it_as_it_is() -> None:
    image = one(1, odd="not a list")
    assert collate([image]) == image


def test_what_was_collated_comes_apart_again() -> None:
    images = [one(1), one(2), one(3)]
    batch = collate(images)
    for index, image in enumerate(images):
        rows = image_outputs(batch, index, 3)
        assert torch.equal(rows["pixel_values"], image["pixel_values"])
        assert rows["target_size"] == image["target_size"]


def test_what_is_not_by_image_is_left_out_of_its_outputs() -> None:
    outputs = {"logits": torch.zeros(2, 5), "loss": torch.tensor(1.0), "hidden_states": (torch.zeros(2, 1),) * 2}
    assert image_outputs(outputs, 0, 2).keys() == {"logits"}


def test_outputs_of_one_image_are_attributes_too() -> None:
    outputs = Outputs(logits=1)
    assert outputs.logits == 1
    with pytest.raises(AttributeError, match="masks"):
        _ = outputs.masks


# Failures stay with the image that causes them


class Fake:
    """A segmenter without a model: fails for batches that are too large and for the samples it is told to."""

    def __init__(
        self, largest: int = 100, bad_forward: Sequence[int] = (), bad_postprocess: Sequence[int] = ()
    ) -> None:
        self.largest, self.bad_forward, self.bad_postprocess = largest, set(bad_forward), set(bad_postprocess)
        self.batches: list[int] = []

    def collate(self, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        return inputs

    def forward(self, inputs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        self.batches.append(len(inputs))
        if len(inputs) > self.largest:
            raise torch.OutOfMemoryError("out of\nmemory")
        if self.bad_forward & {each["n"] for each in inputs}:
            raise ValueError("cannot take this image")
        return list(inputs)

    def postprocess(self, outputs: Mapping[str, Any]) -> Segmentation:
        if outputs["n"] in self.bad_postprocess:
            raise KeyError("no such label")
        return Segmentation(np.full((1, 1), outputs["n"], np.uint8), (), PANOPTIC)


def samples(number: int) -> list[Sample]:
    references = [Reference(uri=f"/{n}.jpg", mask_key=f"masks/{n}.jpg.png") for n in range(number)]
    return [Sample(Task(0, n, reference), {"n": n}) for n, reference in enumerate(references)]


def run(segmenter: Any, batch: Sequence[Sample], size: BatchSize | None = None) -> list[Prediction]:
    return list(predict(segmenter, batch, size or BatchSize(len(batch))))


def failed(predictions: Sequence[Prediction]) -> dict[int, str]:
    return {p.sample.task.index: str(p.result) for p in predictions if isinstance(p.result, SegmentationFailed)}


def assert_others_are_right(predictions: Sequence[Prediction]) -> None:
    for prediction in predictions:
        if isinstance(prediction.result, Segmentation):
            assert prediction.result.ids.tolist() == [[prediction.sample.task.index]]


def test_a_batch_is_predicted_in_one_forward_pass_and_in_order() -> None:
    fake = Fake()
    predictions = run(fake, samples(5))
    assert fake.batches == [5]
    assert [p.sample.task.index for p in predictions] == [0, 1, 2, 3, 4]
    assert_others_are_right(predictions)


def test_forward_passes_take_turns_and_nothing_else_does() -> None:
    told: list[str] = []

    class Telling(Fake):
        def collate(self, inputs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
            told.append("collate")
            return super().collate(inputs)

        def forward(self, inputs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
            told.append("pass")
            return super().forward(inputs)

        def postprocess(self, outputs: Mapping[str, Any]) -> Segmentation:
            told.append("postprocess")
            return super().postprocess(outputs)

    @contextmanager
    def turn() -> Iterator[None]:
        told.append("begins")
        yield
        told.append("ends")

    predictions = list(predict(Telling(largest=1), samples(2), BatchSize(2), turn=turn))  # type: ignore[arg-type]
    assert_others_are_right(predictions)
    one = ["collate", "begins", "pass", "ends", "postprocess"]
    assert told == ["collate", "begins", "pass", *one, *one]  # the first has no memory


@pytest.mark.parametrize("bad", range(5))
def test_an_image_that_the_model_cannot_take_fails_alone(bad: int) -> None:
    predictions = run(Fake(bad_forward=[bad]), samples(5))
    assert failed(predictions) == {bad: "the model failed: ValueError: cannot take this image"}
    assert not any(isinstance(each.result, NoMemory) for each in predictions)
    assert [p.sample.task.index for p in predictions] == [0, 1, 2, 3, 4]
    assert_others_are_right(predictions)


def test_an_image_that_fails_in_postprocessing_fails_alone_without_a_second_pass() -> None:
    fake = Fake(bad_postprocess=[2])
    predictions = run(fake, samples(4))
    assert failed(predictions) == {2: "postprocessing failed: KeyError: 'no such label'"}
    assert fake.batches == [4]
    assert_others_are_right(predictions)


def test_a_batch_too_large_for_the_memory_is_halved_until_it_fits() -> None:
    fake = Fake(largest=2)
    predictions = run(fake, samples(8))
    assert fake.batches == [8, 4, 2, 2, 4, 2, 2]
    assert failed(predictions) == {}
    assert_others_are_right(predictions)


def test_an_image_too_large_for_the_memory_by_itself_fails_on_one_line() -> None:
    [prediction] = run(Fake(largest=0), samples(1))
    assert str(prediction.result) == "the model failed: OutOfMemoryError: out of memory"
    assert isinstance(prediction.result, NoMemory), "others may have had it"
    assert prediction.result.code == SegmentationFailed.code


def test_all_images_failing_is_a_failure_of_each() -> None:
    assert failed(run(Fake(bad_forward=range(3)), samples(3))).keys() == {0, 1, 2}


def test_stages_are_timed_by_image() -> None:
    for prediction in run(Fake(), samples(2)):
        assert prediction.seconds.keys() == {"forward", "postprocess"}
        assert all(seconds >= 0 for seconds in prediction.seconds.values())


def test_a_lost_device_is_nobody_s_image() -> None:
    class Lost(Fake):
        def forward(self, inputs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    with pytest.raises(DeviceLost, match="unspecified launch failure"):
        run(Lost(), samples(2))


def test_a_device_that_is_lost_while_outputs_are_postprocessed_costs_no_image() -> None:
    """Kernels run on after `forward` has returned: what goes wrong in one shows when its result is needed."""

    class Lost(Fake):
        def postprocess(self, outputs: Mapping[str, Any]) -> Segmentation:
            raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    with pytest.raises(DeviceLost, match="unspecified launch failure"):
        run(Lost(), samples(2))


def test_a_device_that_is_lost_while_a_model_is_loaded_is_no_fault_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("maskmill_worker.model.checkpoint.Checkpoint.load", lost)
    with pytest.raises(DeviceLost, match="device-side assert"):
        Models("cpu").get(Spec(model="demo"))


def test_a_device_that_is_lost_behind_another_library_s_error_is_nobody_s_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an assertion in a kernel, cuBLAS may be the first to fail, with an error of its own."""

    def lost() -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    monkeypatch.setattr("torch.cuda.synchronize", lost)
    with pytest.raises(DeviceLost, match="device-side assert"):
        run(Fake(bad_forward=[0]), samples(1))


class Full(Fake):
    """Its device has no memory for post-processing, the host has."""

    def __init__(self, host_has_memory: bool) -> None:
        super().__init__()
        self.host_has_memory = host_has_memory

    def postprocess(self, outputs: Mapping[str, Any]) -> Segmentation:
        if not (self.host_has_memory and isinstance(outputs, Outputs)):
            raise torch.AcceleratorError("CUDA error: out of memory")
        return super().postprocess(outputs)


def test_outputs_for_which_the_device_has_no_memory_are_postprocessed_on_the_host() -> None:
    predictions = run(Full(host_has_memory=True), samples(3))
    assert failed(predictions) == {}
    assert_others_are_right(predictions)


def test_an_image_for_whose_outputs_nobody_has_memory_fails() -> None:
    assert failed(run(Full(host_has_memory=False), samples(1))) == {0: "postprocessing found no memory"}


def test_a_device_without_memory_for_a_model_may_have_some_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr("maskmill_worker.model.checkpoint.Checkpoint.load", full)
    with pytest.raises(ModelUnavailable, match="cannot be loaded now") as raised:
        Models("cpu").get(Spec(model="demo"))
    assert raised.value.retryable


def test_an_interruption_is_not_taken_for_a_failed_image() -> None:
    class Interrupted(Fake):
        def forward(self, inputs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
            raise SystemExit

    with pytest.raises(SystemExit):
        run(Interrupted(), samples(2))


class Activations:
    """Stands for the tensors of a forward pass that ran out of memory."""


def test_the_memory_of_a_failed_batch_is_free_before_its_halves_run() -> None:
    # https://docs.pytorch.org/docs/stable/notes/faq.html, 'My out of memory exception handler can't allocate memory'
    class Tight(Fake):
        activations: weakref.ref[Activations] | None = None
        held_too_long = 0

        def forward(self, inputs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
            self.held_too_long += self.activations is not None and self.activations() is not None
            activations = Activations()
            self.activations = weakref.ref(activations)
            return super().forward(inputs)

    tight = Tight(largest=2)
    assert failed(run(tight, samples(8))) == {}
    assert tight.held_too_long == 0
