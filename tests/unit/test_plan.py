"""What `maskmill run` refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maskmill import device
from maskmill.errors import UsageError
from maskmill_producer.local.plan import Plan, Selection


def plan(tmp_path: Path, out: str = "out", limit: int | None = None, **asked: Any) -> Plan:
    return Plan(Selection((str(tmp_path),), limit=limit), {"model": "demo"}, tmp_path / out, **asked)


@pytest.mark.parametrize("out", ["s3://bucket/out", "gs://bucket/out", "https://host/out"])
def test_an_address_is_no_folder_for_a_run(out: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="maskmill submit"):
        Plan(Selection((str(tmp_path),)), {"model": "demo"}, Path(out))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"device": "cuda:7"}, "--device cuda:7: this machine has 2 CUDA devices, cuda:0 to cuda:1"),
        ({"devices": "cuda:0,cuda:2"}, "--devices cuda:2: this machine has 2 CUDA devices"),
        ({"device": "tpu"}, "'tpu' is not a device"),
        ({"devices": "tpu"}, "'tpu' is not a device"),
        ({"device": "cpu", "devices": "cpu"}, "give one of the two"),
        ({"workers_per_device": 2}, "--workers-per-device needs --devices"),
    ],
)
def test_devices_that_are_not_there_are_refused(
    asked: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_cuda_devices", lambda: 2)
    with pytest.raises(UsageError, match=words):
        plan(tmp_path, **asked)


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({}, ("--device", "auto")),
        ({"device": "cuda:1"}, ("--device", "cuda:1")),
        ({"devices": "cpu", "workers_per_device": 2}, ("--devices", "cpu", "--workers-per-device", "2")),
    ],
)
def test_devices_that_are_there_are_the_worker_s_options(
    asked: dict[str, Any], options: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_cuda_devices", lambda: 2)
    assert plan(tmp_path, **asked).worker_options == options


def test_a_limit_is_part_of_what_a_run_goes_on_with(tmp_path: Path) -> None:
    assert plan(tmp_path, limit=5).selection.described != plan(tmp_path).selection.described
    assert plan(tmp_path, limit=5).queue != plan(tmp_path).queue
