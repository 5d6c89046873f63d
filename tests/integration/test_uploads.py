"""What the upload threads put into the bucket, and what becomes of their errors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

from maskmill import Client
from maskmill.errors import SegmentationFailed
from maskmill.jobs.records import read_job, read_report
from maskmill.jobs.submit import submit
from maskmill.masks.segment_map import decode
from maskmill.schema import Execution, Segment, Spec, Subtask
from maskmill.services import Services
from maskmill.storage.store import Store
from maskmill_producer.local.mirror import mirror
from maskmill_worker.model.predict import Prediction
from maskmill_worker.model.sample import Sample, Task
from maskmill_worker.model.segmenter import Segmentation
from maskmill_worker.shards.held_shard import HeldShard
from maskmill_worker.shards.slice import Slice
from maskmill_worker.shards.uploads import uploads

SECRETS = ("u-ser", "pass-word", "sig-nature", "frag-ment")
SIGNED = [f"https://u-ser:pass-word@example.org/{n}.jpg?X-Amz-Signature=sig-nature#frag-ment" for n in range(3)]
FINGERPRINT = "f" * 32
SHOWN = [f"https://example.org/{n}.jpg" for n in range(3)]


@pytest.fixture
def store(services: Services) -> Store:
    return services.store(services.settings.out)


@pytest.fixture
def shards(services: Services, tmp_path: Path) -> Iterator[Slice]:
    """A slice of a job of three signed addresses, whose only shard is in hand."""
    (tmp_path / "list.txt").write_text("\n".join(SIGNED))
    names = [str(tmp_path / "list.txt")]
    record = submit(services, names, out=services.settings.out, spec=Spec(model="m"), execution=Execution())
    with Slice(services, record.job, services.settings.out, "w") as shards:
        shards.take(services.ledger.claim_next("w", 30))
        yield shards


def predicted(shard: HeldShard, index: int) -> Prediction:
    segment = Segment(id=1, label="cat", label_id=0, score=0.9, area=24, box=(0, 0, 6, 4))
    sample = Sample(Task(0, index, shard.references[index]), width=6, height=4, version=f"etag:{index}")
    return Prediction(sample, Segmentation(np.ones((4, 6), np.uint8), (segment,), Subtask.PANOPTIC), {"forward": 0.5})


def upload_all(shards: Slice, *others: Prediction) -> HeldShard:
    """The first images segmented, the others as given; the shard is committed then."""
    shard = shards.get(0)
    assert shard is not None
    with uploads(shards, read_job(shards.store, shards.job), FINGERPRINT, 2) as stored:
        for each in [*(predicted(shard, index) for index in range(3 - len(others))), *others]:
            stored.add(each)
    return shard


def test_nothing_but_the_shards_holds_a_password_or_signature(
    shards: Slice, services: Services, store: Store, tmp_path: Path
) -> None:
    heard: list[object] = []
    services.events.subscribe(heard.append)
    shard = shards.get(0)
    assert shard is not None
    failed = Prediction(Sample(Task(0, 2, shard.references[2])), SegmentationFailed("the model failed: no"), {})
    with capture_logs() as lines:
        upload_all(shards, failed)

    job = Client(services.settings).job(shards.job)
    masks = [store.get(item.key) for item in store.list("masks/")]
    texts = [text for mask in masks for text in Image.open(io.BytesIO(mask)).text.values()]
    assert len(texts) == 2
    shown = [*texts, *map(str, heard), str(lines), job.status().to_json().decode(), str(job.manifest())]
    shown += [item.key for item in store.list()]
    shown += [store.get(item.key).decode(errors="replace") for item in store.list() if "/shards/" not in item.key]
    mirror(job, tmp_path / "masks")
    shown += [path.read_text() for path in (tmp_path / "masks").iterdir() if path.is_file()]
    assert not [(secret, text) for secret in SECRETS for text in shown if secret in text]
    assert sorted(decode(mask)[1].uri for mask in masks) == SHOWN[:2], "but they say which image it was"
    assert job.status().examples["model_error"].uri == SHOWN[2]


def test_references_keep_what_a_fetch_needs(shards: Slice) -> None:
    shard = shards.get(0)
    assert shard is not None
    assert [each.uri.reveal() for each in shard.references] == SIGNED


def test_who_asks_gets_the_whole_address_of_a_result_and_of_a_failure(shards: Slice, services: Services) -> None:
    shard = shards.get(0)
    assert shard is not None
    failed = Prediction(Sample(Task(0, 2, shard.references[2])), SegmentationFailed("the model failed: no"), {})
    upload_all(shards, failed)
    job = Client(services.settings).job(shards.job)
    assert [result.uri.reveal() for result in job.results()] == SHOWN[:2]
    assert [result.uri.reveal() for result in job.results(reveal=True)] == SIGNED[:2]
    assert [failure.uri.reveal() for failure in job.failures(reveal=True)] == SIGNED[2:]


def test_the_result_of_a_signed_address_is_found(shards: Slice, services: Services) -> None:
    upload_all(shards)
    results = list(Client(services.settings).job(shards.job).results())
    assert [result.uri for result in results] == SHOWN
    assert {result.segment_map.shape for result in results} == {(4, 6)}


def test_a_mask_says_what_it_is_of_and_from(shards: Slice, store: Store) -> None:
    shard = upload_all(shards)
    record = read_job(store, shards.job)
    ids, header = decode(store.get(shard.references[1].mask_key))
    assert (ids == 1).all()
    assert (header.job, header.image_version, header.subtask) == (record.job, "etag:1", Subtask.PANOPTIC)
    assert header.fingerprint == FINGERPRINT
    report = read_report(store, record.job, 0)
    assert report is not None
    assert set(report.outcomes[1].seconds or {}) == {"forward", "encode", "upload"}
    assert report.outcomes[1].segments == header.segments


def test_what_an_upload_raises_ends_the_slice_and_the_rest_is_given_back(
    shards: Slice, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket is gone: masks can be put no more."""
    gone = services.store(services.settings.out.replace(services.settings.bucket, "no-such-bucket"))
    monkeypatch.setattr(shards, "store", gone)
    with pytest.raises(Exception, match="no-such-bucket"):
        upload_all(shards)
