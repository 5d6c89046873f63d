"""What `maskmill run` was asked for, checked before any server is started."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmill import device, parameters
from maskmill.addresses import Address
from maskmill.errors import UsageError
from maskmill.images import references, sources
from maskmill.machine import require_room
from maskmill.parameters import PipelineParameters
from maskmill.schema import JobRecord
from maskmill_producer.local.folder import MANIFEST
from maskmill_producer.local.mirror import check_replaceable

AN_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""`s3://bucket/out` as a `Path` has it, which makes one slash of two."""


@dataclass(frozen=True)
class Selection:
    """Which images: the sources, and how they are read. `root` is the folder below which masks mirror paths."""

    source_names: tuple[str, ...]
    column: str | None = None
    root: str = "."
    all_files: bool = False
    strict: bool = False
    limit: int | None = None

    @property
    def sources(self) -> tuple[Address, ...]:
        """The sources as the job's record has them."""
        return tuple(Address(references.describe(name)) for name in self.source_names)

    @property
    def described(self) -> tuple[Any, ...]:
        """What the job's record keeps of it."""
        root = os.path.abspath(self.root)  # noqa: PTH100 - no link is followed
        return self.sources, self.column, root, self.all_files, self.limit

    @staticmethod
    def of(record: JobRecord) -> tuple[Any, ...]:
        """The same of a job that is there."""
        return record.sources, record.column, record.root, record.all_files, record.limit


@dataclass(frozen=True)
class Plan:
    """What was asked for: images, parameters as the pipeline names them, target folder, and the worker's devices."""

    selection: Selection
    parameters: PipelineParameters
    folder: Path
    device: str = "auto"
    devices: str = ""
    workers_per_device: int | None = None
    max_image_pixels: int | None = None
    overlays: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work before any server is started."""
        if AN_ADDRESS.match(str(self.folder)):
            raise UsageError(f"--out {self.folder}: run writes to a local folder; for s3:// use `maskmill submit`")
        if "-" in self.selection.source_names:
            raise UsageError("run cannot be continued from standard input: write the list to a .txt file")
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"--out {self.folder} is a file: name a folder")
        if not Path(self.selection.root).is_dir():
            raise UsageError(f"--root {self.selection.root}: no such folder: check the spelling")
        require_room(self.folder)
        device.require(self._alone, self.devices, self.workers_per_device)
        parameters.parse(**self.parameters)
        for name in self.selection.source_names:
            sources.check(name)
        check_replaceable(self.folder, self.selection.sources)

    @property
    def _alone(self) -> str:
        """The one device, where no others are listed."""
        return self.device if self.device != "auto" or not self.devices else ""

    @property
    def worker_options(self) -> tuple[str, ...]:
        """Which workers to run, in the words of `maskmill-worker`."""
        number = str(self.workers_per_device) if self.workers_per_device else ""
        given = {"--device": self._alone, "--devices": self.devices, "--workers-per-device": number}
        return tuple(text for option, value in given.items() if value for text in (option, value))

    @property
    def has_results(self) -> bool:
        """Whether the folder holds a run's results."""
        return (self.folder / MANIFEST).exists()

    @property
    def may_be_done(self) -> bool:
        """Whether the masks that are asked for may all be there: then one looks before a worker is started."""
        return self.has_results and not self.parameters.get("overwrite")

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
