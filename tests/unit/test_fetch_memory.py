"""Images from memory are read out of the results' store, and nothing else is."""

from __future__ import annotations

import pytest

from maskmill.access import Access
from maskmill.addresses import in_store
from maskmill.errors import ImageNotFound, ImageRefused, ImageUnsupported, ObjectNotFound
from maskmill.images.fetch import Fetcher
from maskmill.storage.download import Download, content_digest

IMAGE = b"the bytes of an image"
DIGEST = content_digest(IMAGE)
PLACE = f"s3://other/labels/jobs/20261122-205301-9f86d081/images/{DIGEST}"


def fetcher(found: bytes | None = IMAGE) -> Fetcher:
    def read(url: str, max_bytes: int, known: str | None) -> Download:
        assert (url, known) == (PLACE, None)
        if found is None:
            raise ObjectNotFound("no such object")
        return Download("etag", found)

    return Fetcher(read_result=read, access=Access(buckets=()))


def test_its_version_is_its_content() -> None:
    download = fetcher().download(in_store(DIGEST, PLACE))
    assert (download.data, download.version) == (IMAGE, f"sha256:{DIGEST}")


def test_a_known_one_is_not_read_again() -> None:
    assert fetcher(None).download(in_store(DIGEST, "s3://gone"), f"sha256:{DIGEST}").unchanged


def test_what_has_another_content_is_refused() -> None:
    with pytest.raises(ImageRefused, match="another content"):
        fetcher(b"a secret").fetch(in_store(DIGEST, PLACE))


@pytest.mark.parametrize(
    "place", ["", "s3://other/secret", f"s3://other/jobs/J/images/{DIGEST}", PLACE[:-1], f"{PLACE}/a", PLACE[5:]]
)
def test_no_other_place_is_looked_at(place: str) -> None:
    with pytest.raises(ImageUnsupported, match="submit it again"):
        fetcher().fetch(in_store(DIGEST, place))


def test_one_whose_job_was_deleted_is_not_found() -> None:
    with pytest.raises(ImageNotFound):
        fetcher(None).fetch(in_store(DIGEST, PLACE))


def test_without_a_results_store_there_are_none() -> None:
    with pytest.raises(ImageUnsupported):
        Fetcher().fetch(in_store(DIGEST, PLACE))
