"""Objects under one `s3://bucket/prefix`, through boto3. The only module that knows boto3.

A `Store` may be shared by threads, not by processes: make one after a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import stamina
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError
from botocore.handlers import add_expect_header
from urllib3.exceptions import HTTPError

from maskmill.addresses import is_this_machine, split_url
from maskmill.errors import (
    MaskmillError,
    ObjectForbidden,
    ObjectNotFound,
    ObjectTooLarge,
    StoreRefused,
    StoreUnavailable,
    UsageError,
)
from maskmill.settings import S3Settings
from maskmill.storage.download import Download
from maskmill.storage.encodings import decoded

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

CONNECT_SECONDS, READ_SECONDS = 5, 60

ATTEMPTS = 4
"""Times that a request is made before the store counts as out of reach, for people who wait for an answer."""

WORKER_ATTEMPTS = 8
"""The same for workers, who have whole shards to lose: 20 s and more of a store that fails."""

DELETED_AT_ONCE = 1000
"""Keys that S3 takes in one DeleteObjects request."""

NOT_FOUND = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
FORBIDDEN = {"401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
UNCHANGED = {"304", "NotModified"}
PASSING = {408, 409, 429}
NOT_IMPLEMENTED = 501
"""A server error that no waiting mends: the store lacks the operation (a conditional put, say)."""

SLOW_DOWN = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestTimeTooSkewed"}
LOST_RACE = {"412", "PreconditionFailed"}
ALREADY_MADE = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing: its key below the store's prefix, size in bytes, ETag and time of its last change."""

    key: str
    size: int
    etag: str
    modified: datetime


_SESSION_LOCK = Lock()


@cache
def _session() -> boto3.Session:
    """One for all clients: reading the service's model anew costs 0.1 s each time."""
    return boto3.Session()


def new_client(settings: S3Settings, connections: int = 16) -> S3Client:
    """A client with bounded waits that asks once; `connections` is how many threads will use it at once."""
    config = Config(
        signature_version=UNSIGNED if settings.anonymous else None,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        # `Store` asks again: boto3 does so only until it has an answer's head, and from a common budget that runs out.
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=connections,
        s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
        # No proxy stands between this machine and itself, whatever `http_proxy` says.
        proxies={} if is_this_machine(settings.endpoint_url or "") else None,
        client_cert=_client_cert(settings),
        user_agent="maskmill",  # boto3 builds its own anew for each request, twice
    )
    secret, token = settings.secret_access_key, settings.session_token
    with _SESSION_LOCK:  # clients may be shared by threads, a session may not
        client = _session().client(
            "s3",
            endpoint_url=settings.endpoint_url,
            verify=str(settings.ca_bundle) if settings.ca_bundle else None,
            region_name=settings.region,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            aws_session_token=token.get_secret_value() if token else None,
            config=config,
        )
    # boto3 asks before it sends any body, a round trip each; the Go SDK asks from 2 MB (aws/aws-sdk-go#615).
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client


def _client_cert(settings: S3Settings) -> str | tuple[str, str] | None:
    """What botocore takes: one file with both, or certificate and key."""
    if settings.client_cert and settings.client_key:
        return str(settings.client_cert), str(settings.client_key)
    return str(settings.client_cert) if settings.client_cert else None


def _may_pass(error: ClientError) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if status == NOT_IMPLEMENTED:
        return False
    return status >= 500 or status in PASSING or _error_code(error) in SLOW_DOWN


def _caused_by(error: MaskmillError, codes: set[str]) -> bool:
    return isinstance(error.__cause__, ClientError) and _error_code(error.__cause__) in codes


def _error_code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _translate(error: Exception, what: str) -> MaskmillError:
    if isinstance(error, NoCredentialsError):
        return ObjectForbidden("no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if isinstance(error, ParamValidationError):
        return UsageError(f"{what}: not a valid S3 address")
    if isinstance(error, ClientError):
        code = _error_code(error)
        if code == "NoSuchBucket":
            return ObjectNotFound(f"{what}: there is no such bucket; make it first, or name another with --out")
        if code in NOT_FOUND:
            return ObjectNotFound(f"{what}: no such object ({code})")
        if code in FORBIDDEN:
            return ObjectForbidden(f"{what}: access denied by the object store ({code})")
        kind = StoreUnavailable if _may_pass(error) else StoreRefused
        return kind(f"{what}: the object store answered {code}")
    return StoreUnavailable(f"{what}: the object store cannot be reached ({type(error).__name__})")


@contextmanager
def _errors(what: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError, HTTPError) as error:  # HTTPError: what breaks a body off, in botocore unwrapped
        raise _translate(error, what) from error


class Store:
    """The objects below one output prefix; keys are relative to it.

    A request that meets a store out of reach is made again, up to `attempts` times, with growing pauses and jitter; an
    answer whose body breaks off counts as none. A conditional put whose answer was lost then finds its own object.
    """

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
            if _error_code(error) not in ALREADY_MADE:
                raise _translate(error, f"s3://{self.bucket}") from error
        except BotoCoreError as error:
            raise _translate(error, f"s3://{self.bucket}") from error

    def put(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        """Write one object, replacing what is there. Atomic: readers see the old or the new."""
        self._ask(self.client.put_object, key, Body=body, ContentType=content_type)

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
            if _caused_by(error, LOST_RACE):
                return False
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
            return Download(answer["ETag"], data)

        asked = self.payer | ({"IfNoneMatch": known} if known else {}) | ({"VersionId": version} if version else {})
        try:
            return self._ask(read, key, **asked)
        except StoreRefused as error:
            if known and _caused_by(error, UNCHANGED):
                return Download(known)
            raise

    def delete(self, key: str) -> None:
        """Remove one object; nothing happens when there is none."""
        self._ask(self.client.delete_object, key)

    def delete_all(self, keys: Iterable[str]) -> int:
        """Remove objects, up to 1,000 a request; returns how many keys there were. Absent ones are no error.

        Each key's own answer is looked at: raises as `delete` does, and names the first key that could not go.
        """
        iterator, deleted = iter(keys), 0
        while batch := list(islice(iterator, DELETED_AT_ONCE)):
            self._retrying(self._delete, batch)
            deleted += len(batch)
        return deleted

    def _delete(self, keys: Sequence[str]) -> None:
        """One request; the store may take some keys and refuse others, with an error each."""
        objects: Any = [{"Key": self.prefix + key} for key in keys]
        with _errors(f"{self.url}: deleting {len(keys):,} objects"):
            answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True})
        for refused in answer.get("Errors", []):
            if refused.get("Code") not in NOT_FOUND:
                with _errors(f"s3://{self.bucket}/{refused.get('Key', '')}"):
                    raise ClientError({"Error": {"Code": refused.get("Code", "")}}, "DeleteObjects")

    def exists(self, key: str) -> bool:
        """Whether an object has this key."""
        try:
            self._ask(self.client.head_object, key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str = "", after: str | None = None) -> Iterator[StoredObject]:
        """All objects whose key starts with `prefix` (and comes after another), in key order, a page at a time."""
        for page in self._pages(prefix, **({"StartAfter": self.prefix + after} if after else {})):
            for item in page.get("Contents", []):
                key, etag = item["Key"][len(self.prefix) :], item["ETag"].strip('"')
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
            with _errors(f"s3://{self.bucket}/{self.prefix}{key}"):
                return request(**where, **parameters)

        return self._retrying(attempt)


@dataclass
class ObjectReader:
    """Reads `s3://bucket/key` addresses (`…?versionId=…`) of any bucket.

    It makes its clients at first use, so it may travel before that.
    """

    settings: S3Settings
    attempts: int = ATTEMPTS
    _stores: dict[str, Store] = field(default_factory=dict)

    def __call__(self, url: str, max_bytes: int, known: str | None = None) -> Download:
        """The object, see `Store.download`."""
        bucket, key = split_url(url)
        key, _, version = key.partition("?versionId=")
        if bucket not in self._stores:
            self._stores[bucket] = Store(f"s3://{bucket}", self.settings, attempts=self.attempts)
        return self._stores[bucket].download(key, max_bytes, known, version or None)
