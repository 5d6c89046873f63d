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
    cure: ClassVar[str] = "Read the message."


class ImageError(MaskmillError):
    """One image cannot be segmented; `str(error)` is the reason that its report line shows.

    Raised itself only for what no subclass names, such as no memory for one image.
    """

    code = "image_error"
    cure = "Read the reason; an image that is larger than the worker's memory needs a machine with more."


class ImageNotFound(ImageError):
    """No image is where its reference points (missing file, HTTP 404 or 410, no such S3 key or bucket)."""

    code = "not_found"
    cure = "Check the path or address; relative ones are meant from where the command ran, or from the list's folder."


class ImageForbidden(ImageError):
    """The image may not be read (file permissions, HTTP 401 or 403, S3 access denied)."""

    code = "forbidden"
    cure = "Give the worker the right: file permissions, MASKMILL_HOST_HEADERS, or credentials for the bucket."


class ImageRefused(ImageError):
    """The worker's settings keep this host, folder or bucket from its submitters (see `maskmill.access`)."""

    code = "refused"
    cure = (
        "Allow it on the worker: MASKMILL_ALLOWED_ROOTS, _ALLOWED_BUCKETS or _ALLOW_PRIVATE_HOSTS, as the reason says."
    )


class FetchTimeout(ImageError):
    """Connecting to or reading from the image's server took longer than the job's `timeout`."""

    code = "timeout"
    retryable = True
    cure = "Try it again with `maskmill retry JOB --code timeout`, or submit with a longer `--timeout`."


class FetchFailed(ImageError):
    """The image's server answered with an error, or broke the connection, on every attempt."""

    code = "fetch_failed"
    retryable = True
    cure = "Try it again later: `maskmill retry JOB --code fetch_failed`."


class ImageTooLarge(ImageError):
    """The file has more bytes than the worker's `max_image_bytes`."""

    code = "too_large"
    cure = "Raise MASKMILL_MAX_IMAGE_BYTES on the worker, or make the file smaller."


class NotAnImage(ImageError):
    """The bytes are in none of the image formats that the worker opens (an HTML error page, an empty file…)."""

    code = "not_an_image"
    cure = "Look at the file: it may be an error page or empty."


class ImageTruncated(ImageError):
    """The file starts like an image but ends or breaks before all pixels are there."""

    code = "truncated"
    cure = "Copy or download the file again."


class DecompressionBomb(ImageError):
    """The image would have more pixels than the worker's `max_image_pixels`, or its texts inflate without end."""

    code = "decompression_bomb"
    cure = "Raise MASKMILL_MAX_IMAGE_PIXELS if you trust the image; cut huge scenes into tiles."


class ImageUnsupported(ImageError):
    """The reference or the image is of a kind that Maskmill does not read (`ftp://…`, bands without colours)."""

    code = "unsupported"
    cure = "Do what the reason says: install a decoder, choose a `--scale`, or convert the image."


class EntryUnlisted(ImageError):
    """An entry of a source that should be an image names none: an unreadable folder, a row without it."""

    code = "unlisted"
    cure = "Mend the list or the folder's rights as the reason says, and submit again."


class ImageCrashed(ImageError):
    """The image ended the processes that read or segmented it (a fault in a decoder, the kernel out of memory)."""

    code = "crashed"
    cure = (
        "Open the image elsewhere; if it is sound, `maskmill retry JOB --code crashed` on a machine with more memory."
    )


class ImageOverdue(ImageError):
    """Decoding and preprocessing the image took longer than the worker's `image_timeout_seconds`."""

    code = "overdue"
    cure = "Raise MASKMILL_IMAGE_TIMEOUT_SECONDS, or make the image smaller."


class ImageOutOfMemory(ImageError):
    """Decoding and preprocessing the image needs more memory than the worker's `loader_memory_bytes`."""

    code = "out_of_memory"
    cure = "Raise MASKMILL_LOADER_MEMORY_BYTES where there is memory, or make the image smaller."


class SegmentationFailed(ImageError):
    """The model or its pre- or post-processing raised an error for this image alone."""

    code = "model_error"
    cure = "Read the reason: often a size or a kind of image that the model does not take."


class ShardError(MaskmillError):
    """Something that no image of the shard is to blame for; the shard is tried again."""

    code = "shard_error"
    retryable = True
    cure = "Read the reason and the worker's log."


class StoreUnavailable(ShardError):
    """The object store cannot be reached or answers with a server error."""

    code = "store_unavailable"
    cure = "Start the store or mend AWS_ENDPOINT_URL_S3; workers wait and go on. `maskmill doctor` says more."


class BrokerUnavailable(ShardError):
    """The broker (Redis protocol) cannot be reached, or cannot do what it is asked at this moment."""

    code = "broker_unavailable"
    cure = "Start the broker or mend MASKMILL_BROKER_URL; workers wait and go on. `maskmill doctor` says more."

    @classmethod
    def unreachable(cls, why: str, where: str = "") -> BrokerUnavailable:
        """With the cure for nobody being there; `why` is in our own words, never an error's text."""
        return cls(
            f"the broker{where and f' at {where}'} cannot be reached ({why}): set MASKMILL_BROKER_URL to one that "
            'runs, or have one on this machine: eval "$(maskmill servers env)"'
        )


class BrokerRefused(BrokerUnavailable):
    """The broker refuses the credentials, or they lack a right: no waiting mends that."""

    code = "broker_refused"
    retryable = False
    cure = "Mend the password or the rights of its user in MASKMILL_BROKER_URL, as `maskmill doctor` says."


class LeaseLost(ShardError):
    """Another worker holds the shard now: this one stops and leaves the shard to it."""

    code = "lease_lost"
    cure = "Nothing: the other worker finishes it. If it is frequent, raise MASKMILL_LEASE_SECONDS."


class JobCancelled(ShardError):
    """Nothing more is to be done for the job: this worker stops and accounts for the rest."""

    code = "job_cancelled"
    retryable = False
    cure = "Nothing, if you cancelled it; else submit again."


class LoaderDied(ShardError):
    """Loader processes keep dying without an image in flight that could be to blame."""

    code = "loader_died"
    cure = "Give the worker more memory, or fewer loader processes with `--num-workers`."


class ModelUnavailable(ShardError):
    """The job's model cannot be loaded here and now: no such folder on this machine, no memory for it."""

    code = "model_unavailable"
    cure = "Put the model's folder on each worker's machine, or free memory; then `maskmill retry JOB`."


class HubUnavailable(ModelUnavailable):
    """The model hub cannot be reached, or answers with a server error."""

    code = "hub_unavailable"
    cure = "Mend the network, HF_ENDPOINT or HF_HUB_OFFLINE; workers wait and go on."


class ModelChanged(ModelUnavailable):
    """This worker's files of the model are not those that the job began with."""

    code = "model_changed"
    cure = "Submit a new job: one job has one model."


class ModelUnusable(ModelUnavailable):
    """What is there is no segmentation model, lacks weights, is broken, or has code of its own that is not trusted."""

    code = "model_unusable"
    retryable = False
    cure = "Do what the reason says: another `--model`, another `--subtask`, or MASKMILL_TRUSTED_MODELS."


class ModelRefused(ModelUnavailable):
    """The worker's settings do not let submitters load this model."""

    code = "model_refused"
    retryable = False
    cure = "Add the model to MASKMILL_ALLOWED_MODELS on the workers."


class DeviceLost(ShardError):
    """The accelerator reported an error of its own; nothing that this process computes after it can be trusted."""

    code = "device_lost"
    cure = "Nothing: the worker starts anew. If it comes back, look at the driver's log."


class WorkerCrashed(ShardError):
    """Workers died with this shard in hand as many times as the settings allow."""

    code = "worker_crashed"
    retryable = False
    cure = "Look at the worker's log and its memory; then `maskmill retry JOB`."


class WorkerError(ShardError):
    """An error that Maskmill does not know ended each attempt at the shard."""

    code = "worker_error"
    cure = "Read the reason and the worker's log; then `maskmill retry JOB --code worker_error`."


class UsageError(MaskmillError):
    """The caller asked for something that cannot be done; the message says what to do instead."""

    code = "usage"
    cure = "Do what the message says."


class SourceError(UsageError):
    """A source names nothing: no such folder, an empty glob, a list file without the named column."""

    code = "source"
    cure = "Check the spelling; quote patterns such as 'photos/*.jpg', and name the column of a list with `--column`."


class InvalidSpec(UsageError):
    """A segmentation parameter is out of range or no longer exists in the pipeline."""

    code = "invalid_spec"
    cure = "Use the value or name that the message gives; `maskmill submit --help` has them all."


class InvalidSettings(UsageError):
    """A `MASKMILL_*` or `AWS_*` variable cannot be used as it is."""

    code = "invalid_settings"
    cure = "Mend the variable that the message names, in the environment or in `.env`."


class StoreRefused(UsageError):
    """The store will not take or give this object as it was asked for (archived, another key, a name too long…)."""

    code = "store_refused"
    cure = "Do what the message says: restore an archived object, or choose another name or prefix."


class MaskReplaced(UsageError):
    """The mask under this key is by now another job's: the same prefix was used with another spec or tree."""

    code = "mask_replaced"
    cure = "Use one output prefix for one tree of images and one spec; submit again to a prefix of its own."


class TruthUnusable(UsageError):
    """What scores are to be made against is none: no dataset that is known, or an image of it that cannot be read."""

    code = "truth_unusable"
    cure = (
        "Give `--truth` a COCO file, panoptic or of instances, or a folder of class-id PNGs, as docs/scoring.md says."
    )


class InvalidRecord(MaskmillError):
    """A stored record or message does not parse; `record` keeps the text that was found."""

    code = "invalid_record"
    cure = "Something else wrote under the job's prefix, or the object is damaged: submit again."

    def __init__(self, message: str, record: str) -> None:
        super().__init__(message)
        self.record = record

    def __reduce__(self) -> tuple[type[InvalidRecord], tuple[str, str]]:  # for pickle, from another process
        return type(self), (str(self), self.record)


class NewerRecord(InvalidRecord):
    """A stored record is of a newer Maskmill: this one leaves it to others."""

    code = "newer_record"
    cure = "Upgrade this Maskmill."


class ObjectNotFound(UsageError):
    """No object has this key in the store."""

    code = "object_not_found"
    cure = "Check bucket and key."


class ObjectTooLarge(UsageError):
    """The object has more bytes than its reader takes."""

    code = "object_too_large"
    cure = "Split the list, or read it from a local file."


class ObjectForbidden(UsageError):
    """The store refused the credentials, or they do not cover this object."""

    code = "object_forbidden"
    cure = (
        "Mend the credentials (AWS_ACCESS_KEY_ID…) or their rights on the bucket; docs/servers.md has "
        "the least of them."
    )


class JobNotFound(UsageError):
    """Neither the ledger nor the output prefix knows a job of this id."""

    code = "job_not_found"
    cure = "Check the id with `maskmill status`; give `--out` if the job went to another prefix."


class AccountMismatch(MaskmillError):
    """A job's outcomes do not add up to its images: a bug of ours, so the job stays open rather than closed wrongly."""

    code = "account_mismatch"
    cure = "Report it, with the job's `job.json` and `reports/`; nothing is lost."


class JobFailed(MaskmillError):
    """A job that was waited for cannot go on (no worker, model not to be had); `str(error)` says why."""

    code = "job_failed"
    cure = "Do what the message says: start a worker, or choose another model."


def check_codes(named: Iterable[str], of_the_job: Iterable[str] = ()) -> None:
    """Raise `UsageError` for a code that is no error's, here or in the job: misspelt, it would match nothing."""
    known = {*(each.code for each in _family(MaskmillError)), *of_the_job}
    for code in named:
        if code not in known:
            raise UsageError(f"no image fails with the code {code!r}{did_you_mean(code, known)}")


def cure_of(code: str) -> str | None:
    """What to do about an image that failed with this code: `cure_of("not_found")`; None for a code not known here."""
    return next((each.cure for each in _family(MaskmillError) if each.code == code), None)


def _family(error: type[MaskmillError]) -> Iterator[type[MaskmillError]]:
    yield error
    for each in error.__subclasses__():
        yield from _family(each)


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
