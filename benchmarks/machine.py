"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil


def machine() -> dict[str, str]:
    """Processor, cores, memory, and the versions of what the figures depend on most."""
    packages = {name: version(name) for name in ("torch", "transformers", "Pillow", "boto3")}
    gib = round(psutil.virtual_memory().total / 2**30)
    made_of = {"processor": _processor(), "cores": str(os.cpu_count()), "memory": f"{gib} GiB"}
    return {**made_of, "python": platform.python_version(), **packages}


def _processor() -> str:
    """Its name, with the widest of its vector instructions: a model's speed depends on them most."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", "").split()
    widest = next((name for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    return " ".join(filter(None, (facts.get("model name", platform.machine()), widest)))
