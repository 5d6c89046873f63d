"""What a source gives: an image's bytes and its version, or the word that the version is still the one known."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """`version` differs whenever the bytes may; `data` is None when it is the version that the caller knew."""

    version: str
    data: bytes | None = None

    @property
    def unchanged(self) -> bool:
        """Whether the caller has this version."""
        return self.data is None


def file_version(status: os.stat_result) -> str:
    """The version of a local file: its time of modification and its size."""
    return f"file:{status.st_mtime_ns:x}-{status.st_size:x}"


def by_content(data: bytes, known: str | None) -> Download:
    """For sources that tell no version: their bytes' SHA-256 is one."""
    version = content_version(content_digest(data))
    return Download(version, None if version == known else data)


def content_digest(data: bytes) -> str:
    """32 hex digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:32]


def content_version(digest: str) -> str:
    """The version of what has this digest."""
    return f"sha256:{digest}"
