"""Objects under one `s3://bucket/prefix`.

A `Store` may be shared by threads, not by processes: make one after a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import stamina
from botocore.exceptions import BotoCoreError, ClientError

from maskmill.addresses import split_url
from maskmill.errors import ObjectNotFound, ObjectTooLarge, StoreRefused, StoreUnavailable
from maskmill.settings import S3Settings
from maskmill.storage.ahead import batched
from maskmill.storage.answers import (
    ALREADY_MADE,
    LOST_RACE,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    UNCHANGED,
    caused_by,
    error_code,
    meaning,
    refusal,
    store_errors,
)
from maskmill.storage.client import new_client
from maskmill.storage.download import Download, by_content
from maskmill.storage.encodings import decoded

T = TypeVar("T")

ATTEMPTS = 4
"""Times that a request is made before the store counts as out of reach, for people who wait for an answer."""

WORKER_ATTEMPTS = 8
"""The same for workers, who have whole shards to lose: 20 s and more of a store that fails."""

LISTED_AT_ONCE = DELETED_AT_ONCE = 1000
"""Keys that S3 gives in one answer to ListObjectsV2, and takes in one DeleteObjects request."""

CONDITIONS = (
    "the store refuses conditional puts (If-None-Match, If-Match), by which of two workers one wins: use another, or "
    "set MASKMILL_STORE_WITHOUT_CONDITIONS=single-writer to run one worker on it"
)


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing: its key below the store's prefix, size in bytes, ETag and time of its last change."""

    key: str
    size: int
    etag: str
    modified: datetime

    @property
    def entity_tag(self) -> str | None:
        """Its ETag as a condition of a request has it; None where the store's is of no use there (weak, or none)."""
        return f'"{self.etag}"' if self.etag and '"' not in self.etag else None


class Store:
    """The objects below one output prefix; keys are relative to it.

    A request that meets a store out of reach is made again, up to `attempts` times, with growing pauses and jitter; an
    answer whose body breaks off counts as none. A conditional put whose answer was lost then finds its own object.
    """

    conditional = True
    """Whether the store itself decides which of two writers was first."""

    def __init__(self, url: str, settings: S3Settings, connections: int = 16, attempts: int = ATTEMPTS) -> None:
        self.url = url.rstrip("/")
        self.bucket, prefix = split_url(self.url)
        self.prefix = f"{prefix}/" if prefix else ""
        self.client = new_client(settings, connections)
        self.payer: dict[str, Any] = {"RequestPayer": "requester"} if settings.requester_pays else {}
        self._retrying = stamina.RetryingCaller(
            attempts=attempts, timeout=None, wait_initial=0.5, wait_max=5.0, wait_jitter=0.5
        ).on(StoreUnavailable)

    def ensure_bucket(self) -> None:
        """Make the bucket unless it is there; asks once.

        Raises `StoreUnavailable` while the server does not answer and `ObjectForbidden` for wrong credentials.
        """
        try:
            self.client.create_bucket(Bucket=self.bucket)
        except ClientError as error:
            if error_code(error) not in ALREADY_MADE:
                raise meaning(error, f"s3://{self.bucket}") from error
        except BotoCoreError as error:
            raise meaning(error, f"s3://{self.bucket}") from error

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        """Write one object, replacing what is there. Atomic: readers see the old or the new."""
        self._ask(self.client.put_object, key, Body=body, ContentType=content_type)

    def put_file(self, key: str, path: Path) -> None:
        """Write a file as one object, in parts if it is large; replaces what is there when it is whole."""

        def upload(Bucket: str, Key: str) -> None:  # noqa: N803 - boto3's names
            self.client.upload_file(str(path), Bucket, Key)

        self._ask(upload, key)

    def put_if_absent(self, key: str, body: bytes, content_type: str = "application/json") -> bool:
        """Write one object unless its key is taken; True if this call wrote it (RFC 9110, `If-None-Match: *`)."""
        return self._put_if(key, body, content_type, IfNoneMatch="*")

    def replace(self, key: str, body: bytes, content_type: str, known: str) -> bool:
        """Write one object if the ETag there is still the `known` one; True if this call wrote it (`If-Match`)."""
        try:
            return self._put_if(key, body, content_type, IfMatch=known)
        except ObjectNotFound:  # what AWS answers when it is gone by now
            return False

    def _put_if(self, key: str, body: bytes, content_type: str, **condition: str) -> bool:
        try:
            self._ask(self.client.put_object, key, Body=body, ContentType=content_type, **condition)
        except StoreRefused as error:
            if caused_by(error, LOST_RACE):
                return False
            if caused_by(error, NOT_IMPLEMENTED):
                raise StoreRefused(f"{self.url}: {CONDITIONS}") from error
            raise
        return True

    def get(self, key: str) -> bytes:
        """One object's bytes; raises `ObjectNotFound`, `ObjectForbidden` or `StoreUnavailable`."""
        return self._ask(lambda **where: self.client.get_object(**where)["Body"].read(), key)

    def download(self, key: str, max_bytes: int, known: str | None = None, version: str | None = None) -> Download:
        """One object's bytes (in this version, or the latest) and entity tag; no bytes while the tag is still `known`.

        Raises as `get` does, and `ObjectTooLarge`.
        """

        def read(**request: Any) -> Download:
            answer = self.client.get_object(**request)
            if answer["ContentLength"] > max_bytes:
                answer["Body"].close()
                raise ObjectTooLarge(f"{answer['ContentLength']:,} bytes; the limit is {max_bytes:,}")
            data = decoded(answer["Body"].read(), answer.get("ContentEncoding", ""), max_bytes)
            return Download(answer["ETag"], data) if answer.get("ETag") else by_content(data, known)

        unless = {"IfNoneMatch": known} if known and known.startswith(('"', "W/")) else {}
        asked = self.payer | unless | ({"VersionId": version} if version else {})
        try:
            return self._ask(read, key, **asked)
        except StoreRefused as error:
            if known and caused_by(error, UNCHANGED):
                return Download(known)
            raise

    def delete(self, key: str) -> None:
        """Remove one object; nothing happens when there is none."""
        self._ask(self.client.delete_object, key)

    def delete_all(self, keys: Iterable[str]) -> int:
        """Remove objects, up to 1,000 a request; returns how many keys there were. Absent ones are no error.

        Each key's own answer is looked at: raises as `delete` does, and names the first key that could not go.
        """
        deleted = 0
        for batch in batched(keys, DELETED_AT_ONCE):
            self._retrying(self._delete, batch)
            deleted += len(batch)
        return deleted

    def _delete(self, keys: Sequence[str]) -> None:
        """One request; the store may take some keys and refuse others, with an error each."""
        objects: Any = [{"Key": self.prefix + key} for key in keys]
        try:
            with store_errors(f"{self.url}: deleting {len(keys):,} objects"):
                answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
        except StoreRefused as error:
            if not caused_by(error, NOT_IMPLEMENTED):  # some stores delete objects one by one only (Google's)
                raise
            for key in keys:
                self.delete(key)
            return
        for refused in answer.get("Errors", []):
            if refused.get("Code") not in NOT_FOUND:
                with store_errors(f"s3://{self.bucket}/{refused.get('Key', '')}"):
                    raise refusal(refused.get("Code", ""), "DeleteObjects", refused.get("Message", ""))

    def exists(self, key: str) -> bool:
        """Whether an object has this key."""
        try:
            self._ask(self.client.head_object, key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str = "", after: str | None = None, at_once: int = LISTED_AT_ONCE) -> Iterator[StoredObject]:
        """All objects whose key starts with `prefix` (and comes after another), in key order, a page at a time."""
        options: dict[str, Any] = {"StartAfter": self.prefix + after} if after else {}
        for page in self._pages(prefix, MaxKeys=min(at_once, LISTED_AT_ONCE), **options):
            for item in page.get("Contents", []):
                key, etag = item["Key"][len(self.prefix) :], item.get("ETag", "").strip('"')
                yield StoredObject(key, item["Size"], etag, item["LastModified"])

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the 'folders' directly below `prefix` (which ends with `/`)."""
        for page in self._pages(prefix, Delimiter="/"):
            for item in page.get("CommonPrefixes", []):
                yield item["Prefix"][len(self.prefix + prefix) :].rstrip("/")

    def _pages(self, prefix: str, **options: Any) -> Iterator[Any]:
        more: Any = {}
        while more is not None:
            page = self._ask(self.client.list_objects_v2, prefix, called="Prefix", **self.payer, **options, **more)
            yield page
            more = {"ContinuationToken": page["NextContinuationToken"]} if page.get("IsTruncated") else None

    def _ask(self, request: Callable[..., T], key: str, called: str = "Key", **parameters: Any) -> T:
        where = {"Bucket": self.bucket, called: self.prefix + key}

        def attempt() -> T:
            with store_errors(f"s3://{self.bucket}/{self.prefix}{key}"):
                return request(**where, **parameters)

        return self._retrying(attempt)
