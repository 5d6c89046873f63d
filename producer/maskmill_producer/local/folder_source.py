"""A folder of results as a dataset, without a server: what `maskmill export DIR` and others read.

Shards here are runs of lines of `metadata.jsonl`, and of `failures.jsonl` behind them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from maskmill.errors import ObjectNotFound, StoreRefused, UsageError
from maskmill.images.folders import METADATA
from maskmill.jobs.outcomes import Paired
from maskmill.schema import JobRecord, Manifest, Outcome, outcome_in
from maskmill.settings import Settings
from maskmill_producer.local.folder import CLASSES, FAILURES, Folder, Unplaceable, owner, place_of
from maskmill_producer.local.recorded import Recorded

LINES = 512
"""Of a shard."""


@dataclass(frozen=True)
class FolderSource:
    """What `maskmill run` or `results --download` has written. It can be pickled: lines are counted once."""

    settings: Settings
    root: Path
    masks: Path
    record: JobRecord
    manifest: Manifest
    labels: Mapping[int, str]
    contents: str
    runs: tuple[tuple[str, int, int], ...]
    """Of each shard the file, where it begins there, and how many bytes it has."""

    retry_round: int = 0

    @classmethod
    def open(cls, settings: Settings, path: Path) -> FolderSource:
        """The results in a folder; raises `UsageError` for one that has none, or not all of them."""
        manifest, record = Recorded(path).manifest(), owner(path)
        if not isinstance(record, JobRecord):
            raise UsageError(f"{path} has no job.json: run the same command again, or `maskmill results --download`")
        digest, runs = hashlib.sha256(), list[tuple[str, int, int]]()
        for name in (METADATA, FAILURES):
            runs += [(name, *run) for run in _runs(path / name, digest.update)]
        folder = Folder.at(path)
        contents = digest.hexdigest()[:32]
        return cls(settings, folder.root, folder.masks, record, manifest, _labels(path), contents, tuple(runs))

    def again(self) -> FolderSource:
        """What opens it in another process."""
        return self

    @property
    def shards(self) -> int:
        """Runs of lines."""
        return len(self.runs)

    def outcomes(self, shard: int) -> Sequence[Outcome]:
        """Those of one run of lines."""
        name, at, size = self.runs[shard]
        with (self.root / name).open("rb") as file:
            file.seek(at)
            return [outcome_in(line) for line in file.read(size).split(b"\n") if line]

    def paired(self, shard: int) -> Sequence[Paired]:
        """The same: a folder holds no secrets of addresses."""
        return [(outcome, None) for outcome in self.outcomes(shard)]

    def mask(self, key: str) -> bytes:
        """The file."""
        try:
            path = place_of(self.masks, key).resolve()
        except Unplaceable as error:
            raise ObjectNotFound(str(error)) from error
        if not path.is_relative_to(self.root):
            raise ObjectNotFound(f"{key} leads out of {self.root}")
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectNotFound(f"{path} is gone: run the same command again, or `results --download`") from None
        except OSError as error:
            raise StoreRefused(f"{path} cannot be read: {error.strerror}") from error


def _runs(path: Path, see: Callable[[bytes], object]) -> Sequence[tuple[int, int]]:
    """Where each run of lines begins and how many bytes it has, which are shown to `see`."""
    found, at = list[tuple[int, int]](), 0
    try:
        with path.open("rb") as file:
            while some := b"".join(islice(file, LINES)):
                see(some)
                found.append((at, len(some)))
                at += len(some)
    except FileNotFoundError:
        raise UsageError(f"{path} is gone: run the same command again") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): run the same command again") from error
    return found


def _labels(path: Path) -> dict[int, str]:
    """The model's classes, where the folder says them."""
    try:
        listed = json.loads((path / CLASSES).read_bytes())["id2label"]
        return {int(label_id): str(title) for label_id, title in listed.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"{path / CLASSES} is not one of Maskmill's files: run the same command again") from error
