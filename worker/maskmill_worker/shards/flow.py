"""The flow of a shard, from a claim to stored masks: `Flow.run` shows the stages in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch

from maskmill.errors import BrokerUnavailable, JobCancelled, ModelUnavailable, NewerRecord
from maskmill.images.limits import FetchLimits
from maskmill.ledger.answers import ClaimReply
from maskmill.schema import JobRecord
from maskmill.settings import Settings
from maskmill.storage.client import CONNECT_SECONDS, READ_SECONDS
from maskmill.storage.store import WORKER_ATTEMPTS
from maskmill_worker.model.batching import Batches
from maskmill_worker.model.forward import element_count, shape_of
from maskmill_worker.model.predict import NoMemory, Prediction, Turn, predict
from maskmill_worker.model.sample import Key, Sample, Task
from maskmill_worker.model.segmenter import AtATime, Segmenter
from maskmill_worker.process.drain import draining
from maskmill_worker.process.watchdog import time_limit
from maskmill_worker.shards.forward_threads import ForwardThreads, lanes
from maskmill_worker.shards.held_shard import HeldShard
from maskmill_worker.shards.scheduler import Pace
from maskmill_worker.shards.slice import Slice
from maskmill_worker.shards.uploads import Uploads, uploads
from maskmill_worker.shards.worker import ShardWorker

LOOK_AHEAD_BATCHES = 4
"""Batches' worth of later images that an image waits for while a batch of its shape fills."""

MAX_LOOK_AHEAD = 64

NOTED_AHEAD = 32
"""Images that are noted as in the model before they are: so many more go alone, once, after a crash."""


def process_shards(worker: ShardWorker) -> None:
    """Take shards until there is none: a slice of one job after the other, as the ledger schedules them.

    An error of one image becomes its outcome; any other gives the shards in hand back, or closes them with their
    images failed once their attempts are used up. Then the next notification decides when to go on.
    """
    going_on = True
    while going_on and not draining() and (claim := worker.claim_next()):
        going_on = work_on(worker, claim)


def work_on(worker: ShardWorker, claim: ClaimReply) -> bool:
    """Work on this shard and the job's next ones, as long as it is the job's turn; False if something went wrong."""
    with Slice(worker.services, claim.job, claim.out, worker.owner) as shards:
        first = shards.take(claim)
        if first is not None:
            record = worker.record(claim.job, claim.out)
            worker.prove_store(claim.out)
            with shards.loading(record.spec.model):
                segmenter = worker.segmenter(record, claim)
            segment(worker, shards, first, record, segmenter)
    worker.ended_slice(claim.job, claim.out, shards.error)
    return shards.error is None or _may_go_on(shards.error)


def _may_go_on(error: BaseException) -> bool:
    """Whether the next shard may be taken at once: this one is another worker's, or failed for what none can mend."""
    return isinstance(error, NewerRecord) or (isinstance(error, ModelUnavailable) and not error.retryable)


def segment(worker: ShardWorker, shards: Slice, first: HeldShard, record: JobRecord, segmenter: Segmenter) -> None:
    """Every image of the slice to its outcome; what is in hand of a cancelled job is accounted for."""
    fingerprint = record.spec.fingerprint(segmenter.identity)
    torch.use_deterministic_algorithms(bool(record.execution.deterministic), warn_only=True)
    with (
        uploads(shards, record, fingerprint, worker.services.settings.upload_threads) as stored,
        _until_cancelled(worker, shards, stored),
    ):
        Flow(worker, shards, record, segmenter, stored).run(first)


@contextmanager
def _until_cancelled(worker: ShardWorker, shards: Slice, stored: Uploads) -> Iterator[None]:
    try:
        yield
    except JobCancelled:
        worker.drop_loader()
        stored.finish()
        shards.give_up()


class Flow:
    """The images of one slice on their way through this process; loading, model and uploads overlap."""

    def __init__(
        self, worker: ShardWorker, shards: Slice, record: JobRecord, segmenter: Segmenter, stored: Uploads
    ) -> None:
        self.worker, self.shards, self.record, self.stored = worker, shards, record, stored
        self.segmenter = segmenter
        self.settings = worker.settings(record)
        self.loader = worker.loader(record, segmenter)
        self.size = worker.batch_size(record)
        look_ahead = min(MAX_LOOK_AHEAD, LOOK_AHEAD_BATCHES * (self.size.asked or MAX_LOOK_AHEAD))
        self.batches = Batches(self._shape, self._images, look_ahead)
        self.pace = Pace()
        # The threads of an operation decide the order of its sums: they are to be the same for every image then.
        asked = 1 if record.execution.deterministic else self.settings.forward_threads
        self.threads = ForwardThreads(
            self._segment, lanes(segmenter, asked, self.settings.cores_to_use), shards.clock, segmenter.device
        )
        self._tasks: Iterator[Task] = iter(())
        self._coming: dict[Key, None] = {}  # images that are loaded, or wait for batchmates
        self._lacked_memory: deque[Sample] = deque()  # alone in their batches, but beside others
        self._last_shard = False

    def run(self, first: HeldShard) -> None:
        """Load, sort, batch, predict and store until every image of every shard in hand has its outcome."""
        self._tasks = self._tasks_of(first)
        with self.threads.open():
            while True:
                self.shards.check()
                self.load()
                sample = self.next_sample()
                if sample is None:
                    break
                for batch in self.sort(sample):
                    self.predict(batch)
                self.predict_what_lacked_memory()
            rest = self.batches.rest()
            for batch in rest:
                self.predict(batch, alone=len(rest) == 1 and not self.threads.at_work)
            self.threads.finish()
            self.predict_what_lacked_memory()
        self.stored.finish()

    def load(self) -> None:
        """Give the loader tasks while it has room; after those of the shards in hand come those of the next one."""
        while self.loader.room:
            task = next(self._tasks, None)
            if task is not None:
                self._coming[task.key] = None
                self.loader.put(task)
            elif not self.begin_next_shard():
                return

    def begin_next_shard(self) -> bool:
        """Claim the job's next shard if there is time for it and it is the job's turn; False if not."""
        if self._last_shard or not self.pace.has_time(self.loader.outstanding, 2 * (self.size.asked or 1)):
            return False
        try:
            claim = None if draining() else self.worker.claim_next(only_this_job=True)
        except BrokerUnavailable:
            claim = None  # what is in hand can still be stored
        if not claim:
            self._last_shard = True
            return False
        try:
            shard = self.shards.take(claim)
        except Exception as error:  # noqa: BLE001 - those in hand are not to blame
            self.shards.end(claim.shard, error)
            self._last_shard = True
            return False
        self._tasks = self._tasks_of(shard) if shard else iter(())
        return True

    def _tasks_of(self, shard: HeldShard) -> Iterator[Task]:
        return shard.tasks(self.shards.store, self.record, self.stored.fingerprint)

    def next_sample(self) -> Sample | None:
        """The next image's tensors, or its error; None once nothing is in flight."""
        with time_limit(stuck_seconds(self.settings), "worker_stuck"):
            return self.loader.next()

    def sort(self, sample: Sample) -> Sequence[list[Sample]]:
        """An image without tensors goes straight to its outcome; the batches that are full with the others."""
        shard = self.shards.get(sample.task.shard)
        mask = shard.masks.pop(sample.task.index, None) if shard else None
        if shard is None:
            pass  # another worker has it now
        elif sample.unchanged and mask:
            self.stored.add_known(sample, mask.outcome(sample.task.reference, self.record.job))
        elif sample.error is not None:
            self.stored.add_failure(sample, sample.error)
        else:
            return self.batches.add(sample)
        del self._coming[sample.task.key]
        return ()

    def predict(self, batch: list[Sample], *, alone: bool = False) -> None:
        """Run the model over a batch and hand what comes of it to the upload threads.

        Alone: an image must be that may end the process. Code of a model's own stays in the thread that loaded it.
        """
        self.shards.check()
        for sample in batch:
            del self._coming[sample.task.key]
        alone = alone or self.segmenter.at_a_time is AtATime.BATCH
        if alone or any(self._goes_alone(sample.task.key) for sample in batch):
            self._predict_alone(batch)
        else:
            self.threads.run(batch, self._enter_model)

    def predict_what_lacked_memory(self) -> None:
        """Run the model once more over images that may have lacked what batches beside them had."""
        while self._lacked_memory:
            self.shards.check()
            self._predict_alone([self._lacked_memory.popleft()])

    def _predict_alone(self, batch: list[Sample]) -> None:
        """With all cores, and with no other batch beside it."""
        self.threads.finish()
        with self.shards.in_model(batch), self.pace.measure(len(batch)):
            for prediction in self._predictions(batch, self.threads.whole):
                self.stored.add(prediction)

    def _enter_model(self, batch: list[Sample]) -> None:
        may_follow = (key for key in self._coming if not self._goes_alone(key))
        self.shards.enter_model(batch, islice(may_follow, NOTED_AHEAD))

    def _segment(self, batch: list[Sample]) -> None:
        with self.pace.measure(len(batch) * self.threads.lanes.threads):
            for prediction in self._predictions(batch, self.threads.turn):
                if isinstance(prediction.result, NoMemory):
                    self._lacked_memory.append(prediction.sample)
                else:
                    self.stored.add(prediction)

    def _predictions(self, batch: list[Sample], turn: Turn) -> Iterator[Prediction]:
        return predict(self.segmenter, batch, self.size, self.settings.batch_timeout_seconds, turn)

    def _images(self, sample: Sample) -> int:
        """How many images of this one's shape make a batch."""
        return self.size.of(element_count(sample.inputs), self.threads.lanes.passes)

    def _shape(self, sample: Sample) -> tuple[Any, ...] | None:
        """What images of one batch have in common; None for one that may end the process, which goes alone."""
        return None if self._goes_alone(sample.task.key) else shape_of(sample.inputs)

    def _goes_alone(self, key: Key) -> bool:
        shard = self.shards.get(key[0])
        return shard is not None and key[1] in shard.crash_note.alone


def stuck_seconds(settings: Settings) -> float:
    """Longer than the next image can take by the limits of its reads, twice: a worker that waits so long never ends."""
    http = FetchLimits.attempts * settings.fetch_timeout_seconds
    store = WORKER_ATTEMPTS * (CONNECT_SECONDS + READ_SECONDS)
    return 2 * (http + store + settings.image_timeout_seconds) + settings.batch_timeout_seconds
