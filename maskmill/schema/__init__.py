"""The records that producer, broker, worker and bucket exchange: frozen, typed, versioned JSON."""

from maskmill.choices import Dtype, Subtask
from maskmill.schema.job import MAX_SHARDS, Cancellation, Deletion, JobRecord, JobState, JobStatus, Manifest, RetryRound
from maskmill.schema.outcome import (
    ByCode,
    Counts,
    DeviceSeconds,
    FailureExample,
    ImageWarning,
    Outcome,
    Reference,
    Segment,
    ShardReport,
    Status,
    reference_line,
)
from maskmill.schema.record import VERSION, Count, Excerpt, Fraction, JobId, MaskKey, Record, utc_now
from maskmill.schema.spec import LOADED, Execution, ModelClasses, ModelIdentity, Spec

__all__ = [
    "LOADED",
    "MAX_SHARDS",
    "VERSION",
    "ByCode",
    "Cancellation",
    "Count",
    "Counts",
    "Deletion",
    "DeviceSeconds",
    "Dtype",
    "Excerpt",
    "Execution",
    "FailureExample",
    "Fraction",
    "ImageWarning",
    "JobId",
    "JobRecord",
    "JobState",
    "JobStatus",
    "Manifest",
    "MaskKey",
    "ModelClasses",
    "ModelIdentity",
    "Outcome",
    "Record",
    "Reference",
    "RetryRound",
    "Segment",
    "ShardReport",
    "Spec",
    "Status",
    "Subtask",
    "reference_line",
    "utc_now",
]
