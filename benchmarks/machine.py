"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version

import psutil


def machine() -> dict[str, str]:
    """Cores, memory, and the versions of what the figures depend on most."""
    packages = {name: version(name) for name in ("torch", "transformers", "Pillow", "boto3")}
    gib = round(psutil.virtual_memory().total / 2**30)
    return {"cores": str(os.cpu_count()), "memory": f"{gib} GiB", "python": platform.python_version(), **packages}
