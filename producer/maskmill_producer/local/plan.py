"""What `maskmill run` was asked for, checked before any server is started."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmill import parameters
from maskmill.addresses import Address
from maskmill.errors import UsageError
from maskmill.images import references, sources
from maskmill.machine import require_room
from maskmill.parameters import PipelineParameters
from maskmill.schema import JobRecord
from maskmill_producer.local.mirror import check_replaceable


@dataclass(frozen=True)
class Selection:
    """Which images: the sources, and how they are read. `root` is the folder below which masks mirror paths."""

    source_names: tuple[str, ...]
    column: str | None = None
    root: str = "."
    all_files: bool = False
    strict: bool = False

    @property
    def sources(self) -> tuple[Address, ...]:
        """The sources as the job's record has them."""
        return tuple(Address(references.describe(name)) for name in self.source_names)

    @property
    def described(self) -> tuple[Any, ...]:
        """What the job's record keeps of it."""
        return self.sources, self.column, os.path.abspath(self.root), self.all_files  # noqa: PTH100 - no link is followed

    @staticmethod
    def of(record: JobRecord) -> tuple[Any, ...]:
        """The same of a job that is there."""
        return record.sources, record.column, record.root, record.all_files


@dataclass(frozen=True)
class Plan:
    """What was asked for: images, parameters as the pipeline names them, target folder, and the worker's options."""

    selection: Selection
    parameters: PipelineParameters
    folder: Path
    worker_options: tuple[str, ...]
    max_image_pixels: int | None = None
    overlays: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work before any server is started."""
        if "://" in str(self.folder):
            raise UsageError("run writes to a local folder: for an s3:// prefix use `maskmill submit`")
        if "-" in self.selection.source_names:
            raise UsageError("run cannot be continued from standard input: write the list to a .txt file")
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--out {self.folder} is a file: name a folder")
        require_room(self.folder)
        parameters.parse(**self.parameters)
        for name in self.selection.source_names:
            sources.check(name)
        check_replaceable(self.folder, self.selection.sources)

    @property
    def prefix(self) -> str:
        """Output prefix in the embedded store: the folder's name and a hash of its path."""
        digest = hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:8]
        return f"{self.folder.resolve().name or 'out'}-{digest}"

    @property
    def queue(self) -> str:
        """A queue of its own for each command line, so that two runs do not wait for each other's images."""
        spec, execution = parameters.parse(**self.parameters)
        texts = (self.prefix, spec.fingerprint(), execution.model_dump_json(), *map(str, self.selection.described[1:]))
        text = "\n".join((*texts, *(source.reveal() for source in self.selection.sources)))
        return f"run-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
