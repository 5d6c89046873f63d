from __future__ import annotations

import os
import subprocess
import sys

import pytest

from maskmill.device import pin
from maskmill.errors import UsageError
from maskmill_worker.process.device import torch_device


def visible_after(device: str, visible: str | None = None) -> str | None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    pin(device, environment)
    assert environment["MASKMILL_DEVICE"] == device
    return environment.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize("visible", [None, "", "2,3"])
def test_the_cpu_hides_every_device(visible: str | None) -> None:
    assert visible_after("cpu", visible) == ""


@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize("visible", [None, "", "2,3"])
def test_without_a_number_what_is_visible_stays(device: str, visible: str | None) -> None:
    assert visible_after(device, visible) == visible


@pytest.mark.parametrize("number", ["0", "1", "15"])
def test_a_numbered_device_is_the_only_one_that_is_seen(number: str) -> None:
    assert visible_after(f"cuda:{number}") == number


@pytest.mark.parametrize(
    ("device", "visible", "left"),
    [
        ("cuda:0", "2,3", "2"),
        ("cuda:1", "2,3", "3"),
        ("cuda:1", " 2 , 3 ", "3"),
        ("cuda:1", "GPU-8932f937,MIG-deadbeef", "MIG-deadbeef"),
    ],
)
def test_numbers_count_the_devices_that_are_visible(device: str, visible: str, left: str) -> None:
    assert visible_after(device, visible) == left


@pytest.mark.parametrize(("device", "visible"), [("cuda:0", ""), ("cuda:2", "0,1"), ("cuda:1", "5")])
def test_a_number_that_is_not_visible_is_refused(device: str, visible: str) -> None:
    environment = {"CUDA_VISIBLE_DEVICES": visible}
    with pytest.raises(UsageError, match=f"{device} does not exist"):
        pin(device, environment)
    assert environment == {"CUDA_VISIBLE_DEVICES": visible}


@pytest.mark.parametrize("device", ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:a", "cuda:0,1", "cpu:0", "auto ", "0"])
def test_what_is_no_device_is_refused_with_those_that_are(device: str) -> None:
    environment: dict[str, str] = {}
    with pytest.raises(UsageError, match=r"auto, cpu, cuda or cuda:N"):
        pin(device, environment)
    assert environment == {}


def test_the_process_environment_is_pinned_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.setenv("MASKMILL_DEVICE", "auto")
    pin("cuda:1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


def test_pinning_does_not_import_torch() -> None:
    code = "import sys; from maskmill.device import pin; pin('cpu'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("device", "refused"), [("cuda", True), ("cuda:0", True), ("cpu", False), ("auto", False)])
def test_cuda_without_a_device_is_refused_before_torch_is_loaded(device: str, refused: bool) -> None:
    imported = "import sys; from maskmill.device import check"
    code = f"{imported}; check({device!r}); sys.exit('torch' in sys.modules)"
    nothing_visible = os.environ | {"CUDA_VISIBLE_DEVICES": ""}

    result = subprocess.run([sys.executable, "-c", code], env=nothing_visible, capture_output=True, text=True)

    assert result.returncode == int(refused)
    assert ("no CUDA device" in result.stderr) == refused


def test_the_cpu_is_the_cpu_for_torch_too() -> None:
    assert torch_device("cpu") == "cpu"


def test_cuda_that_torch_does_not_see_is_refused() -> None:
    import torch

    if torch.cuda.is_available():
        assert torch_device("cuda") == torch_device("auto") == "cuda:0"
        return
    assert torch_device("auto") == "cpu"
    with pytest.raises(UsageError, match="use --device cpu or auto"):
        torch_device("cuda:3")
