"""Whether a checkpoint's weights fill the model: what is missing would be random, and other in each process."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from maskmill.errors import ModelUnusable

IDLE = ("auxiliary_head", "criterion", "num_batches_tracked")
"""Parts of names whose weights only training uses."""

SHOWN = 2


def check_filled(name: str, model: torch.nn.Module, loading: Mapping[str, Any]) -> None:
    """Raises `ModelUnusable` that names what is missing, given what `from_pretrained` says of the loading."""
    missing = [key for key in sorted(loading["missing_keys"]) if not any(part in key for part in IDLE)]
    if missing:
        raise ModelUnusable(f"'{name}' lacks weights of {_kind(model)}: {_few(missing)}{_cure(loading)}")
    if other := sorted(loading["mismatched_keys"]):
        key, theirs, ours = other[0]
        sizes = f"{key} is {tuple(theirs)}, its config.json wants {tuple(ours)}"
        raise ModelUnusable(f"'{name}' has weights of other sizes than {_kind(model)}: {sizes}")


def check_numbers(name: str, model: torch.nn.Module) -> None:
    """Raises `ModelUnusable` when weights are no numbers."""
    broken = [key for key, value in model.named_parameters() if value.is_floating_point() and value.isnan().any()]
    if broken:
        raise ModelUnusable(f"'{name}' has weights that are no numbers (NaN): {_few(broken)}; train or get it anew")


def _kind(model: torch.nn.Module) -> str:
    return type(model).__name__


def _few(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown}… ({len(names)} in all)"


def _cure(loading: Mapping[str, Any]) -> str:
    unknown = sorted(loading["unexpected_keys"])
    if any(key.startswith("module.") for key in unknown):
        return "; its names begin with 'module.': save `model.module`, not the DataParallel around it"
    instead = f" (it has {_few(unknown)} instead)" if unknown else ""
    return f"{instead}: a checkpoint of another task? --allow-missing-weights takes random ones"
