"""Fixtures of the exactness suite: photographs on disk and small model folders, written once per session."""

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the imports below: huggingface_hub reads it when imported


from maskmill_worker.model.parts import onednn
from tests.torch_threads import torch_threads

from .families import FAMILIES, OTHERS
from .photographs import photographs


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models run fastest on one thread, and the machine has other work."""
    with torch_threads(1):
        yield


@pytest.fixture(scope="session", autouse=True)
def _onednn() -> Iterator[None]:
    """Every linear layer by oneDNN, on a machine that is not faster with it too, and however small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onednn, "LEAST_WEIGHTS", 0)
        patch.setattr(onednn, "is_faster", lambda _: True)
        yield


@pytest.fixture(scope="session")
def photograph_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The photographs' files by name."""
    return photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function from a family's name to its model folder, written at the first call."""
    root = tmp_path_factory.mktemp("models")

    @cache
    def folder_of(family: str) -> Path:
        return (FAMILIES | OTHERS)[family].write(root / family)

    return folder_of
