"""What an error says of the device: that it is full, or lost."""

from __future__ import annotations

import torch

from maskmill.errors import DeviceLost, one_line

NO_MEMORY = (
    "can't allocate memory",  # torch on the CPU
    "CUDA error: out of memory",  # outside of torch's own allocator
    "CUBLAS_STATUS_ALLOC_FAILED",  # cuBLAS allocates by itself (pytorch#128601)
)


def out_of_memory(error: Exception) -> bool:
    """Whether the device, or the host, had no memory for the batch."""
    return isinstance(error, torch.OutOfMemoryError) or any(each in str(error) for each in NO_MEMORY)


def device_lost(error: Exception) -> bool:
    """Whether nothing that this process computes on the device from now on can be trusted."""
    return isinstance(error, torch.AcceleratorError) and not out_of_memory(error)


def raise_if_lost(error: Exception) -> None:
    """Raise `DeviceLost` where the error says so: it is no image's fault, and no model's."""
    if device_lost(error):
        raise DeviceLost(one_line(error)) from error
