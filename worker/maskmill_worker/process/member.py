"""The members of a fleet: which devices, how many workers on each, their names and what each sees of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from maskmill.device import listed, pin
from maskmill.errors import UsageError

COUNT_DEVICES = "import torch; print(torch.cuda.device_count())"
COUNT_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Member:
    """One worker of a fleet. `place` is its device as the caller counts, `environment` all that its process gets."""

    name: str
    place: str
    environment: Mapping[str, str]

    @property
    def arguments(self) -> list[str]:
        """The options that tell it who it is. The one CUDA device that it can see needs no number."""
        return ["--device", "cpu" if self.place == "cpu" else "cuda", "--name", f"{self.name}@%h"]


def members(
    devices: str, per_device: int = 1, *, cores: int, environment: Mapping[str, str] = os.environ
) -> list[Member]:
    """`per_device` members for each of `devices` (`all`, or `cpu`, `cuda:N`… with commas); raises `UsageError`.

    `cuda:N` counts the devices that are visible in `environment`. The processor's cores are shared out among all of
    them, and as threads among the models that run on the CPU.
    """
    places = [place for place in device_list(devices) for _ in range(per_device)]
    made = []
    for index, place in enumerate(places):
        own = dict(environment)
        pin(place, own)
        own["MASKMILL_CORES"] = str(max(1, cores // len(places)))
        if place == "cpu":
            own.setdefault("OMP_NUM_THREADS", str(max(1, cores // places.count("cpu"))))
        made.append(Member(_name(place, index % per_device + 1, per_device), place, own))
    return made


def device_list(devices: str) -> list[str]:
    """The devices that `--devices` names, `all` spelt out: every CUDA device, else the CPU. Raises `UsageError`."""
    if devices == "all":
        return [f"cuda:{index}" for index in range(count_cuda_devices())] or ["cpu"]
    return listed(devices)


def count_cuda_devices() -> int:
    """How many CUDA devices torch sees, asked in a process that ends: a supervisor has no use for torch's memory."""
    try:
        asked = subprocess.run(  # noqa: S603 - our own interpreter and text
            [sys.executable, "-c", COUNT_DEVICES], capture_output=True, text=True, timeout=COUNT_TIMEOUT_SECONDS
        )
        return int(asked.stdout)
    except subprocess.TimeoutExpired:
        raise UsageError("--devices all: torch did not count its devices in time; name them: cuda:0,cuda:1…") from None
    except ValueError:
        said = asked.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise UsageError(f"--devices all: torch could not count its devices: {said[0]}") from None


def _name(place: str, number: int, per_device: int) -> str:
    kind, _, index = place.partition(":")
    name = f"gpu{index}" if kind == "cuda" else "cpu0"
    return name if per_device == 1 else f"{name}-{number}"
