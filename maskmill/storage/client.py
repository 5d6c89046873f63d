"""An S3 client of boto3's, set up for AWS and for those that speak its language more or less."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.handlers import add_expect_header
from botocore.utils import parse_timestamp

from maskmill.addresses import is_this_machine
from maskmill.errors import UsageError
from maskmill.settings import S3Settings
from maskmill.storage.answers import store_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS, READ_SECONDS = 5, 60
AWS = (".amazonaws.com", ".amazonaws.com.cn")

_SESSION_LOCK = Lock()


@cache
def _session() -> boto3.Session:
    """One for all clients: reading the service's model anew costs 0.1 s each time."""
    session = botocore.session.get_session()
    # As the AWS CLI has one of its own (awscli/customizations/scalarparse.py).
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=timestamp)
    return boto3.Session(botocore_session=session)


def timestamp(text: Any) -> datetime:
    """A time as stores write it in lists (ISO 8601) and headers (RFC 9110); any other as boto3 reads it.

    That tries all ways to write a date, for 0.1 ms each: most of the time of a list of a thousand keys.
    """
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        with suppress(ValueError, TypeError):
            found = parse(str(text))
            if found.tzinfo:
                return found
    return parse_timestamp(text)


def new_client(settings: S3Settings, connections: int = 16) -> S3Client:
    """A client with bounded waits that asks once; `connections` is how many threads will use it at once.

    What the settings leave open comes by boto3's own chain: region, addressing style, profile, role, session token.
    """
    client = _client(settings, connections, plain=not _is_aws(settings.endpoint_url))
    if settings.endpoint_url is None and not _is_aws(client.meta.endpoint_url):  # a profile's endpoint
        client = _client(settings, connections, plain=True)
    # boto3 asks before it sends any body, a round trip each; the Go SDK asks from 2 MB (aws/aws-sdk-go#615).
    client.meta.events.unregister("before-call.s3", add_expect_header)
    if not _is_aws(client.meta.endpoint_url):
        client.meta.events.register("before-call.s3.DeleteObjects", _with_md5)
    return client


def _client(settings: S3Settings, connections: int, *, plain: bool) -> S3Client:
    secret, token = settings.secret_access_key, settings.session_token
    try:
        with store_errors(settings.endpoint_url or "S3"), _SESSION_LOCK:  # threads may share clients, no session
            return _session().client(
                "s3",
                endpoint_url=settings.endpoint_url,
                verify=str(settings.ca_bundle) if settings.ca_bundle else None,
                region_name=settings.region,
                aws_access_key_id=settings.access_key_id,
                aws_secret_access_key=secret.get_secret_value() if secret else None,
                aws_session_token=token.get_secret_value() if token else None,
                config=_config(settings, connections, plain=plain),
            )
    except ValueError as error:
        raise UsageError(f"AWS_ENDPOINT_URL_S3 is no address of a store: {error}") from error


def _config(settings: S3Settings, connections: int, *, plain: bool) -> Config:
    """`plain` is without the checksums of 2025, which stores other than AWS refuse, forget or answer wrongly."""
    options: dict[str, Any] = {}
    if plain:
        options |= {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    if settings.addressing_style:
        options["s3"] = {"addressing_style": settings.addressing_style}
    # No proxy stands between this machine and itself, whatever `http_proxy` says.
    if is_this_machine(settings.endpoint_url or ""):
        options["proxies"] = {}
    return Config(
        signature_version=UNSIGNED if settings.anonymous else None,
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        # `Store` asks again: boto3 does so only until it has an answer's head, and from a common budget that runs out.
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=connections,
        client_cert=_client_cert(settings),
        user_agent="maskmill",  # boto3 builds its own anew for each request, twice
        **options,
    )


def _client_cert(settings: S3Settings) -> str | tuple[str, str] | None:
    """What botocore takes: one file with both, or certificate and key."""
    if settings.client_cert and settings.client_key:
        return str(settings.client_cert), str(settings.client_key)
    return str(settings.client_cert) if settings.client_cert else None


def _is_aws(endpoint_url: str | None) -> bool:
    return endpoint_url is None or (urlsplit(endpoint_url).hostname or "").endswith(AWS)


def _with_md5(params: dict[str, Any], **_: Any) -> None:
    """Many stores want the checksum that this request had until 2025, and some refuse today's (boto/boto3#4398)."""
    params["headers"]["Content-MD5"] = base64.b64encode(hashlib.md5(params["body"]).digest()).decode()  # noqa: S324
    params["context"].pop("checksum", None)
    params["headers"].pop("x-amz-sdk-checksum-algorithm", None)
