"""The shards of one job that a worker has in hand, from the first claim until each one is ended.

A shard ends in exactly one of four ways: committed, given back, committed with the rest of its images failed, or left
to another worker that has its lease now (`shards.attempts`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

import structlog

from maskmill.errors import (
    BrokerUnavailable,
    DeviceLost,
    ImageCrashed,
    JobCancelled,
    LeaseLost,
    MaskmillError,
    WorkerCrashed,
    one_line,
)
from maskmill.events import ImageDone, ShardCommitted
from maskmill.jobs.account import book_shard, commit_shard
from maskmill.jobs.reconcile import reconcile_job
from maskmill.jobs.records import given_up, read_latest_report, read_references, read_report, read_retry
from maskmill.ledger.answers import ClaimReply, InHand
from maskmill.schema import Counts, Outcome
from maskmill.services import Services
from maskmill_worker.model.sample import Key, Sample
from maskmill_worker.process.clock import DeviceClock
from maskmill_worker.shards.attempts import Ending, code_of, verdict
from maskmill_worker.shards.crashes import CRASHES_ALONE, CrashNote
from maskmill_worker.shards.held_shard import HeldShard, failed, indices_by_shard
from maskmill_worker.shards.lease import Leases

COMES_BACK_SECONDS = 1.0
"""How long nobody claims a shard that came back to a slice which had left it to another worker."""

log = structlog.get_logger(__name__)


class Slice:
    """The held shards of one job; leaving the block ends those that are not committed.

    An `Exception` inside ends each one's attempt and goes no further; an interruption (`SystemExit`,
    `KeyboardInterrupt`) gives them back and is raised on, as is `DeviceLost`, after which this process must end.
    `error` is what ended the block.
    """

    def __init__(self, services: Services, job: str, out: str, owner: str) -> None:
        self.services, self.job, self.out, self.owner = services, job, out, owner
        self.store = services.store(out)
        self.clock = DeviceClock()
        self.error: BaseException | None = None
        self._held: dict[int, HeldShard] = {}
        self._loading = ""
        self._leases = Leases(services.ledger, job, owner, services.settings.lease_seconds, self._said_of)
        self._left_images_of: set[int] = set()  # shards that went to others; images of theirs may still be loaded
        self._noted: set[Key] = set()  # as in the model
        self._unheard: set[HeldShard] = set()  # those whose notes the broker did not take

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        try:
            for shard in list(self._held.values()):
                self._end(shard, error or InterruptedError("left unfinished"))
        finally:
            self._leases.stop()
        return isinstance(error, Exception) and not isinstance(error, DeviceLost)

    def take(self, claim: ClaimReply) -> HeldShard | None:
        """Hold a claimed shard and read what is to be done; None if nothing is.

        Nothing is to be done for a shard that is in hand already, that has its report, that failed after too many
        crashes, or whose images all have their outcomes.
        """
        if claim.shard in self._held or claim.shard in self._left_images_of:
            self._refuse_second_claim(claim.shard)
            return None
        shard = HeldShard(claim, CrashNote.from_text(claim.note), counted=claim.counted)
        self._held[claim.shard] = shard
        self._noted.clear()  # the next note says of this one, too, that others' images are in the model
        self._leases.add(claim.shard)
        if self._book_if_decided(shard):
            return None
        self._attribute_crash(shard)
        shard.references = read_references(self.store, self.job, claim.shard)
        shard.outcomes = self._known_outcomes(shard)
        allowed = self.services.settings.max_attempts
        if shard.counted > allowed:
            self._fail_rest(shard, WorkerCrashed(f"the worker process died in all {allowed} attempts at this shard"))
            return None
        if len(shard.outcomes) == len(shard.references):
            self._commit(shard)
            return None
        return shard

    def get(self, number: int) -> HeldShard | None:
        """The shard of this number while it is in hand."""
        return self._held.get(number)

    def end(self, number: int, error: Exception) -> None:
        """End the attempt at one shard; the others in hand go on."""
        if shard := self._held.get(number):
            self._end(shard, error)

    def check(self) -> None:
        """Let go of shards that another worker has by now; raise `JobCancelled` if the job is cancelled."""
        for number in self._leases.lost():
            shard = self._held.get(number)
            if shard and not shard.complete:  # a complete one is about to be committed, which needs no lease
                self._end(shard, LeaseLost(f"shard {number} of job {self.job} went to another worker"))
                self._left_images_of.add(number)
        if self._leases.cancelled.is_set():
            raise JobCancelled(f"job {self.job} is cancelled")

    @contextmanager
    def loading(self, model: str) -> Iterator[None]:
        """Tell whoever watches the job that its model is loaded first."""
        self._loading = model
        yield
        self._loading = ""

    def enter_model(self, samples: Sequence[Sample], following: Iterable[Key] = ()) -> None:
        """Tell the ledger which images are in the model, so that they are known should one end this process.

        Those that follow soon are told with them, so that a call does for several batches.
        """
        entering = {sample.task.key for sample in samples}
        if entering <= self._noted:
            return
        self._noted = entering.union(following)
        indices = indices_by_shard(sorted(self._noted))
        notes = {}
        for each in list(self._held.values()):
            own = indices.get(each.number, ())
            notes[each] = each.crash_note.passed().entering(own, with_others=len(own) < len(self._noted))
        self._note(notes)

    @contextmanager
    def in_model(self, batch: Sequence[Sample]) -> Iterator[None]:
        """The same for a batch that has the model for itself; of images that must go alone, say that they are out."""
        self._noted.clear()
        self.enter_model(batch)
        yield
        self._noted.clear()
        numbers = {sample.task.shard for sample in batch}
        alone = [each for each in self._held.values() if each.number in numbers and each.crash_note.alone]
        self._note({each: each.crash_note.passed() for each in alone})

    def decide(self, number: int, index: int, outcome: Outcome) -> None:
        """Take the outcome of one image; the last one of a shard commits it. Called by upload threads."""
        shard = self._held.get(number)
        if shard is None:  # another worker has it by now
            return
        self.services.events.emit(
            ImageDone(
                self.job,
                number,
                outcome.uri,
                outcome.status.value,
                outcome.code or "",
                sum((outcome.seconds or {}).values()),
            )
        )
        if shard.decide(index, outcome):
            self._commit(shard)

    def give_up(self) -> None:
        """The job is cancelled: account for the images in hand that have no outcome."""
        for shard in list(self._held.values()):
            rest = given_up(self.store, self.job, shard.number, shard.claim.retry_round, shard.references)
            for index, outcome in enumerate(rest):
                self.decide(shard.number, index, outcome)

    def _said_of(self, number: int) -> InHand:
        """What goes with the renewal of a shard's lease."""
        shard = self._held.get(number)
        return InHand(shard.counts if shard else Counts(), self._loading)

    def _refuse_second_claim(self, number: int) -> None:
        """Our own lease ran out, and we claimed the shard again.

        One that is still in hand goes on; one that was let go is given back, for a slice that loads it anew.
        """
        if number in self._held:
            self.services.ledger.excuse(self.job, number)
        else:
            self.services.ledger.release(self.job, number, self.owner, delay_seconds=COMES_BACK_SECONDS, counts=False)

    def _book_if_decided(self, shard: HeldShard) -> bool:
        """Book the shard if its report is there already: its owner died in between, or the ledger was lost."""
        report = read_report(self.store, self.job, shard.number, shard.claim.retry_round)
        if report is not None:
            book_shard(self.services, self.store, report, shard.claim.retry_round)
            self._committed(shard)
        return report is not None

    def _attribute_crash(self, shard: HeldShard) -> None:
        """Whoever had the shard last is gone without a word: blame the images that it had in the model."""
        note = shard.crash_note
        if not note.explains_crash:
            return
        log.warning("crash_attributed", **shard.name, images=len(note.in_model))
        self._note({shard: note.after_crash()})
        with suppress(BrokerUnavailable):
            self.services.ledger.excuse(self.job, shard.number)
        shard.counted -= 1

    def _known_outcomes(self, shard: HeldShard) -> dict[int, Outcome]:
        """Outcomes that need no work: in a retry round those of most images, and those of images that crash."""
        known: dict[int, Outcome] = {}
        retry_round = shard.claim.retry_round
        if retry_round and (before := read_latest_report(self.store, self.job, shard.number, retry_round - 1)):
            retry = read_retry(self.store, self.job, retry_round)
            known = {index: each for index, each in enumerate(before.outcomes) if not retry.concerns(each)}
        crashed = ImageCrashed(f"ended {CRASHES_ALONE} worker processes while it was alone in the model")
        return known | {index: failed(shard.references[index], crashed) for index in shard.crash_note.crashing}

    def _commit(self, shard: HeldShard) -> None:
        lap = self.clock.lap()
        report = shard.report(self.owner).model_copy(update={"device": lap})
        commit_shard(self.services, self.out, report, lap.total)
        self.services.events.emit(
            ShardCommitted(
                self.job,
                shard.number,
                shard.claim.attempt,
                report.counts().model_dump(),
                shard.claim.retry_round,
                lap.total,
            )
        )
        self._committed(shard)

    def _committed(self, shard: HeldShard) -> None:
        self._drop(shard)
        try:
            reconcile_job(self.services, self.job)
        except MaskmillError as error:  # whoever reconciles next closes the job
            log.warning("job_not_reconciled", job=self.job, code=error.code, reason=str(error))

    def _drop(self, shard: HeldShard) -> None:
        self._leases.drop(shard.number)
        self._held.pop(shard.number, None)

    def _fail_rest(self, shard: HeldShard, error: Exception) -> None:
        """Every image that has no outcome yet has failed with this error."""
        log.error("rest_of_shard_failed", **shard.name, code=code_of(error), reason=one_line(error))
        shard.fail_rest(error)
        self._commit(shard)

    def _end(self, shard: HeldShard, error: BaseException) -> None:
        """End the attempt as the verdict says; whatever fails here leaves the shard to its lease."""
        lost = self._leases.is_lost(shard.number)
        try:
            self._end_attempt(shard, LeaseLost("it went to another worker") if lost else error)
        except Exception as second:  # noqa: BLE001 - the other shards are to be ended too
            log.warning("shard_left_to_its_lease", **shard.name, code=code_of(second), reason=one_line(second))
        self._drop(shard)

    def _end_attempt(self, shard: HeldShard, error: BaseException) -> None:
        most, known = self.services.settings.max_attempts, bool(shard.references)
        judged = verdict(error, shard.claim.attempt, shard.counted, most, images_known=known)
        if judged.ending is Ending.LEAVE:
            log.warning("lease_lost", **shard.name)
            self.services.ledger.excuse(self.job, shard.number)
        elif judged.ending is Ending.FAIL_REST and isinstance(error, Exception):
            self._fail_rest(shard, error)
        else:
            self._give_back(shard, error, judged.pause_seconds, counts=judged.counts)

    def _give_back(self, shard: HeldShard, error: BaseException, longest_pause: float, *, counts: bool) -> None:
        delay = longest_pause * random.uniform(0.5, 1)  # noqa: S311 - jitter
        log.warning("shard_given_back", **shard.name, code=code_of(error), reason=one_line(error), delay_seconds=delay)
        self._note({shard: shard.crash_note.at_rest()})
        self.services.ledger.release(
            self.job, shard.number, self.owner, delay_seconds=delay, counts=counts, seconds=self.clock.lap().total
        )
        if isinstance(error, Exception) and not isinstance(error, JobCancelled):
            self.services.ledger.trouble(self.job, f"{code_of(error)}: {one_line(error)}")

    def _note(self, changes: Mapping[HeldShard, CrashNote]) -> None:
        changed = {each: note for each, note in changes.items() if each.crash_note != note or each in self._unheard}
        for shard, note in changed.items():
            shard.crash_note = note
        if changed:
            texts = {shard.number: note.text() for shard, note in changed.items()}
            try:
                self.services.ledger.note(self.job, self.owner, texts)
            except BrokerUnavailable:  # a crash before the next batch would count as unexplained
                self._unheard.update(changed)
                self._noted.clear()
            else:
                self._unheard.difference_update(changed)
