"""Images that lie in another file, or in the reference itself: `zip://…::PATH`, `tar:`, `parquet:`, `data:`."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from maskmill.access import Access
from maskmill.errors import ImageUnsupported
from maskmill.images.archives import read_member
from maskmill.images.limits import check_size
from maskmill.images.parquet import read_row
from maskmill.storage.download import Download, by_content


def read_nested(inner: tuple[str, str, str], access: Access, max_bytes: int, known: str | None) -> Download:
    """What `maskmill.addresses.nested` takes apart; `access` bounds the file that it lies in.

    Raises `ImageError` and `OSError`.
    """
    scheme, inside, container = inner
    if not container.startswith("/"):
        raise ImageUnsupported(f"{scheme}://…: archives and tables are read in place only from an absolute path")
    path = access.path(container)
    if scheme == "parquet":
        return by_content(read_row(path, inside, max_bytes), known)
    return read_member(scheme, path, inside, max_bytes, known)


def read_data(address: str, max_bytes: int, known: str | None) -> Download:
    """The bytes of a `data:` address (RFC 2397)."""
    head, comma, body = address.partition(",")
    try:
        data = unquote_to_bytes(body)
        data = base64.b64decode(data, validate=True) if head.lower().endswith(";base64") else data
    except binascii.Error as error:
        raise ImageUnsupported(f"a data: address that is not base64 ({error})") from error
    if not comma or not data:
        raise ImageUnsupported("a data: address without data")
    check_size(len(data), max_bytes, "a data: address of")
    return by_content(data, known)
