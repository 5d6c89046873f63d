"""The records of a job as a whole: from its submission to its closing account."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field

from maskmill.addresses import Address
from maskmill.schema.outcome import Counts, FailureExample, Outcome, Status
from maskmill.schema.record import VERSION, Count, JobId, Record
from maskmill.schema.spec import Execution, ModelIdentity, Spec

MAX_SHARDS = 2**31
"""Far above what a bitmap of 512 MB, Redis's longest string, can mark as done (2^32 bits)."""


class JobRecord(Record):
    """`job.json`: what a user submitted. Written once all shards are in the bucket.

    `shard_size` is the setting at submission: `maskmill.jobs.submit.images_in_shard` makes later shards larger.
    `found` entries of the sources are the `images` and those `left_out`, by reason (`maskmill.images.entries.Reason`),
    with an example of each; only the first `limit` were taken. Masks of local images below `root` mirror their paths
    from there. `inputs` is how many a Python program gave, where references know which one they are of.
    """

    version: Literal[1] = VERSION
    job: JobId
    created: datetime
    sources: tuple[Address, ...]
    column: str | None = None
    root: str | None = None
    all_files: bool = False
    limit: Annotated[int, Field(ge=1)] | None = None
    inputs: Count | None = None
    spec: Spec
    execution: Execution
    found: Count | None = None
    left_out: dict[str, Count] = Field(default_factory=dict)
    left_out_examples: dict[str, str] = Field(default_factory=dict)
    images: Count
    shards: Annotated[int, Field(ge=0, le=MAX_SHARDS)]
    shard_size: Annotated[int, Field(ge=1)]
    software: dict[str, str] = Field(default_factory=dict)


class JobState(StrEnum):
    """Where a job stands, in the words that the CLI prints."""

    RUNNING = "running"
    COMPLETED = "completed"
    COMPLETED_WITH_FAILURES = "completed with failures"
    CANCELLED = "cancelled"


class Manifest(Record):
    """`manifest.json`: the job's closing account.

    found = submitted + left out, submitted = stored + reused + failed + cancelled.
    """

    version: Literal[1] = VERSION
    job: JobId
    state: JobState
    found: Count | None = None
    left_out: dict[str, Count] = Field(default_factory=dict)
    left_out_examples: dict[str, str] = Field(default_factory=dict)
    submitted: Count
    counts: Counts
    failures: dict[str, Count] = Field(default_factory=dict)
    warnings: dict[str, Count] = Field(default_factory=dict)
    examples: dict[str, FailureExample] = Field(default_factory=dict)
    spec: Spec
    fingerprint: str
    model: ModelIdentity | None = None
    created: datetime
    finished: datetime
    reason: str | None = None


class Cancellation(Record):
    """`cancelled.json`: nobody begins a shard of this job any more in this retry round, and why."""

    version: Literal[1] = VERSION
    job: JobId
    cancelled: datetime
    reason: str


class Deletion(Record):
    """`deleting.json`: the job is being deleted, with its masks or without. Whoever finds it goes on."""

    version: Literal[1] = VERSION
    job: JobId
    created: datetime
    masks: bool


class RetryRound(Record):
    """`retries/0001.json`: failed images of these codes (None: of any) are tried once more. Rounds count from 1."""

    version: Literal[1] = VERSION
    job: JobId
    round: Annotated[int, Field(ge=1)]
    codes: tuple[str, ...] | None = None
    created: datetime

    def concerns(self, outcome: Outcome) -> bool:
        """Whether this image is tried again."""
        return outcome.status is Status.FAILED and (self.codes is None or outcome.code in self.codes)


class WaitingFor(StrEnum):
    """Why nothing is being done for a job that runs."""

    BROKER = "broker_away"
    STORE = "store_away"
    WORKER = "no_worker"
    START = "worker_starts"
    TURN = "workers_busy"
    PAUSE = "pause_after_error"
    CLAIM = "not_begun"
    MODEL = "model_loading"
    FIRST_IMAGE = "first_images"


class Waiting(Record):
    """Why nothing of a job that runs is finished now: a stable code, and the same for people with what to do."""

    code: WaitingFor
    reason: str


class JobStatus(Record):
    """Where a job stands now: `status --json`. `shards_claimed` are being worked on, `shards_queued` wait for it.

    `counts` are decided for good. `in_hand` are finished, too, in shards that are not: they are counted anew should
    their worker end. `done` is both. `waiting` says why nothing happens, if nothing does.

    `trouble` is what keeps the workers from going on with it now, such as a store that refuses its results. `files` are
    those that its model is made of (`ModelIdentity.files`), once a worker has loaded it.
    """

    job: JobId
    out: str
    state: JobState
    found: Count | None = None
    left_out: dict[str, Count] = Field(default_factory=dict)
    submitted: Count
    counts: Counts
    failures: dict[str, Count] = Field(default_factory=dict)
    warnings: dict[str, Count] = Field(default_factory=dict)
    examples: dict[str, FailureExample] = Field(default_factory=dict)
    shards: Count
    shards_done: Count
    shards_claimed: Count = 0
    shards_queued: Count = 0
    reason: str | None = None
    trouble: str | None = None
    files: str | None = None
    in_hand: Counts = Field(default_factory=Counts)
    waiting: Waiting | None = None

    @classmethod
    def at_the_end(cls, manifest: Manifest, out: str, shards: int) -> Self:
        """Of a job of so many shards that has ended: what its manifest says."""
        return cls(
            job=manifest.job,
            out=out,
            state=manifest.state,
            found=manifest.found,
            left_out=manifest.left_out,
            submitted=manifest.submitted,
            counts=manifest.counts,
            failures=manifest.failures,
            warnings=manifest.warnings,
            examples=manifest.examples,
            reason=manifest.reason,
            files=manifest.model.files if manifest.model else None,
            shards=shards,
            shards_done=shards,
        )

    @property
    def done(self) -> Counts:
        """Images that are finished, by status: `status.done.total` of `status.submitted`."""
        return self.counts + self.in_hand

    @property
    def finished(self) -> bool:
        """Whether the job is closed."""
        return self.state is not JobState.RUNNING
