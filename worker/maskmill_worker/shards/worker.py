"""What a worker process keeps from slice to slice: its connections, its model, its loader, what it has learned."""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import suppress

import structlog

from maskmill.errors import BrokerUnavailable, ModelUnavailable, NewerRecord, StoreUnavailable
from maskmill.images.pace import Pace
from maskmill.jobs.records import decide_model, put_classes, read_job, read_model
from maskmill.ledger.answers import ClaimReply
from maskmill.schema import JobRecord, ModelIdentity
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill.storage.probe import require_store
from maskmill.storage.store import Store
from maskmill_worker.loading.loader import Loader
from maskmill_worker.model.batch_size import BatchSize
from maskmill_worker.model.models import Models
from maskmill_worker.model.segmenter import Segmenter
from maskmill_worker.shards.attempts import REFUSALS
from maskmill_worker.shards.scheduler import Scheduler

log = structlog.get_logger(__name__)


class ShardWorker:
    """One worker process. `owner` is its name in the ledger."""

    def __init__(self, services: Services, models: Models) -> None:
        self.services = services
        self.models = models
        self.scheduler = Scheduler()
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._pace = Pace(services.settings.host_requests_per_second)
        self._record: JobRecord | None = None
        self._identity: tuple[str, ModelIdentity] | None = None
        self._unusable: tuple[tuple[str, int], ModelUnavailable] | None = None
        self._loader: tuple[object, Loader] | None = None
        self._batch_sizes: dict[object, BatchSize] = {}
        self._proved: set[str] = set()
        self._newer: set[str] = set()

    def claim_next(self, *, only_this_job: bool = False) -> ClaimReply:
        """Claim the shard whose turn it is: of any job, or only if it is one of the job that the worker is at."""
        turn = self.scheduler.turn(only_this_job=only_this_job)
        return self.services.ledger.claim_next(self.owner, self.services.settings.lease_seconds, turn, self._newer)

    def record(self, job: str, out: str) -> JobRecord:
        """The job's record, read once while the job stays the same."""
        if self._record is None or self._record.job != job:
            self._record = read_job(self.services.store(out), job)
        return self._record

    def settings(self, record: JobRecord) -> Settings:
        """The worker's settings with what the job's submitter asked for instead, within this worker's bounds."""
        own, asked = self.services.settings, record.execution
        changes: dict[str, float] = {}
        if asked.num_workers is not None:
            most, least = max(own.max_num_workers, own.loader_processes), min(1, own.loader_processes)
            changes["num_workers"] = max(least, min(asked.num_workers, most))  # 0: no image apart from the model
        if asked.timeout is not None:
            most_seconds = max(own.max_fetch_timeout_seconds, own.fetch_timeout_seconds)
            changes["fetch_timeout_seconds"] = min(asked.timeout, most_seconds)
        if asked.anonymous:
            changes["anonymous"] = True
        return own.model_copy(update=changes)

    def segmenter(self, record: JobRecord, claim: ClaimReply) -> Segmenter:
        """The job's model, ready; a slice is long against the time that loading it took.

        Whoever has loaded it first decides which files the job's model is made of. A model that can never work is tried
        once in a job's retry round.
        """
        started = time.monotonic()
        if self._unusable and self._unusable[0] == (record.job, claim.retry_round):
            raise self._unusable[1]
        try:
            segmenter = self._decided(record, self.services.store(claim.out))
        except ModelUnavailable as error:
            if not error.retryable:
                self._unusable = (record.job, claim.retry_round), error
            raise
        self.scheduler.begin(record.job, record.spec.model_key(), time.monotonic() - started)
        return segmenter

    def _decided(self, record: JobRecord, store: Store) -> Segmenter:
        known = self._identity[1] if self._identity and self._identity[0] == record.job else None
        known = known or read_model(store, record.job)
        segmenter = self.models.get(record.spec, known)
        if known is None:
            known = decide_model(store, record.job, segmenter.identity)
            if known != segmenter.identity:  # another worker was first, with other files
                segmenter = self.models.get(record.spec, known)
            put_classes(store, record.job, segmenter.classes)
        if self._identity != (record.job, known):
            with suppress(BrokerUnavailable):  # only `status` would lack it
                self.services.ledger.made_of(record.job, known.files)
            self._identity = record.job, known
        return segmenter

    def batch_size(self, record: JobRecord) -> BatchSize:
        """What was learned about batches of this job's model, for the batch size that the job asks for."""
        own, asked = self.services.settings, record.execution.batch_size
        if isinstance(asked, int):
            asked = min(asked, max(own.max_batch_size, own.batch_size if isinstance(own.batch_size, int) else 1))
        wanted = asked or own.batch_size
        images = 1 if record.execution.deterministic else None if wanted == "auto" else wanted
        return self._batch_sizes.setdefault((record.spec.model, record.spec.dtype, images), BatchSize(images))

    def loader(self, record: JobRecord, segmenter: Segmenter) -> Loader:
        """The loader processes of the last slice where they fit this one, else new ones."""
        key = (record.spec, record.execution, segmenter.identity)
        if self._loader is None or self._loader[0] != key:
            self.drop_loader()
            self._loader = key, Loader(segmenter, self.settings(record), record.spec.scale, self._pace)
        return self._loader[1]

    def drop_loader(self) -> None:
        """End the loader processes, with whatever they have in flight."""
        if self._loader is not None:
            self._loader[1].close()
            self._loader = None

    def prove_store(self, out: str) -> None:
        """Before the first slice of a store, and after one that it ended: nothing is to be segmented in vain.

        Raises `StoreRefused` with what is wrong, and `StoreUnavailable`.
        """
        if out not in self._proved:
            require_store(self.services.store(out))
            self._proved.add(out)

    def ended_slice(self, job: str, out: str, error: BaseException | None) -> None:
        """Remember what ended a slice: a store that is to prove itself, or a job that needs a newer Maskmill.

        Loader processes that may hold anything of it are dropped.
        """
        if isinstance(error, NewerRecord):
            log.warning("job_left_to_others", job=job, reason=str(error))
            self._newer.add(job)
        if error is not None:
            self.drop_loader()
        if isinstance(error, (*REFUSALS, StoreUnavailable)):
            self._proved.discard(out)
