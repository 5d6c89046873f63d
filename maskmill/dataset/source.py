"""Where a dataset comes from: a job below an output prefix, or a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

from maskmill.errors import UsageError
from maskmill.jobs.outcomes import Decided, Paired
from maskmill.jobs.records import current_round, read_classes, read_job, read_manifest
from maskmill.schema import JobRecord, Manifest, Outcome, ShardReport
from maskmill.settings import Settings
from maskmill.storage.store import Store

CONNECTIONS = 16


class Source(Protocol):
    """A job that has ended, in runs of images that are called shards. Made anew in each process."""

    @property
    def settings(self) -> Settings:
        """How images are read."""

    @property
    def record(self) -> JobRecord:
        """What was submitted."""

    @property
    def manifest(self) -> Manifest:
        """The closing account."""

    @property
    def shards(self) -> int:
        """How many there are."""

    @property
    def retry_round(self) -> int:
        """The job's last retry: after another one its results differ."""

    @property
    def contents(self) -> str | None:
        """What tells a folder's results from others of the same job and retry; None of a job in a store."""

    @property
    def labels(self) -> Mapping[int, str]:
        """The names that the model has for its labels; empty where nobody has written them down."""

    def outcomes(self, shard: int) -> Sequence[Outcome]:
        """What became of the images of a shard, in the order of submission."""

    def paired(self, shard: int) -> Sequence[Paired]:
        """The same, each with the reference that has the image's whole address, if that is known."""

    def mask(self, key: str) -> bytes:
        """A mask's file; raises `ObjectNotFound` where it is gone."""


SourceMaker: TypeAlias = Callable[[], Source]
"""Opens a source; it is pickled, for other processes."""


@dataclass(frozen=True)
class StoredJob:
    """A job in a store."""

    settings: Settings
    store: Store
    record: JobRecord
    manifest: Manifest
    retry_round: int
    contents: None = None

    @classmethod
    def open(cls, settings: Settings, out: str, job: str) -> StoredJob:
        """The job below this output prefix: `partial(StoredJob.open, settings, out, job)` is a `SourceMaker`.

        Raises `JobNotFound`, and `UsageError` while the job runs: what it would give changes yet.
        """
        return cls.of(settings, Store(out, settings.s3, connections=CONNECTIONS), job)

    @classmethod
    def of(cls, settings: Settings, store: Store, job: str) -> StoredJob:
        """The same with a store that is there already, for one process."""
        record, manifest = read_job(store, job), read_manifest(store, job)
        if manifest is None:
            raise UsageError(f"job {job} has not ended: wait with `maskmill watch {job}`, or `maskmill cancel {job}`")
        return cls(settings, store, record, manifest, current_round(store, job))

    @property
    def shards(self) -> int:
        """As submitted."""
        return self.record.shards

    @cached_property
    def labels(self) -> Mapping[int, str]:
        """As the first worker that loaded the model wrote them down."""
        found = read_classes(self.store, self.record.job)
        return dict(found.id2label) if found else {}

    @cached_property
    def _decided(self) -> Decided:
        return Decided(self.store, self.record.job)

    def outcomes(self, shard: int) -> Sequence[Outcome]:
        """From the shard's report."""
        return self._decided.outcomes(shard)

    def report(self, shard: int) -> ShardReport | None:
        """What the shard's worker has written; None for one that nobody began before the job was cancelled."""
        return self._decided.report(shard)

    def paired(self, shard: int) -> Sequence[Paired]:
        """From the report and the shard."""
        return self._decided.paired(shard)

    def mask(self, key: str) -> bytes:
        """The object."""
        return self.store.get(key)
