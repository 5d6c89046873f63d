"""The files of a model or an image processor: a folder, a repository of the hub, or `demo`. Loads no torch.

What they are is told by their content, not by their name: a folder's weights may be trained anew, and a branch moves.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from maskmill.access import model_allowed
from maskmill.errors import ModelRefused, ModelUnavailable, ModelUnusable, one_line
from maskmill.models import hub
from maskmill.parameters import DEMO, KINDS_OF_FILES, not_a_folder
from maskmill.schema import ModelIdentity, Spec

CONFIG = "config.json"
PROCESSOR_CONFIGS = ("preprocessor_config.json", "processor_config.json")
TEXTS = (".json", ".txt", ".py", ".model", ".jinja")
WEIGHTS = (".safetensors", ".bin")
LFS_POINTER = b"version https://git-lfs"
COMMIT_PREFIX = "commit:"
NO_MODEL = "not a transformers model; name a folder that `save_pretrained` wrote"


@dataclass(frozen=True)
class ModelFiles:
    """Where the files are: `path` and `revision` are for transformers; a folder has no revision.

    `asked` is the revision that the user named. `cached`: this machine may have all that is needed of the commit.
    """

    name: str
    path: str
    asked: str | None = None
    revision: str | None = None
    cached: bool = False
    has_weights: bool = True

    @property
    def options(self) -> dict[str, Any]:
        """For every `from_pretrained`; without the network where the files are there."""
        return {"revision": self.revision, "local_files_only": self.cached} if self.revision else {}

    def content(self) -> str:
        """What tells these files from others: `commit:…` or `files:…`."""
        if self.revision:
            return COMMIT_PREFIX + self.revision
        return f"files:{_digest(Path(self.path), weights=self.has_weights)}"

    def has(self, file: str) -> bool:
        """Whether there is such a file."""
        try:
            return self._place(file).is_file()
        except ModelUnusable:
            return False

    def _place(self, file: str) -> Path:
        return hub.download(self.path, self.revision, file) if self.revision else Path(self.path) / file

    def read(self, file: str) -> dict[str, Any]:
        """A JSON file of the model; raises `ModelUnusable` when it is not one."""
        try:
            found = json.loads(self._place(file).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelUnusable(f"{file} of '{self.name}' is not JSON: {one_line(error)}") from error
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class SpecFiles:
    """The files of a spec's model, and those of its image processor: mostly the same ones."""

    model: ModelFiles
    processor: ModelFiles

    @classmethod
    def find(cls, spec: Spec, known: ModelIdentity | None = None) -> Self:
        """The files that a spec names; those of `known`, where the hub has several. Raises `ModelUnavailable`."""
        model = find_model(spec.model, spec.revision, known.model if known else None)
        if not spec.image_processor or spec.image_processor == spec.model:
            return cls(model, model)
        return cls(model, find_processor(spec.image_processor, spec.revision, known.image_processor if known else None))

    def identity(self) -> ModelIdentity:
        """What the files hold."""
        own = self.processor is self.model
        return ModelIdentity(model=self.model.content(), image_processor=None if own else self.processor.content())


def require_model(spec: Spec, allowed: Sequence[str] | None) -> None:
    """Raise `ModelUnavailable` where this machine cannot have the model, or may not load it, before work begins."""
    require_allowed(spec, allowed)
    SpecFiles.find(spec)


def require_allowed(spec: Spec, allowed: Sequence[str] | None) -> None:
    """Raise `ModelRefused` for a model that is not among those that may be loaded (None: any)."""
    for name in filter(None, (spec.model, spec.image_processor)):
        if allowed is not None and not model_allowed(name, allowed):
            raise ModelRefused(f"'{name}' is not among the models that this worker loads (MASKMILL_ALLOWED_MODELS)")


def find_model(model: str, revision: str | None, known: str | None = None) -> ModelFiles:
    """The files of a model; `known` is the content that a job's model must have.

    Raises `ModelUnavailable`: `ModelUnusable` for what is no model at all.
    """
    path = resolve(model)
    if not Path(path).is_dir():
        return _on_hub(model, revision, CONFIG, known)
    _check_folder(model, Path(path))
    return ModelFiles(model, path)


def find_processor(processor: str, revision: str | None, known: str | None = None) -> ModelFiles:
    """The files of an image processor that is not the model's own."""
    path = resolve(processor)
    if Path(path).is_dir():
        if not any((Path(path) / each).is_file() for each in PROCESSOR_CONFIGS):
            raise ModelUnusable(f"the folder '{processor}' has no {PROCESSOR_CONFIGS[0]}: not an image processor")
        return ModelFiles(processor, path, has_weights=False)
    try:
        return _on_hub(processor, revision, PROCESSOR_CONFIGS[0], known)
    except ModelUnusable:
        return _on_hub(processor, revision, PROCESSOR_CONFIGS[1], known)


def resolve(model: str) -> str:
    """The name that transformers can load: `demo` becomes the folder of the shipped model."""
    if model == DEMO:
        return str(files("maskmill_worker") / "demo_model")
    return os.path.expanduser(model) if model.startswith("~") else model  # noqa: PTH111 - may be a hub id


def _on_hub(model: str, revision: str | None, file: str, known: str | None) -> ModelFiles:
    if Path(model).is_file():
        raise ModelUnusable(not_a_folder(model))
    if model.startswith((".", "/", "~")):
        raise ModelUnavailable(
            f"no model folder '{model}' on this worker's machine: check the path, or name a model of the hub"
        )
    wanted = known.removeprefix(COMMIT_PREFIX) if known and known.startswith(COMMIT_PREFIX) else revision
    commit = hub.commit_of(model, wanted, file)
    return ModelFiles(model, model, revision, commit, cached=hub.cached_commit(model, commit, file) is not None)


def _check_folder(model: str, folder: Path) -> None:
    """Raises `ModelUnusable` for a folder in which no model can be, without reading much."""
    names = sorted(each.name for each in folder.iterdir())
    if CONFIG not in names:
        raise ModelUnusable(f"the folder '{model}' has no {CONFIG}: {_described(names) or NO_MODEL}")
    weights = [name for name in names if Path(name).suffix in WEIGHTS]
    if not weights:
        raise ModelUnusable(f"the folder '{model}' has no weights: {_described(names) or 'no model.safetensors'}")
    for name in weights:
        with (folder / name).open("rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                raise ModelUnusable(f"{name} of '{model}' is a Git LFS pointer, not weights: run `git lfs pull` there")


def _described(names: list[str]) -> str:
    """What a folder that is no model is."""
    if "adapter_config.json" in names:
        return "it holds a PEFT adapter; merge it into its model (`merge_and_unload`) and save that"
    for name in names:
        kind = KINDS_OF_FILES.get(Path(name).suffix)
        if kind and Path(name).suffix not in (".json", *WEIGHTS):
            return f"{name} is {kind}; Maskmill takes what transformers' `save_pretrained` writes"
    return ""


def _digest(folder: Path, *, weights: bool) -> str:
    """32 hex digits of the files that transformers may read. Weights beside safetensors are not among them."""
    found = sorted(each for each in folder.iterdir() if each.suffix in (*TEXTS, *WEIGHTS) and each.is_file())
    kinds = {each.suffix for each in found}
    left_out = WEIGHTS if not weights else WEIGHTS[1:] if WEIGHTS[0] in kinds else ()
    digest = hashlib.blake2b(digest_size=16)
    for each in found:
        if each.suffix not in left_out:
            state = each.stat()
            known = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
            digest.update(f"{each.name}\0{_file_digest(str(each), known)}\0".encode())
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _file_digest(path: str, state: tuple[int, ...]) -> str:
    """Read once while the file's size and times stay the same: a gigabyte takes a second."""
    del state
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
