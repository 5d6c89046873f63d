"""Objects of any bucket by their address: the sources."""

from __future__ import annotations

from dataclasses import dataclass, field

from maskmill.addresses import split_object
from maskmill.settings import S3Settings
from maskmill.storage.download import Download
from maskmill.storage.store import ATTEMPTS, Store


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
        bucket, key, version = split_object(url)
        if bucket not in self._stores:
            self._stores[bucket] = Store(f"s3://{bucket}", self.settings, attempts=self.attempts)
        return self._stores[bucket].download(key, max_bytes, known, version)
