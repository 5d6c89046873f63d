"""The model hub: which commit a branch stands for now, and why a model cannot be had. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmill.errors import HubUnavailable, ModelUnavailable, ModelUnusable

COMMIT = re.compile(r"[0-9a-f]{40}")

PATIENCE_SECONDS = 30.0
CACHED_PATIENCE_SECONDS = 3.0
"""How long the hub may take to answer; the second when its answer of another day is in the cache."""


def commit_of(model: str, revision: str | None, file: str) -> str:
    """The commit that a revision is at, by one of the model's files.

    When the hub is out of reach, the commit of another day counts, if the file is in the cache. Raises `HubUnavailable`
    for what passes, `ModelUnusable` for what does not, and `ModelUnavailable` when this worker may not ask.
    """
    cached = cached_commit(model, revision, file)
    if cached and (revision == cached or _is_offline()):
        return cached
    with _errors_of(model, revision, file):
        try:
            return _asked_commit(model, revision, file, CACHED_PATIENCE_SECONDS if cached else PATIENCE_SECONDS)
        except Exception as error:
            if cached and is_outage(error):
                return cached
            raise


def download(model: str, commit: str, file: str) -> Path:
    """The file of the model, from the cache or the hub."""
    from huggingface_hub import hf_hub_download

    with _errors_of(model, commit, file):
        return Path(hf_hub_download(model, file, revision=commit))


def is_outage(error: BaseException) -> bool:
    """Whether the error, or one that it came from, is one of the network or of the hub's servers."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    for each in _causes(error):
        if isinstance(each, HfHubHTTPError):
            return _status(each) is None or _status(each) == 429 or (_status(each) or 0) >= 500
        if isinstance(each, EntryNotFoundError) and not isinstance(each, LocalEntryNotFoundError):
            return False
        if isinstance(each, (LocalEntryNotFoundError, ConnectionError, TimeoutError)):
            return True
        if type(each).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "httpcore2", "requests"):
            return True
    return False


def hub_unreachable(model: str) -> str:
    """One line with the ways on."""
    return (
        f"the model hub cannot be reached to get '{model}': use --model demo, --model FOLDER (a local copy), "
        "or set HF_ENDPOINT to a mirror"
    )


def cached_commit(model: str, revision: str | None, file: str) -> str | None:
    """The commit of a revision in this machine's cache, if the file is there too."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, file, revision=revision)
    except HFValidationError as error:
        raise ModelUnusable(f"'{model}' is neither a folder here nor a model id such as owner/name") from error
    return Path(found).parent.name if isinstance(found, str) else None


def _asked_commit(model: str, revision: str | None, file: str, seconds: float) -> str:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    if revision and COMMIT.fullmatch(revision):
        return revision
    commit = get_hf_file_metadata(hf_hub_url(model, file, revision=revision), timeout=seconds).commit_hash
    if commit is None:
        raise HubUnavailable(f"the server at HF_ENDPOINT does not say at which commit '{model}' is: it is no model hub")
    return commit


@contextmanager
def _errors_of(model: str, revision: str | None, file: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except ModelUnavailable:
        raise
    except errors.GatedRepoError as error:
        raise ModelUnusable(f"'{model}' is gated: accept its terms on the hub and set HF_TOKEN") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnusable(f"the hub has no model '{model}' for you: for a private one set HF_TOKEN") from error
    except errors.RevisionNotFoundError as error:
        raise ModelUnusable(f"'{model}' has no revision '{revision}'") from error
    except errors.OfflineModeIsEnabled as error:
        raise ModelUnavailable(f"{hub_unreachable(model)}; HF_HUB_OFFLINE is set") from error
    except errors.LocalEntryNotFoundError as error:
        kind = ModelUnavailable if _is_offline() else HubUnavailable
        raise kind(hub_unreachable(model)) from error
    except errors.EntryNotFoundError as error:
        raise ModelUnusable(f"'{model}' has no {file} on the hub: not a transformers model") from error
    except errors.HfHubHTTPError as error:
        kind = HubUnavailable if is_outage(error) else ModelUnusable
        raise kind(f"the hub answers with {_status(error) or type(error).__name__} for '{model}'") from error
    except Exception as error:  # no network: DNS, proxies, TLS… each with a type of its own
        raise HubUnavailable(hub_unreachable(model)) from error


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.append(each)
        yield each
        each = each.__cause__ or each.__context__
