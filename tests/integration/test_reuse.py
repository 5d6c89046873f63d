"""Masks that are there already, in a real store: kept when they are ours, whole and of this spec; else made anew."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskmill.jobs.reuse import StoredMask, find_masks, put_mask, stored_masks
from maskmill.masks.segment_map import CONTENT_TYPE, MaskHeader, encode
from maskmill.schema import Execution, ImageWarning, JobRecord, Reference, Spec, Subtask, utc_now
from maskmill.services import Services
from maskmill.storage import keys
from maskmill.storage.store import Store, StoredObject

SPEC = Spec(model="some/model")
JOB = "20261122-205301-9f86d081"


@pytest.fixture
def store(services: Services) -> Store:
    return services.store(services.settings.out)


def record(job: str = JOB, *, overwrite: bool | None = None) -> JobRecord:
    return JobRecord(
        job=job,
        created=utc_now(),
        sources=(),
        spec=SPEC,
        execution=Execution(overwrite=overwrite),
        images=1,
        shards=1,
        shard_size=1,
    )


def reference(name: str) -> Reference:
    return Reference(uri=f"/photos/{name}.jpg", mask_key=f"masks/{name}.jpg.png")


def header(name: str = "a", job: str = JOB, version: str = "v1") -> MaskHeader:
    return MaskHeader(
        uri=f"/photos/{name}.jpg",
        fingerprint=SPEC.fingerprint(),
        subtask=Subtask.PANOPTIC,
        segments=(),
        image_version=version,
        job=job,
    )


def put(store: Store, name: str, **changes: object) -> bytes:
    png = encode(np.zeros((4, 6), np.uint8), header(name).model_copy(update=changes))
    store.put(f"masks/{name}.jpg.png", png, CONTENT_TYPE)
    return png


def found(store: Store, names: str, job: JobRecord | None = None) -> list[str | None]:
    masks = stored_masks(store, [reference(name) for name in names], job or record(), SPEC.fingerprint())
    return [mask and mask.image_version for mask in masks]


def test_masks_are_found_in_the_order_of_the_references(store: Store) -> None:
    for name in "acd":
        put(store, name, image_version=f"v{name}")
    assert found(store, "dbca") == ["vd", None, "vc", "va"]


def test_a_mask_of_this_job_is_stored_and_one_of_another_reused(store: Store) -> None:
    put(store, "a")
    put(store, "b", job="20200101-000000-00000000")
    masks = list(stored_masks(store, [reference("a"), reference("b")], record(), SPEC.fingerprint()))
    outcomes = [mask.outcome(reference("x"), JOB) for mask in masks if mask]
    assert [outcome.status.value for outcome in outcomes] == ["stored", "reused"]
    assert (outcomes[0].width, outcomes[0].height) == (6, 4)


def test_a_mask_that_is_kept_brings_its_warnings_and_its_scale(store: Store) -> None:
    warnings = (ImageWarning(code="page_chosen", reason="page 2 of 3"),)
    put(store, "a", job="20200101-000000-00000000", warnings=warnings, scale=(0.0, 4095.0))
    (mask,) = stored_masks(store, [reference("a")], record(), SPEC.fingerprint())
    assert mask
    outcome = mask.outcome(reference("a"), JOB)
    assert (outcome.warnings, outcome.scale) == (warnings, (0.0, 4095.0))


def test_what_is_not_this_mask_is_none(store: Store) -> None:
    whole = put(store, "a")
    store.put("masks/a.jpg.png", whole[: len(whole) // 2])
    store.put("masks/b.jpg.png", b"somebody else's")
    put(store, "c", fingerprint="another spec")
    put(store, "d", uri="/another/tree/d.jpg")
    put(store, "e", image_version=None)
    assert found(store, "abcde") == [None] * 5


def test_with_overwrite_only_masks_of_this_job_are_kept(store: Store) -> None:
    put(store, "a")
    put(store, "b", job="20200101-000000-00000000")
    assert found(store, "ab", record(overwrite=True)) == ["v1", None]


def test_masks_far_apart_among_many_others_are_found(store: Store) -> None:
    for n in range(40):
        store.put(f"masks/m{n:02d}.jpg.png", b"")
    put(store, "a")
    put(store, "z")
    assert found(store, "az") == ["v1", "v1"]


def test_an_empty_prefix_has_none(store: Store) -> None:
    assert found(store, "ab") == [None, None]
    assert list(stored_masks(store, [], record(), SPEC.fingerprint())) == []


OTHER = "20200101-000000-00000000"


def asked(store: Store) -> list[str]:
    """The operations that the store is asked for from now on."""
    names: list[str] = []
    store.client.meta.events.register("before-call.s3", lambda model, **_: names.append(model.name))
    return names


@pytest.mark.parametrize("none_stays", [True, False])
def test_a_mask_that_goes_is_replaced_by_one_request_more_than_it_took_to_find_it(
    store: Store, none_stays: bool
) -> None:
    """Of four images one has no mask, the others masks of another spec, another tree, and half a one."""
    whole = put(store, "a", fingerprint="another spec")
    put(store, "b", uri="/another/tree/b.jpg")
    store.put("masks/c.jpg.png", whole[: len(whole) // 2])
    submit_after_what_is_there(store)
    references, names = [reference(name) for name in "abcd"], asked(store)
    found = list(find_masks(store, references, record(overwrite=True), SPEC.fingerprint(), none_stays=none_stays))
    assert names == ["ListObjectsV2"] * 2 if none_stays else ["ListObjectsV2", *["GetObject"] * 3]
    assert [bool(each.replaced) for each in found] == [True, True, True, False]
    names.clear()
    for each, there in zip(references, found, strict=True):
        made = StoredMask(header(each.mask_key[6]), 4, 6)
        assert put_mask(store, each, record(overwrite=True), mask(), made, there.replaced) is made
    assert names == ["PutObject"] * 4


def submit_after_what_is_there(store: Store) -> None:
    """The job's record, put by the store's clock after all masks."""
    latest = max(each.modified for each in store.list("masks/"))
    while True:
        store.put(keys.job_record(JOB), b"{}")
        [there] = store.list(keys.job_record(JOB))
        if there.modified > latest:
            return
        time.sleep(0.01)


@pytest.mark.parametrize("known", [True, False])
def test_what_may_be_of_this_job_is_not_replaced_unseen(store: Store, known: bool) -> None:
    """Two references of an overwriting job may be of one image, and its ledger may have been lost."""
    put(store, "b", job=OTHER)
    if known:
        submit_after_what_is_there(store)
    put(store, "a")
    references = [reference(name) for name in "ab"]
    found = list(find_masks(store, references, record(overwrite=True), SPEC.fingerprint(), none_stays=True))
    assert [bool(each.replaced) for each in found] == [False, known]
    there = put_mask(store, references[0], record(overwrite=True), mask(shade=1), StoredMask(header(), 4, 6))
    assert there.header == header()
    assert store.get("masks/a.jpg.png") != mask(shade=1)


@pytest.mark.parametrize(("etag", "condition"), [("1f", '"1f"'), ('W/"1f', None), ("", None)])
def test_an_etag_that_is_no_condition_is_none(etag: str, condition: str | None) -> None:
    assert StoredObject("masks/a.jpg.png", 1, etag, utc_now()).entity_tag == condition


def test_a_mask_that_came_after_another_was_found_is_looked_at_before_it_goes(store: Store) -> None:
    """The slower one of two workers of a job keeps what the faster one stored meanwhile."""
    put(store, "a", fingerprint="another spec")
    (found,) = find_masks(store, [reference("a")], record(), SPEC.fingerprint())
    assert found.replaced
    store.put("masks/a.jpg.png", mask(shade=1), CONTENT_TYPE)
    there = put_mask(store, reference("a"), record(), mask(shade=2), StoredMask(header(), 4, 6), found.replaced)
    assert there.header == header()
    assert store.get("masks/a.jpg.png") == mask(shade=1)


def test_a_mask_of_this_job_without_a_version_is_not_replaced_unseen(store: Store) -> None:
    put(store, "a", image_version=None)
    (found,) = find_masks(store, [reference("a")], record(), SPEC.fingerprint())
    assert (found.mask, found.replaced) == (None, None)


def test_a_shard_asks_for_no_more_keys_than_it_looks_at(store: Store) -> None:
    sizes: list[int] = []
    store.client.meta.events.register(
        "provide-client-params.s3.ListObjectsV2", lambda params, **_: sizes.append(params["MaxKeys"])
    )
    assert found(store, "abc") == [None] * 3
    assert sizes == [13]


def mask(job: str = JOB, version: str = "v1", shade: int = 0) -> bytes:
    return encode(np.full((4, 6), shade, np.uint8), header(job=job, version=version))


@pytest.mark.parametrize(
    ("there", "overwrite", "stays"),
    [
        (None, None, False),
        (mask(), None, True),
        (mask(version="v0"), None, True),
        (mask(), True, True),
        (mask(OTHER), None, True),
        (mask(OTHER), True, False),
        (mask(OTHER, version="v0"), None, False),
        (mask()[: len(mask()) // 2], None, False),
        (b"somebody else's", None, False),
    ],
)
def test_who_puts_a_mask_second_keeps_the_first_if_it_is_right(
    store: Store, there: bytes | None, overwrite: bool | None, stays: bool
) -> None:
    if there is not None:
        store.put("masks/a.jpg.png", there)
    made = StoredMask(header(), 6, 4)
    counts = put_mask(store, reference("a"), record(overwrite=overwrite), mask(shade=3), made)
    assert (counts is not made) == stays
    assert store.get("masks/a.jpg.png") == (there if stays else mask(shade=3))


@pytest.mark.parametrize("there", [None, mask(OTHER, version="v0")])
def test_of_eight_workers_that_put_one_mask_one_does_and_all_account_for_it(store: Store, there: bytes | None) -> None:
    made = [StoredMask(header(version=f"w{n}"), 6, 4) for n in range(8)]

    def put_one(n: int) -> StoredMask:
        return put_mask(store, reference("a"), record(), mask(shade=n, version=f"w{n}"), made[n])

    for _ in range(10):
        store.put("masks/a.jpg.png", there) if there else store.delete("masks/a.jpg.png")
        with ThreadPoolExecutor(8) as pool:
            counts = list(pool.map(put_one, range(8)))
        [winner] = [n for n, each in enumerate(counts) if each is made[n]]
        assert store.get("masks/a.jpg.png") == mask(shade=winner, version=f"w{winner}")
        assert {each.image_version for each in counts} == {f"w{winner}"}
