"""The pinned device (`maskmill/device.py`) as torch calls it."""

from __future__ import annotations

from maskmill.errors import UsageError


def torch_device(device: str) -> str:
    """The torch name of the pinned device; raises `UsageError` when CUDA was asked for and is not there."""
    import torch

    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise UsageError(f"--device {device}: torch sees no CUDA device here; use --device cpu or auto")
    return "cuda:0"
