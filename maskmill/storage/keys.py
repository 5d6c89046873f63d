"""Names of objects in the bucket, all relative to the output prefix. Keys are built here, never taken from input."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime

from maskmill.addresses import identity, nested, without_query

JOB_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{8}")
MASK_KEY = r"^masks(/[^/\\:\x00-\x1f]*[^/\\:\x00-\x1f.][^/\\:\x00-\x1f]*)+$"
"""What `mask` builds, for records that carry one: no empty part, none of dots alone, no backslash, no drive.

So a key names a file below a folder on any system: `masks/a.png` does, `masks/../a`, `/a` and `masks/C:/a` are refused.
"""

MAX_MASK_KEY = 1024
"""S3's own limit, in characters of a key."""

MILLIONS = "A"
"""Begins the names of shards from the millionth on: after every digit in the order of keys."""

SCHEMES = ("file", "http", "https", "s3")
MAX_PART_BYTES = 180
MAX_KEY_BYTES = 880
"""S3 allows 1,024 bytes for a key; the output prefix needs some of them."""

LIKE_A_HASH = re.compile(r"~[0-9a-f]{16}$")
"""A name that ends like ours gets a hash of its own, so that nobody can claim another image's key."""

_UNSAFE = re.compile(r"[^\w.,;=()!'&$@+ ~-]")

_PLAIN_PART = rf"(?!\.+(?:/|$))[\w.,;=()!'&$+ -]{{1,{MAX_PART_BYTES}}}"
_PLAIN = re.compile(rf"{_PLAIN_PART}(?:/{_PLAIN_PART})*", re.ASCII)
"""Paths that are their own key: most by far. `@` may end a password and `~` begin a hash, so they are not plain."""


def new_job_id() -> str:
    """A sortable, readable id such as `20261122-205301-9f86d081`."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


def job_folder(job: str) -> str:
    """The folder of one job's records."""
    return f"jobs/{job}/"


def job_record(job: str) -> str:
    """The job's spec, sources and counts."""
    return f"jobs/{job}/job.json"


def model(job: str) -> str:
    """Which files the job's model was made of."""
    return f"jobs/{job}/model.json"


def classes(job: str) -> str:
    """The names that the job's model has for its labels."""
    return f"jobs/{job}/classes.json"


def shard(job: str, index: int) -> str:
    """The references of one shard, one JSON line each."""
    return f"jobs/{job}/shards/{_sortable(index)}.jsonl"


def image(job: str, digest: str) -> str:
    """An image that was submitted from memory, by its content."""
    return f"{images(job)}{digest}"


def images(job: str) -> str:
    """The folder of all such images."""
    return f"jobs/{job}/images/"


def is_image(url: str, digest: str) -> bool:
    """Whether this is the address of such an image, of any job below any prefix."""
    return re.fullmatch(rf"s3://[^/]+/(.*/)?jobs/{JOB_ID.pattern}/images/{re.escape(digest)}", url) is not None


def metadata(job: str, index: int, retry_round: int = 0) -> str:
    """One JSON line for each image of the shard that this retry round stored."""
    return f"jobs/{job}/metadata/{_sortable(index)}{_of_round(retry_round)}.jsonl"


def reports(job: str) -> str:
    """The folder of all reports."""
    return f"jobs/{job}/reports/"


def report(job: str, index: int, retry_round: int = 0) -> str:
    """The outcomes of one shard after this retry round; its presence means that they are decided."""
    return f"{reports(job)}{_sortable(index)}{_of_round(retry_round)}.json"


def cancellation(job: str, retry_round: int = 0) -> str:
    """The marker that the job is cancelled in this retry round."""
    return f"jobs/{job}/cancelled{_of_round(retry_round)}.json"


def deletion(job: str) -> str:
    """The marker that the job is being deleted."""
    return f"jobs/{job}/deleting.json"


def retries(job: str) -> str:
    """The folder of the retry rounds' markers."""
    return f"jobs/{job}/retries/"


def retry(job: str, retry_round: int) -> str:
    """The marker that begins this retry round, from 1."""
    return f"{retries(job)}{retry_round:04d}.json"


def manifest(job: str, retry_round: int = 0) -> str:
    """The closing account of the job after this retry round."""
    return f"jobs/{job}/manifest{_of_round(retry_round)}.json"


def probe(token: str) -> str:
    """What is put to find out whether the store does what jobs need."""
    return f"probes/{token}"


def shard_index(key: str) -> int:
    """The number of a shard from the key of its references, metadata or report.

    >>> shard_index("jobs/J/reports/000017.r1.json")
    17
    """
    return int(key.rsplit("/", 1)[1].split(".")[0].removeprefix(MILLIONS))


def round_of(key: str) -> int:
    """The retry round of a report's, metadata's or manifest's key.

    >>> round_of("jobs/J/reports/000017.r1.json")
    1
    """
    _, *parts = key.rsplit("/", 1)[1].split(".")
    return int(parts[0][1:]) if len(parts) == 2 else 0


def _sortable(index: int) -> str:
    """The shard's number as text that sorts like the number: `000017`, `999999`, `A0001000000`."""
    return f"{index:06d}" if index < 10**6 else f"{MILLIONS}{index:010d}"


def _of_round(retry_round: int) -> str:
    return f".r{retry_round}" if retry_round else ""


def mask(uri: str, root: str | None = None) -> str:
    """The mask's key for an image: the image's path mirrored below `masks/`, with `.png` added.

    A local path below `root` (the job's) is mirrored relative to it: `/home/me/photos/cat.jpg` becomes
    `masks/photos/cat.jpg.png` for root `/home/me`. Every other image gets the full way with its scheme:
    `masks/s3/bucket/cat.jpg.png`. What lies in an archive or a table is below that: `masks/photos.zip!/cat.jpg.png`.
    The image's own extension stays, so that `cat.jpg` and `cat.png` have two masks. Whatever could make two images
    share a key (a query, an odd character, an overlong name) adds the first 16 hex digits of the SHA-256 of the
    reference's identity: a new signature, or which other images there are, changes nothing.
    """
    path = _mirrored(uri, root)
    if len(path) > MAX_KEY_BYTES or not _PLAIN.fullmatch(path):
        path = _cleaned(identity(uri), root)
    return f"masks/{path}.png"


def _cleaned(uri: str, root: str | None) -> str:
    """The key's path for any reference; the same path again for a plain one, at many times the cost."""
    path = _mirrored(without_query(uri), root)
    clean = "/".join(_clean(part) for part in path.split("/"))
    exact = clean == path and without_query(uri) == uri and len(clean.encode()) <= MAX_KEY_BYTES
    if not exact or LIKE_A_HASH.search(clean):
        clean = f"{_shorten(clean)}~{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
    return clean


def _mirrored(uri: str, root: str | None) -> str:
    """The reference as a path: below `root` relative to it, else with its scheme as the first folder.

    `?`, an odd letter, stands where two references could be mirrored alike: it brings the hash.
    """
    if inner := nested(uri):
        return _mirrored_inside(*inner, root)
    if uri.startswith("data:"):
        return "data/image?"
    odd = "?" if "!/" in uri else ""  # which stands between a file and what lies in it
    if "://" in uri:
        scheme, rest = uri.split("://", 1)
        # Only lower-case schemes of ours are kept apart from folders below.
        return f"{odd}{scheme}/{rest}" if scheme in SCHEMES else f"?{scheme}/{rest}"
    above = (root or "").rstrip("/") + "/"
    if root is not None and uri.startswith(above) and uri[len(above) :].split("/")[0] not in SCHEMES:
        return odd + uri[len(above) :]
    return f"{odd}file/{uri.lstrip('/')}"


def _mirrored_inside(scheme: str, inside: str, container: str, root: str | None) -> str:
    """`zip://a/b.jpg::/home/me/photos.zip` is `photos.zip!/a/b.jpg` below `/home/me`; a name ends in its scheme."""
    path = f"{_mirrored(container, root)}!/{inside}"
    return path if path.count("!/") == 1 and container.endswith(f".{scheme}") else f"?{path}"


def _clean(part: str) -> str:
    """One path component that any S3 server keeps as it is: not empty, no dots alone, no odd characters."""
    part = _UNSAFE.sub("_", part)
    while len(part.encode()) > MAX_PART_BYTES:
        part = part[:-1]
    return part if part.strip(".") else "_"


def _shorten(path: str) -> str:
    return path.encode()[:MAX_KEY_BYTES].decode(errors="ignore").rstrip("/")
