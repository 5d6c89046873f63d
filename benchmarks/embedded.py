"""Servers of a benchmark's own, with nothing in them yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from maskmill import Settings
from maskmill.settings import S3Settings
from producer import embedded


@contextmanager
def fresh_servers() -> Iterator[embedded.Servers]:
    """A pair in a temporary folder, gone with all it holds when the block ends."""
    with tempfile.TemporaryDirectory() as folder, embedded.running(Path(folder)) as servers:
        yield servers


def settings_of(servers: embedded.Servers) -> Settings:
    """Settings of a client of that pair."""
    s3 = S3Settings(
        endpoint_url=servers.s3_endpoint_url,
        access_key_id=servers.access_key_id,
        secret_access_key=servers.secret_access_key,
        region=servers.region,
    )
    return Settings(broker_url=servers.broker_url, bucket=servers.bucket, s3=s3, source_s3=s3)
