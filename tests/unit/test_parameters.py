from __future__ import annotations

import math
from typing import Any

import pytest

from maskmill.errors import InvalidSpec
from maskmill.parameters import GONE, parse
from maskmill.schema import Dtype, Execution, Spec, Subtask

FRACTIONS = ["threshold", "mask_threshold", "overlap_mask_area_threshold"]


def test_without_parameters_the_pipeline_s_defaults_are_taken() -> None:
    assert parse() == (Spec(), Execution())


def test_none_means_not_given() -> None:
    assert parse(model=None, threshold=None, subtask=None, batch_size=None, device=None) == (Spec(), Execution())


def test_parameters_are_sorted_by_whether_they_change_masks() -> None:
    spec, execution = parse(
        model="m", revision="r", subtask="semantic", threshold=0.5, dtype="float16", batch_size=3, timeout=2
    )
    assert spec == Spec(model="m", revision="r", subtask=Subtask.SEMANTIC, threshold=0.5, dtype=Dtype.FLOAT16)
    assert execution == Execution(batch_size=3, timeout=2.0)


@pytest.mark.parametrize("name", sorted([*Execution.model_fields]))
def test_how_a_job_is_run_does_not_change_its_fingerprint(name: str) -> None:
    assert parse(**{name: 1})[0].fingerprint() == Spec().fingerprint()


def test_the_default_scale_leaves_fingerprints_as_they_were() -> None:
    assert parse(scale="auto")[0] == Spec()
    assert "scale" not in Spec().to_json().decode()
    fingerprints = {parse(scale=scale)[0].fingerprint() for scale in (None, "none", "minmax", "p2-p98", "0:10000")}
    assert len(fingerprints) == 5


def test_a_scale_loads_no_other_model() -> None:
    assert parse(scale="minmax")[0].model_key() == Spec().model_key()


def test_what_is_no_scale_is_refused_with_what_there_is() -> None:
    with pytest.raises(InvalidSpec, match=r"^scale: '98-2' is no scale: write auto, none, minmax, p2-p98"):
        parse(scale="98-2")


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("framework", "leave it out"),
        ("modelcard", "leave it out"),
        ("args_parser", "leave it out"),
        ("binary_output", "leave it out"),
        ("torch_dtype", "use dtype"),
        ("device", "maskmill-worker --device"),
    ],
)
def test_a_parameter_that_is_gone_is_refused_with_its_cure(name: str, cure: str) -> None:
    with pytest.raises(InvalidSpec, match=f"^{name}: .*{cure}"):
        parse(**{name: "pt"})


def test_every_parameter_that_is_gone_is_tried_above() -> None:
    tried = {"framework", "modelcard", "args_parser", "binary_output", "torch_dtype", "device"}
    assert tried == GONE.keys()


@pytest.mark.parametrize("value", [False, 0, ""])
def test_a_parameter_that_is_gone_is_refused_with_any_value(value: Any) -> None:
    with pytest.raises(InvalidSpec, match="binary_output"):
        parse(binary_output=value)


@pytest.mark.parametrize("name", ["treshold", "Model", "tokenizer", ""])
def test_an_unknown_name_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse(**{name: 1})
    assert f"{name}: no such parameter" in str(caught.value)
    assert all(known in str(caught.value) for known in (*Spec.model_fields, *Execution.model_fields))


@pytest.mark.parametrize("name", FRACTIONS)
@pytest.mark.parametrize("value", [-0.001, 1.001, math.nan, math.inf, "high"])
def test_a_threshold_outside_0_to_1_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidSpec, match=f"^{name}: "):
        parse(**{name: value})


@pytest.mark.parametrize("name", FRACTIONS)
@pytest.mark.parametrize("value", [0, 0.0, 0.5, 1, 1.0])
def test_a_threshold_from_0_to_1_is_taken(name: str, value: float) -> None:
    assert getattr(parse(**{name: value})[0], name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subtask", "depth"),
        ("dtype", "int8"),
        ("batch_size", 0),
        ("batch_size", -1),
        ("batch_size", 1.5),
        ("num_workers", -1),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", math.nan),
        ("model", 7),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidSpec, match=f"^{name}: "):
        parse(**{name: value})


def test_no_data_loader_processes_can_be_asked_for() -> None:
    assert parse(num_workers=0)[1].num_workers == 0


@pytest.mark.parametrize("timeout", [0.5, 30, 1e6, math.inf])
def test_what_is_asked_for_survives_the_bucket(timeout: float) -> None:
    try:
        execution = parse(timeout=timeout)[1]
    except InvalidSpec:
        return
    assert Execution.from_json(execution.to_json()) == execution


def test_the_name_of_a_weights_file_is_no_model_even_where_there_is_no_such_file() -> None:
    with pytest.raises(InvalidSpec, match=r"'yolo11n-seg\.pt' is a file of PyTorch weights"):
        parse(model="yolo11n-seg.pt")
    assert parse(model="someone/weights.v2.pt")[0].model == "someone/weights.v2.pt"
