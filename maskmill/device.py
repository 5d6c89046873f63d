"""The devices of this machine, asked for and chosen without torch: a process is pinned to one before it loads that."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import MutableMapping

from maskmill.errors import UsageError

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
LISTED = re.compile(r"cpu|cuda:(0|[1-9]\d*)")


def pin(device: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let this process and its children see only `device` (auto, cpu, cuda or cuda:N), by `CUDA_VISIBLE_DEVICES`.

    N counts the devices that are visible now, as in torch. Must run before torch is imported. Raises `UsageError`.
    """
    _refuse_other_words(device)
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
    if device.startswith("cuda"):
        _some_cuda_devices("--device", device)


def require(device: str, devices: str = "", workers_per_device: int | None = None) -> None:
    """Raise `UsageError` where this machine has no such workers' devices, before any worker is started.

    >>> require("cuda:7")
    UsageError: --device cuda:7: this machine has 2 CUDA devices, cuda:0 to cuda:1; use one of them, cpu or auto
    """
    refuse_contradictions(device, devices, workers_per_device)
    if devices and devices != "all":
        for each in listed(devices):
            _require_one("--devices", each)
    elif device:
        _refuse_other_words(device)
        _require_one("--device", device)


def refuse_contradictions(device: str, devices: str, workers_per_device: int | None) -> None:
    """Raise `UsageError` for options that do not go together."""
    if devices and device:
        raise UsageError("--device is one worker, --devices a fleet: give one of the two")
    if workers_per_device and not devices:
        raise UsageError("--workers-per-device needs --devices: all, cpu, or cuda:0,cuda:1…")


def listed(devices: str) -> list[str]:
    """The devices that `--devices` names one by one; raises `UsageError`: `listed("cuda:0, cuda:1")` has two."""
    names = [device.strip() for device in devices.split(",")]
    for device in names:
        if not LISTED.fullmatch(device):
            raise UsageError(f"--devices: '{device}' is not a device: write all, cpu, or cuda:0,cuda:1…")
    if len(set(names)) < len(names):
        raise UsageError(f"--devices {devices} names a device twice: for more workers on one, use --workers-per-device")
    return names


def _refuse_other_words(device: str) -> None:
    if not DEVICE.fullmatch(device):
        raise UsageError(f"'{device}' is not a device: write auto, cpu, cuda or cuda:N")


def _require_one(option: str, device: str) -> None:
    kind, _, index = device.partition(":")
    if kind != "cuda":
        return
    there = _some_cuda_devices(option, device)
    if index and int(index) >= there:
        has = f"{there} CUDA devices, cuda:0 to cuda:{there - 1}" if there > 1 else "one CUDA device, cuda:0"
        raise UsageError(f"{option} {device}: this machine has {has}; use one of them, cpu or auto")


def _some_cuda_devices(option: str, device: str) -> int:
    there = _cuda_devices()
    if not there:
        raise UsageError(f"{option} {device}: no CUDA device can be seen here; use --device cpu or auto")
    return there


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
