"""What the object store's answers, or its silence, mean: rights, keys, clock, region, TLS or an outage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    ConfigParseError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    FlexibleChecksumError,
    InvalidRegionError,
    LoginError,
    MetadataRetrievalError,
    MissingDependencyException,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from maskmill.errors import (
    MaskmillError,
    ObjectForbidden,
    ObjectNotFound,
    StoreRefused,
    StoreUnavailable,
    UsageError,
)

NOT_FOUND = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
FORBIDDEN = {
    "401",
    "403",
    "AccessDenied",
    "AllAccessDisabled",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
}
UNCHANGED = {"304", "NotModified"}
LOST_RACE = {"412", "PreconditionFailed"}
ALREADY_MADE = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}
NOT_IMPLEMENTED = {"NotImplemented", "InvalidArgument", "MethodNotAllowed", "UnsupportedOperation", "501", "405"}
"""What stores answer to an operation or a header that they do not know."""

PASSING = {408, 409, 429}
SLOW_DOWN = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestTimeTooSkewed"}
LACKS_OPERATION = 501
"""A server error that no waiting mends."""

WORDS = {
    "SignatureDoesNotMatch": "the secret key is not the one of this access key: see AWS_SECRET_ACCESS_KEY",
    "InvalidAccessKeyId": "the store knows no such access key: see AWS_ACCESS_KEY_ID",
    "ExpiredToken": "the session token has expired: get a new AWS_SESSION_TOKEN",
    "InvalidToken": "the session token is not of this access key: see AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "this machine's clock and the store's differ too much: set it right (NTP)",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION",
    "IllegalLocationConstraintException": "the bucket is in another region: set AWS_REGION",
    "301": "the bucket is in another region: set AWS_REGION",
    "QuotaExceeded": "the quota is used up: free some room, or have it raised",
    "XMinioStorageFull": "its disk is full",
    "InvalidObjectState": "the object is archived, and must be restored before it can be read",
}
"""What an answer means where its code alone does not say."""

RIGHTS = {"HeadObject": "GetObject", "ListObjectsV2": "ListBucket", "DeleteObjects": "DeleteObject"}
"""Operations whose right has another name in a policy."""

MOST_CHARACTERS = 300
"""Of what a store says in its own words."""

OURS: tuple[tuple[tuple[type[Exception], ...], type[MaskmillError], str], ...] = (
    ((NoCredentialsError,), ObjectForbidden, "no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    (
        (PartialCredentialsError,),
        ObjectForbidden,
        "half of the S3 credentials: set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    (
        (CredentialRetrievalError, TokenRetrievalError, SSOError, LoginError, MetadataRetrievalError),
        ObjectForbidden,
        "boto3 cannot get the S3 credentials of this profile or role: log in anew, or set AWS_ACCESS_KEY_ID",
    ),
    ((ProfileNotFound, ConfigParseError), UsageError, "the AWS profile cannot be read: see AWS_PROFILE and ~/.aws"),
    ((NoRegionError, InvalidRegionError), UsageError, "the region is missing or no name of one: set AWS_REGION"),
    (
        (MissingDependencyException,),
        UsageError,
        "these credentials need botocore's extra: pip install botocore[crt]",
    ),
    ((ParamValidationError,), UsageError, "not a valid S3 address"),
    (
        (SSLError,),
        StoreRefused,
        "the store's TLS certificate is not trusted, or it speaks no TLS: name its CA by AWS_CA_BUNDLE, or write http://",
    ),
    (
        (ResponseParserError,),
        StoreRefused,
        "what answers there is no S3 store: see AWS_ENDPOINT_URL_S3, or a proxy in between",
    ),
    (
        (FlexibleChecksumError, ChecksumError),
        StoreUnavailable,
        "the bytes that came are not those of the store's checksum",
    ),
    ((ProxyConnectionError,), StoreUnavailable, "the proxy on the way to the store cannot be reached: see HTTPS_PROXY"),
    ((EndpointConnectionError,), StoreUnavailable, "the object store cannot be reached: see AWS_ENDPOINT_URL_S3"),
    ((ConnectTimeoutError, ReadTimeoutError), StoreUnavailable, "the object store does not answer in time"),
)
"""What botocore's own errors mean; the first that fits counts."""


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turn boto3's errors into ours, about `what`: an object's or a store's address."""
    try:
        yield
    except (ClientError, BotoCoreError, ResponseParserError, HTTPError) as error:  # HTTPError: a body that breaks off
        raise meaning(error, what) from error


def meaning(error: Exception, what: str) -> MaskmillError:
    """The error that says what the answer means."""
    if isinstance(error, ClientError):
        return _of_answer(error, what)
    for kinds, ours, words in OURS:
        if isinstance(error, kinds):
            return ours(f"{what}: {words}")
    return StoreUnavailable(f"{what}: the object store cannot be reached ({type(error).__name__})")


def _of_answer(error: ClientError, what: str) -> MaskmillError:
    code = error_code(error)
    said = f"{WORDS[code]} ({code})" if code in WORDS else ""
    if code == "NoSuchBucket":
        return ObjectNotFound(f"{what}: there is no such bucket; make it first, or name another with --out")
    if code in NOT_FOUND:
        return ObjectNotFound(f"{what}: no such object ({code})")
    if code in FORBIDDEN:
        return ObjectForbidden(f"{what}: {said or _denied(error, code)}")
    if _is_page(error):
        said = f"a web page answers in the place of the object store ({code}): see AWS_ENDPOINT_URL_S3 and proxies"
    kind = StoreUnavailable if _may_pass(error) else StoreRefused
    return kind(f"{what}: {said or f'the object store answered {code}'}")


def _denied(error: ClientError, code: str) -> str:
    """Which right is missing, and what the store itself says: a policy's words are nowhere else."""
    operation = error.operation_name
    text = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:MOST_CHARACTERS]
    words = f"{code}: {text}" if text and text != code else code
    return f"access denied by the object store, see its policy for s3:{RIGHTS.get(operation, operation)} ({words})"


def _is_page(error: ClientError) -> bool:
    """A login, a load balancer's excuse: botocore takes any page for a server's error, even one that came with 200."""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("content-type", "")).startswith("text/html")


def caused_by(error: MaskmillError, codes: set[str]) -> bool:
    """Whether the store answered one of these codes."""
    return isinstance(error.__cause__, ClientError) and error_code(error.__cause__) in codes


def error_code(error: ClientError) -> str:
    """The code of an answer, such as `NoSuchKey`."""
    return str(error.response.get("Error", {}).get("Code", ""))


def refusal(code: str, operation: str, message: str = "") -> ClientError:
    """An answer's error for what is said in the middle of another one."""
    answer: Any = {"Error": {"Code": code, "Message": message}}
    return ClientError(answer, operation)


def _may_pass(error: ClientError) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    if status == LACKS_OPERATION:
        return False
    return status >= 500 or status in PASSING or error_code(error) in SLOW_DOWN
