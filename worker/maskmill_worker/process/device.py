"""One device for one process, chosen before torch is imported."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import MutableMapping

from maskmill.errors import UsageError

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def pin(device: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let this process and its children see only `device` (auto, cpu, cuda or cuda:N), by `CUDA_VISIBLE_DEVICES`.

    N counts the devices that are visible now, as in torch. Must run before torch is imported. Raises `UsageError`.
    """
    if not DEVICE.fullmatch(device):
        raise UsageError(f"'{device}' is not a device: write auto, cpu, cuda or cuda:N")
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if device.startswith("cuda:"):
        environment["CUDA_VISIBLE_DEVICES"] = _visible(int(device[5:]), environment)
    environment["MASKMILL_DEVICE"] = device


def _visible(index: int, environment: MutableMapping[str, str]) -> str:
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return str(index)
    devices = [device.strip() for device in listed.split(",") if device.strip()]
    if index >= len(devices):
        raise UsageError(f"cuda:{index} does not exist: CUDA_VISIBLE_DEVICES lists {len(devices)} device(s)")
    return devices[index]


def check(device: str) -> None:
    """Fail early, without torch: raises `UsageError` when CUDA was asked for and the pinned process has none."""
    if device.startswith("cuda") and not _cuda_devices():
        raise UsageError(f"--device {device}: no CUDA device can be seen here; use --device cpu or auto")


def _cuda_devices() -> int:
    """Devices that the CUDA driver shows to this process (CUDA driver API, `cuDeviceGetCount`)."""
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def torch_device(device: str) -> str:
    """The torch name of the pinned device; raises `UsageError` when CUDA was asked for and is not there."""
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageError(f"--device {device}: torch sees no CUDA device here; use --device cpu or auto")
    return "cuda:0"
