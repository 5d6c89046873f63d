"""One error tree. A class owns its `code` (stable, for machines) and whether trying again can help (`retryable`).

Three families, by whose fault it is and hence by what happens next:

* `ImageError`: one image's. It becomes a line of the shard's report; its neighbours are stored.
* `ShardError`: nobody's image. The shard is given back and tried again.
* `UsageError`: the caller's. One line on the terminal, with the cure in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from maskmill.suggest import did_you_mean


class MaskmillError(Exception):
    """Base of every error that Maskmill raises on purpose."""

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False


class ImageError(MaskmillError):
    """One image cannot be segmented; `str(error)` is the reason that its report line shows.

    Raised itself only for what no subclass names, such as no memory for one image.
    """

    code = "image_error"


class ImageNotFound(ImageError):
    """No image is where its reference points (missing file, HTTP 404 or 410, no such S3 key or bucket)."""

    code = "not_found"


class ImageForbidden(ImageError):
    """The image may not be read (file permissions, HTTP 401 or 403, S3 access denied)."""

    code = "forbidden"


class ImageRefused(ImageError):
    """The worker's settings keep this host, folder or bucket from its submitters (see `maskmill.access`)."""

    code = "refused"


class FetchTimeout(ImageError):
    """Connecting to or reading from the image's server took longer than the job's `timeout`."""

    code = "timeout"
    retryable = True


class FetchFailed(ImageError):
    """The image's server answered with an error, or broke the connection, on every attempt."""

    code = "fetch_failed"
    retryable = True


class ImageTooLarge(ImageError):
    """The file has more bytes than the worker's `max_image_bytes`."""

    code = "too_large"


class NotAnImage(ImageError):
    """The bytes are in none of the image formats that the worker opens (an HTML error page, an empty file…)."""

    code = "not_an_image"


class ImageTruncated(ImageError):
    """The file starts like an image but ends or breaks before all pixels are there."""

    code = "truncated"


class DecompressionBomb(ImageError):
    """The image would have more pixels than the worker's `max_image_pixels`, or its texts inflate without end."""

    code = "decompression_bomb"


class ImageUnsupported(ImageError):
    """The reference or the image is of a kind that Maskmill does not read (`ftp://…`, bands without colours)."""

    code = "unsupported"


class EntryUnlisted(ImageError):
    """An entry of a source that should be an image names none: an unreadable folder, a row without it."""

    code = "unlisted"


class ImageCrashed(ImageError):
    """The image ended the processes that read or segmented it (a fault in a decoder, the kernel out of memory)."""

    code = "crashed"


class ImageOverdue(ImageError):
    """Decoding and preprocessing the image took longer than the worker's `image_timeout_seconds`."""

    code = "overdue"


class ImageOutOfMemory(ImageError):
    """Decoding and preprocessing the image needs more memory than the worker's `loader_memory_bytes`."""

    code = "out_of_memory"


class SegmentationFailed(ImageError):
    """The model or its pre- or post-processing raised an error for this image alone."""

    code = "model_error"


class ShardError(MaskmillError):
    """Something that no image of the shard is to blame for; the shard is tried again."""

    code = "shard_error"
    retryable = True


class StoreUnavailable(ShardError):
    """The object store cannot be reached or answers with a server error."""

    code = "store_unavailable"


class BrokerUnavailable(ShardError):
    """The broker (Redis protocol) cannot be reached, or cannot do what it is asked at this moment."""

    code = "broker_unavailable"

    @classmethod
    def unreachable(cls, why: str) -> BrokerUnavailable:
        """With the cure for nobody being there; `why` is in our own words, never an error's text."""
        return cls(
            f"the broker cannot be reached ({why}): set MASKMILL_BROKER_URL to one that runs, or "
            "start one with `maskmill servers start`"
        )


class BrokerRefused(BrokerUnavailable):
    """The broker refuses the credentials, or they lack a right: no waiting mends that."""

    code = "broker_refused"
    retryable = False


class LeaseLost(ShardError):
    """Another worker holds the shard now: this one stops and leaves the shard to it."""

    code = "lease_lost"


class JobCancelled(ShardError):
    """Nothing more is to be done for the job: this worker stops and accounts for the rest."""

    code = "job_cancelled"
    retryable = False


class LoaderDied(ShardError):
    """Loader processes keep dying without an image in flight that could be to blame."""

    code = "loader_died"


class ModelUnavailable(ShardError):
    """The job's model cannot be loaded here and now: no such folder on this machine, no memory for it."""

    code = "model_unavailable"


class HubUnavailable(ModelUnavailable):
    """The model hub cannot be reached, or answers with a server error."""

    code = "hub_unavailable"


class ModelChanged(ModelUnavailable):
    """This worker's files of the model are not those that the job began with."""

    code = "model_changed"


class ModelUnusable(ModelUnavailable):
    """What is there is no segmentation model, lacks weights, is broken, or has code of its own that is not trusted."""

    code = "model_unusable"
    retryable = False


class ModelRefused(ModelUnavailable):
    """The worker's settings do not let submitters load this model."""

    code = "model_refused"
    retryable = False


class DeviceLost(ShardError):
    """The accelerator reported an error of its own; nothing that this process computes after it can be trusted."""

    code = "device_lost"


class WorkerCrashed(ShardError):
    """Workers died with this shard in hand as many times as the settings allow."""

    code = "worker_crashed"
    retryable = False


class UsageError(MaskmillError):
    """The caller asked for something that cannot be done; the message says what to do instead."""

    code = "usage"


class SourceError(UsageError):
    """A source names nothing: no such folder, an empty glob, a list file without the named column."""

    code = "source"


class InvalidSpec(UsageError):
    """A segmentation parameter is out of range or no longer exists in the pipeline."""

    code = "invalid_spec"


class InvalidSettings(UsageError):
    """A `MASKMILL_*` or `AWS_*` variable cannot be used as it is."""

    code = "invalid_settings"


class StoreRefused(UsageError):
    """The store will not take or give this object as it was asked for (archived, another key, a name too long…)."""

    code = "store_refused"


class MaskReplaced(UsageError):
    """The mask under this key is by now another job's: the same prefix was used with another spec or tree."""

    code = "mask_replaced"


class InvalidRecord(MaskmillError):
    """A stored record or message does not parse; `record` keeps the text that was found."""

    code = "invalid_record"

    def __init__(self, message: str, record: str) -> None:
        super().__init__(message)
        self.record = record


class NewerRecord(InvalidRecord):
    """A stored record is of a newer Maskmill: this one leaves it to others."""

    code = "newer_record"


class ObjectNotFound(UsageError):
    """No object has this key in the store."""

    code = "object_not_found"


class ObjectTooLarge(UsageError):
    """The object has more bytes than its reader takes."""

    code = "object_too_large"


class ObjectForbidden(UsageError):
    """The store refused the credentials, or they do not cover this object."""

    code = "object_forbidden"


class JobNotFound(UsageError):
    """Neither the ledger nor the output prefix knows a job of this id."""

    code = "job_not_found"


class AccountMismatch(MaskmillError):
    """A job's outcomes do not add up to its images: a bug of ours, so the job stays open rather than closed wrongly."""

    code = "account_mismatch"


class JobFailed(MaskmillError):
    """A job that was waited for cannot go on (no worker, model not to be had); `str(error)` says why."""

    code = "job_failed"


def check_codes(named: Iterable[str], of_the_job: Iterable[str] = ()) -> None:
    """Raise `UsageError` for a code that is no error's, here or in the job: misspelt, it would match nothing."""
    known = {*_codes(MaskmillError), *of_the_job}
    for code in named:
        if code not in known:
            raise UsageError(f"no image fails with the code {code!r}{did_you_mean(code, known)}")


def _codes(family: type[MaskmillError]) -> Iterator[str]:
    yield family.code
    for each in family.__subclasses__():
        yield from _codes(each)


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error, what it came from, and so on."""
    seen = set[int]()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__ or each.__context__


def one_line(error: BaseException, max_characters: int = 500) -> str:
    """The error on one line of bounded length, for reports and logs; the type is named unless the error is ours."""
    text = " ".join(str(error).split())
    return (text if isinstance(error, MaskmillError) else f"{type(error).__name__}: {text}")[:max_characters]
