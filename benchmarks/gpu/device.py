"""What the device is, and how much of the time it works: asked of NVIDIA's driver, without a context of our own."""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from benchmarks.sampling import sampled

SAMPLE_SECONDS = 0.1
"""NVML's own figure is that of its last period, a sixth of a second to one second."""

LOOKING = 0.05
ASKED = ("name", "driver_version", "memory.total")
ANSWER_SECONDS = 20


@dataclass
class Busy:
    """Samples of the share of time in which at least one kernel ran, in per cent."""

    samples: list[float] = field(default_factory=list)

    @property
    def share(self) -> float | None:
        """The mean from the first sample with any work to the last one; None where nobody tells."""
        at_work = [index for index, sample in enumerate(self.samples) if sample > 0]
        return fmean(self.samples[at_work[0] : at_work[-1] + 1]) if at_work else None


@contextmanager
def busy(device: str) -> Iterator[Busy]:
    """Sample the device while the block runs; no samples on the CPU, or without NVML and nvidia-smi."""
    found = Busy()
    look = _reader() if device != "cpu" else None
    if look is None:
        yield found
        return
    with sampled(lambda: found.samples.append(look()), SAMPLE_SECONDS, LOOKING):
        yield found


def described(device: str) -> dict[str, str]:
    """The device's name, driver and memory; what the processor is called elsewhere."""
    if device == "cpu":
        return {"device": "CPU, a dry run"}
    return {"device": ", ".join(_ask_smi(*ASKED))}


def _reader() -> Callable[[], float] | None:
    """A function that tells the utilisation now: by NVML's module where it is installed, else by nvidia-smi."""
    try:
        pynvml, handle = _nvml()
        return lambda: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except Exception:  # noqa: BLE001 - not installed, or of another make: the command tells the same
        return _by_command()


def _nvml() -> tuple[Any, Any]:
    """NVML's module and its handle of the device; raises whatever it has for being absent or forbidden."""
    import pynvml

    pynvml.nvmlInit()
    return pynvml, pynvml.nvmlDeviceGetHandleByIndex(_index())


def _by_command() -> Callable[[], float] | None:
    def look() -> float:
        return float(_ask_smi("utilization.gpu")[0])

    try:
        look()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return look


def _ask_smi(*fields: str) -> list[str]:
    command = ["nvidia-smi", f"--id={_index()}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)  # noqa: S603 - NVIDIA's
    return next(csv.reader([asked.stdout], skipinitialspace=True))


def _index() -> int:
    """The driver's number of the device that torch calls cuda:0."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    return int(first) if first.isdigit() else 0


def compute_processes() -> set[int] | None:
    """The processes that have a context on the device; None where the driver does not tell."""
    try:
        pynvml, handle = _nvml()
        return {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)} or None
    except Exception:  # noqa: BLE001 - not installed, or not allowed to
        return None
