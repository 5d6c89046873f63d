"""The model hub: which commit a branch stands for now, and why a model cannot be had. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmill.errors import HubUnavailable, ModelUnavailable, ModelUnusable, causes_of, one_line
from maskmill.parameters import DEMO
from maskmill.suggest import did_you_mean

COMMIT = re.compile(r"[0-9a-f]{40}")

PATIENCE_SECONDS = 30.0
CACHED_PATIENCE_SECONDS = 3.0
"""How long the hub may take to answer; the second when its answer of another day is in the cache."""

NETWORK = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def commit_of(model: str, revision: str | None, file: str) -> str:
    """The commit that a revision is at, by one of the model's files, which is in the cache then.

    When the hub is out of reach, the commit of another day counts. Raises `HubUnavailable` for what passes,
    `ModelUnusable` for what does not, and `ModelUnavailable` when this worker may not ask.
    """
    from huggingface_hub import hf_hub_download

    with _errors_of(model, revision, file):
        known = cached_commit(model, revision, file)
        seconds = CACHED_PATIENCE_SECONDS if known else PATIENCE_SECONDS
        try:
            return Path(hf_hub_download(model, file, revision=revision, etag_timeout=seconds)).parent.name
        except Exception as error:
            if known and is_outage(error):
                return known
            raise


def cached_commit(model: str, revision: str | None, file: str) -> str | None:
    """The commit of a revision in this machine's cache, if the file is there too."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, file, revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None


def download(model: str, commit: str, file: str) -> Path:
    """The file of the model, from the cache or the hub."""
    from huggingface_hub import hf_hub_download

    with _errors_of(model, commit, file):
        return Path(hf_hub_download(model, file, revision=commit))


def is_outage(error: BaseException) -> bool:
    """Whether the error, or one that it came from, is one of the network or of the hub's servers."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if status := _status(error):
        return status == 429 or status >= 500
    for each in causes_of(error):
        if isinstance(each, EntryNotFoundError) and not isinstance(each, LocalEntryNotFoundError):
            return False
        if isinstance(each, LocalEntryNotFoundError) or _of_network(each):
            return True
    return False


def outage_of(error: BaseException) -> BaseException:
    """Of an outage, the error that says the most: why nobody answered, and who was asked."""
    return next(filter(_of_network, reversed(list(causes_of(error)))), error)


def _of_network(error: BaseException) -> bool:
    found = isinstance(error, (ConnectionError, TimeoutError))
    return found or type(error).__module__.partition(".")[0] in NETWORK


def is_offline() -> bool:
    """Whether this worker may not ask the hub at all (`HF_HUB_OFFLINE`)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def hub_unreachable(model: str) -> str:
    """One line with the ways on; a folder may name files of the hub, as OneFormer's do."""
    if Path(model).is_dir():
        return (
            f"'{model}' names files of the model hub, which cannot be reached: get them into this machine's cache "
            "(`hf download`), or set HF_ENDPOINT to a mirror"
        )
    return (
        f"the model hub cannot be reached to get '{model}'{did_you_mean(model, [DEMO])}: "
        "use --model demo, --model FOLDER (a local copy), "
        "or set HF_ENDPOINT to a mirror"
    )


@contextmanager
def _errors_of(model: str, revision: str | None, file: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise ModelUnusable(f"'{model}' is neither a folder here nor a model id such as owner/name") from error
    except errors.GatedRepoError as error:
        raise ModelUnusable(f"'{model}' is gated: accept its terms on the hub and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnusable(
            f"the hub has no model '{model}' for you{did_you_mean(model, [DEMO])}: for a private one set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelUnusable(f"'{model}' has no revision '{revision}'") from error
    except Exception as error:
        raise _translated(error, model, file) from error


def _translated(error: Exception, model: str, file: str) -> ModelUnavailable:
    """What the hub's client raises in so many ways: offline by setting, an answer, or no network."""
    if is_offline():
        return ModelUnavailable(f"{hub_unreachable(model)}; HF_HUB_OFFLINE is set")
    if is_outage(error):
        answer = f" (it answers with {status})" if (status := _status(error)) else ""
        return HubUnavailable(hub_unreachable(model) + answer)
    if (status := _status(error)) == 404:
        return ModelUnusable(f"'{model}' has no {file} on the hub: not a transformers model")
    if status:
        return ModelUnusable(f"the hub answers with {status} for '{model}': set HF_TOKEN to one that may read it")
    return HubUnavailable(f"{hub_unreachable(model)} ({one_line(error, 100)})")


def _status(error: BaseException) -> int | None:
    """The HTTP status that the hub's answer had, if it was an answer."""
    found = (getattr(getattr(each, "response", None), "status_code", None) for each in causes_of(error))
    return next((status for status in found if status), None)
