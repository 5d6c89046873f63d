"""The flow of shards in one process, against a real ledger and bucket: with the demo model, and with none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps
from structlog.testing import capture_logs

from maskmill import Job
from maskmill.errors import BrokerUnavailable, ObjectForbidden
from maskmill.events import Event, ImageDone, ShardCommitted
from maskmill.jobs.cancel import cancel_job
from maskmill.jobs.records import read_report
from maskmill.jobs.submit import submit
from maskmill.ledger.answers import ClaimReply
from maskmill.ledger.claims import Claims
from maskmill.schema import Counts, Execution, JobRecord, JobState, Outcome, ShardReport, Spec, Status
from maskmill.services import Services
from maskmill.storage import keys
from maskmill_worker.model.models import Models
from maskmill_worker.model.predict import NoMemory, Prediction, predict
from maskmill_worker.model.sample import Sample
from maskmill_worker.model.segmenter import AtATime, Segmentation, Segmenter, TransformersSegmenter
from maskmill_worker.process.drain import DRAIN_FILE
from maskmill_worker.shards import attempts, flow
from maskmill_worker.shards.crashes import CrashNote
from maskmill_worker.shards.flow import process_shards
from maskmill_worker.shards.held_shard import HeldShard
from maskmill_worker.shards.lease import Leases
from maskmill_worker.shards.slice import Slice
from maskmill_worker.shards.worker import ShardWorker
from tests.acceptance.images import write_good
from tests.conftest import wait_for
from tests.integration.no_models import NoModels
from tests.torch_threads import torch_threads

IMAGES, SHARD_SIZE, SHARDS = 13, 4, 4


@pytest.fixture(scope="module")
def demo() -> Models:
    """The demo model, loaded once for all tests here."""
    return Models("cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with thirteen images of several sizes, one of them cut."""
    *_, cut = write_good(tmp_path / "some", IMAGES)
    cut.write_bytes(cut.read_bytes()[:400])
    return tmp_path / "some"


def work(services: Services, models: Models, **settings: object) -> ShardWorker:
    """Process all shards that there are with small shards and no loader process."""
    changes = {"num_workers": 0, "upload_threads": 2, "batch_size": 2} | settings
    services.settings = services.settings.model_copy(update=changes)
    worker = ShardWorker(services, models)
    process_shards(worker)
    worker.drop_loader()
    return worker


def submitted(services: Services, folder: Path, shard_size: int = SHARD_SIZE, **execution: object) -> Job:
    services.settings = services.settings.model_copy(update={"shard_size": shard_size})
    options = {"out": services.settings.out, "spec": Spec(model="demo"), "execution": Execution(**execution)}
    record = submit(services, [str(folder)], **options)
    return Job(record.job, services.settings.out, services)


@pytest.fixture
def events(services: Services) -> list[Event]:
    heard: list[Event] = []
    services.events.subscribe(heard.append)
    return heard


# With a model


def test_a_worker_takes_all_shards_of_a_job_and_closes_it(
    services: Services, demo: Models, images: Path, events: list[Event]
) -> None:
    job = submitted(services, images)
    worker = work(services, demo)

    manifest = job.manifest()
    assert manifest is not None
    assert (manifest.counts, manifest.failures) == (Counts(stored=IMAGES - 1, failed=1), {"truncated": 1})
    assert [outcome.uri for outcome in job.outcomes()] == sorted(map(str, images.iterdir()))
    for result in job.results():
        with Image.open(result.uri) as image:
            size = ImageOps.exif_transpose(image).size
        assert result.segment_map.shape == size[::-1]
        assert (result.outcome.width, result.outcome.height) == size
    reports = [read_report(job.store, job.id, shard) for shard in range(SHARDS)]
    assert {report.worker for report in reports if report} == {worker.owner}
    seconds = sum(report.device.total for report in reports if report and report.device)
    charged = services.ledger.redis.hget(services.ledger.key(job.id, "meta"), "vtime")
    assert float(charged) == pytest.approx(seconds, rel=0.05), "the worker time that fairness goes by"
    assert len([event for event in events if isinstance(event, ShardCommitted)]) == SHARDS
    done = {event.uri for event in events if isinstance(event, ImageDone)}
    assert done == set(map(str, images.iterdir()))


def test_one_slice_loads_images_of_the_next_shard_before_it_has_committed_the_last(
    services: Services, demo: Models, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[set[int]] = []
    take = Slice.take

    def noting(self: Slice, claim: ClaimReply) -> HeldShard | None:
        shard = take(self, claim)
        taken.append(set(self._held))
        return shard

    monkeypatch.setattr(Slice, "take", noting)
    submitted(services, images)
    work(services, demo)
    assert len(taken) == SHARDS
    assert any(len(held) > 1 for held in taken)


def test_a_worker_that_claims_its_own_shards_again_after_their_leases_reads_each_image_once(
    services: Services, demo: Models, images: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its renewals do not come through, and nobody else takes its shards."""
    monkeypatch.setattr(Leases, "_renew", lambda *_: None)
    services.settings = services.settings.model_copy(update={"lease_seconds": 0.05, "max_attempts": 1})
    job = submitted(services, images)
    while job.manifest() is None:
        work(services, demo)

    manifest = job.manifest()
    assert manifest is not None
    assert manifest.failures == {"truncated": 1}
    assert len([event for event in events if isinstance(event, ImageDone)]) == IMAGES


def test_a_shard_that_cannot_be_begun_costs_the_others_nothing(
    services: Services, demo: Models, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The references of the second one are no references any more, and its attempts are used up at once."""
    monkeypatch.setattr(attempts, "MAX_PAUSE_SECONDS", 1.0)
    services.settings = services.settings.model_copy(update={"max_attempts": 1})
    job = submitted(services, images)
    job.store.put(keys.shard(job.id, 1), b"{ half a refer")

    def all_others_are_done() -> bool:
        work(services, demo)
        return services.ledger.progress(job.id).shards_done == SHARDS - 1

    with capture_logs() as logged:
        wait_for(all_others_are_done, lambda: services.ledger.progress(job.id), 120)
    progress = services.ledger.progress(job.id)
    assert (progress.failures, progress.begun) == ({"truncated": 1}, 1)
    assert {each["code"] for each in logged if each["event"] == "shard_given_back"} == {"invalid_record"}


def test_masks_of_the_job_before_are_reused_and_only_what_changed_is_made_anew(
    services: Services, demo: Models, images: Path
) -> None:
    submitted(services, images)
    work(services, demo)
    changed = sorted(images.iterdir())[1]
    Image.new("RGB", (64, 48), "green").save(changed)

    again = submitted(services, images)
    work(services, demo)
    overwritten = submitted(services, images, overwrite=True)
    work(services, demo)

    manifests = [again.manifest(), overwritten.manifest()]
    assert [each and each.counts for each in manifests] == [
        Counts(stored=1, reused=IMAGES - 2, failed=1),
        Counts(stored=IMAGES - 1, failed=1),
    ]
    [made] = [outcome for outcome in again.outcomes() if "forward" in (outcome.seconds or {})]
    assert (made.uri, made.status) == (str(changed), Status.STORED)


def test_algorithms_are_deterministic_for_the_jobs_that_ask_for_it_alone(
    services: Services, demo: Models, tmp_path: Path
) -> None:
    write_good(tmp_path / "two", 2)
    for asked in (True, None):
        job = submitted(services, tmp_path / "two", deterministic=asked, overwrite=True)
        work(services, demo)
        assert job.status().counts == Counts(stored=2)
        assert torch.are_deterministic_algorithms_enabled() == bool(asked)


def test_a_job_that_is_cancelled_meanwhile_is_accounted_for_within_the_slice(
    services: Services, demo: Models, images: Path, events: list[Event]
) -> None:
    """It is cancelled once its first image is done; the worker hears of it, at the latest with the next renewal."""
    job = submitted(services, images)
    begun = threading.Event()

    def cancel(event: Event) -> None:
        if isinstance(event, ImageDone) and not begun.is_set():
            begun.set()
            cancel_job(services, job.id, job.out)
            time.sleep(2.5)  # longer than a renewal takes to come

    services.events.subscribe(cancel)
    work(services, demo, upload_threads=1)

    manifest = job.manifest()
    assert manifest is not None
    assert manifest.state is JobState.CANCELLED
    assert manifest.counts.total == IMAGES
    assert manifest.counts.stored >= 1
    assert manifest.counts.cancelled >= 1


def test_a_worker_that_drains_takes_no_shard(
    services: Services, demo: Models, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "drain").touch()
    monkeypatch.setenv(DRAIN_FILE, str(tmp_path / "drain"))
    job = submitted(services, images)
    work(services, demo)
    progress = services.ledger.progress(job.id)
    assert (progress.begun, progress.shards_done) == (0, 0)


def test_a_worker_that_begins_to_drain_finishes_what_it_has_in_hand_and_no_more(
    services: Services, demo: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It drains from its first commit on, and has far fewer images in hand than there are."""
    many, drain, begun = 24, tmp_path / "drain", threading.Event()
    write_good(tmp_path / "many", many)
    monkeypatch.setenv(DRAIN_FILE, str(drain))
    services.events.subscribe(lambda event: drain.touch() if isinstance(event, ShardCommitted) else None)

    def after_the_first(*arguments: Any) -> Iterator[Prediction]:
        if begun.is_set():
            wait_for(drain.exists, lambda: "nothing was committed")
        begun.set()
        yield from predict(*arguments)

    monkeypatch.setattr(flow, "predict", after_the_first)
    job = submitted(services, tmp_path / "many", shard_size=1)
    work(services, demo, batch_size=1, fetch_threads=1, upload_threads=1)
    progress = services.ledger.progress(job.id)
    assert (progress.claimed, progress.waiting, progress.begun) == (0, 0, 0)
    assert 1 <= progress.shards_done < many


# Side by side


@pytest.fixture
def two_threads() -> Iterator[None]:
    """What torch has to share out, whatever the machine."""
    with torch_threads(2):
        yield


@dataclass
class InModel:
    """What `predict` is called with: the batches that are in the model, and those that were by themselves there."""

    now: list[list[int]] = field(default_factory=list)
    most: int = 0
    by_themselves: list[list[int]] = field(default_factory=list)
    both: threading.Barrier | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def predict(self, segmenter: Segmenter, batch: list[Sample], *rest: Any) -> Iterator[Prediction]:
        indices = [sample.task.index for sample in batch]
        with self._lock:
            before, self.now = len(self.now), [*self.now, indices]
            self.most = max(self.most, len(self.now))
        if self.both and not self.both.broken:
            with suppress(threading.BrokenBarrierError):
                self.both.wait()
        yield from predict(segmenter, batch, *rest)
        with self._lock:
            if not before and self.now == [indices]:
                self.by_themselves.append(indices)
            self.now.remove(indices)


@pytest.fixture
def in_model(monkeypatch: pytest.MonkeyPatch) -> InModel:
    noting = InModel()
    monkeypatch.setattr(flow, "predict", noting.predict)
    return noting


@pytest.mark.parametrize(("asked", "deterministic", "most"), [(None, None, 2), (1, None, 1), (None, True, 1)])
def test_two_batches_are_in_the_model_at_a_time_unless_settings_or_job_ask_for_one(
    services: Services,
    demo: Models,
    images: Path,
    two_threads: None,
    in_model: InModel,
    asked: int | None,
    deterministic: bool | None,
    most: int,
) -> None:
    in_model.both = threading.Barrier(2, timeout=60 if most == 2 else 0.1)
    job = submitted(services, images, deterministic=deterministic)
    work(services, demo, forward_threads=asked, cores=2)
    assert in_model.most == most
    assert job.status().counts == Counts(stored=IMAGES - 1, failed=1)


def test_a_batch_is_post_processed_beside_the_next_ones_pass_where_a_core_is_left(
    services: Services, demo: Models, images: Path, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No batch is post-processed before another one's pass has begun; passes are one after the other."""
    forward, postprocess = TransformersSegmenter.forward, TransformersSegmenter.postprocess
    two_began, begun, in_pass, most = threading.Event(), [0], [0], [0]

    def noted_forward(self: TransformersSegmenter, *arguments: Any, **options: Any) -> Any:
        begun[0] += 1
        if begun[0] == 2:
            two_began.set()
        in_pass[0] += 1
        most[0] = max(most[0], in_pass[0])
        outputs = forward(self, *arguments, **options)
        in_pass[0] -= 1
        return outputs

    def late_postprocess(self: TransformersSegmenter, outputs: Any) -> Segmentation:
        assert two_began.wait(60)
        return postprocess(self, outputs)

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    demo.get(Spec(model="demo"))  # which is tried out
    monkeypatch.setattr(TransformersSegmenter, "forward", noted_forward)
    monkeypatch.setattr(TransformersSegmenter, "postprocess", late_postprocess)
    job = submitted(services, images)
    work(services, demo, forward_threads=1, cores=3)
    assert job.status().counts == Counts(stored=IMAGES - 1, failed=1)
    assert most == [1]


@pytest.mark.parametrize("fits_alone", [True, False])
def test_an_image_for_which_others_left_no_memory_is_tried_once_more_by_itself(
    services: Services,
    demo: Models,
    tmp_path: Path,
    two_threads: None,
    in_model: InModel,
    monkeypatch: pytest.MonkeyPatch,
    fits_alone: bool,
) -> None:
    """The fourth image never fits beside another one's batch; alone it may. Its neighbours are stored in any case."""
    scarce = write_good(tmp_path / "some", 12)[3]
    segment = flow.predict

    def without_memory(segmenter: Segmenter, batch: list[Sample], *rest: Any) -> Iterator[Prediction]:
        alone = threading.current_thread() is threading.main_thread()
        for prediction in segment(segmenter, batch, *rest):
            lacks = prediction.sample.task.reference.uri == str(scarce) and not (alone and fits_alone)
            yield replace(prediction, result=NoMemory("the model failed: out of memory")) if lacks else prediction

    monkeypatch.setattr(flow, "predict", without_memory)
    job = submitted(services, tmp_path / "some", shard_size=12)
    work(services, demo)
    assert [3] in in_model.by_themselves
    assert job.status().counts == (Counts(stored=12) if fits_alone else Counts(stored=11, failed=1))
    failures = [(each.uri, each.code) for each in job.outcomes() if each.status is Status.FAILED]
    assert failures == ([] if fits_alone else [(str(scarce), "model_error")])


def test_code_of_a_models_own_stays_in_the_thread_that_loaded_it(
    services: Services, demo: Models, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may keep what it needs by thread, or ask for signals."""
    threads = set[threading.Thread]()

    def noted(*arguments: Any) -> Iterator[Prediction]:
        for prediction in predict(*arguments):
            threads.add(threading.current_thread())
            yield prediction

    def with_code_of_its_own(*arguments: Any) -> Segmenter:
        segmenter = get(*arguments)
        monkeypatch.setattr(segmenter, "at_a_time", AtATime.BATCH)
        return segmenter

    get = demo.get
    monkeypatch.setattr(demo, "get", with_code_of_its_own)
    monkeypatch.setattr(flow, "predict", noted)
    job = submitted(services, images)
    work(services, demo)
    assert job.status().counts == Counts(stored=IMAGES - 1, failed=1)
    assert threads == {threading.main_thread()}


def test_an_image_that_may_end_the_process_has_the_model_for_itself(
    services: Services, demo: Models, tmp_path: Path, two_threads: None, in_model: InModel
) -> None:
    """Two of twelve were in the model when the last process died."""
    write_good(tmp_path / "some", 12)
    job = submitted(services, tmp_path / "some", shard_size=12)
    claim = services.ledger.claim_next("dead", 60)
    services.ledger.note(job.id, "dead", {claim.shard: CrashNote(in_model=(1, 4)).text()})
    services.ledger.renew(job.id, [claim.shard], "dead", 0.001)

    def done() -> bool:
        work(services, demo)
        return job.manifest() is not None

    wait_for(done, lambda: services.ledger.progress(job.id))
    assert job.status().counts == Counts(stored=12)
    assert [1] in in_model.by_themselves
    assert [4] in in_model.by_themselves


def test_every_image_is_noted_before_it_enters_the_model_and_a_call_does_for_several_batches(
    services: Services, demo: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_good(tmp_path / "some", 40)
    calls: list[set[tuple[int, int]]] = []
    batches: list[set[tuple[int, int]]] = []
    noted = Claims.note

    def note(self: Claims, job: str, owner: str, notes: Mapping[int, str]) -> None:
        calls.append({(shard, index) for shard, text in notes.items() for index in CrashNote.from_text(text).in_model})
        noted(self, job, owner, notes)

    def predict_noted(segmenter: Segmenter, batch: list[Sample], *rest: Any) -> Iterator[Prediction]:
        batches.append({sample.task.key for sample in batch})
        assert batches[-1] <= calls[-1], "each note takes the place of the one before"
        yield from predict(segmenter, batch, *rest)

    monkeypatch.setattr(Claims, "note", note)
    monkeypatch.setattr(flow, "predict", predict_noted)
    job = submitted(services, tmp_path / "some", shard_size=40)
    work(services, demo, batch_size=1, fetch_threads=16)
    assert job.status().counts == Counts(stored=40)
    assert len(batches) == 40
    assert len(calls) < 10


def test_images_that_follow_are_noted_anew_where_the_broker_did_not_hear_of_them(
    services: Services, demo: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_good(tmp_path / "some", 12)
    calls, noted, heard = [0], Claims.note, list[set[int]]()

    def note(self: Claims, job: str, owner: str, notes: Mapping[int, str]) -> None:
        calls[0] += 1
        if calls[0] < 4:
            raise BrokerUnavailable("it is away")
        heard.append({index for text in notes.values() for index in CrashNote.from_text(text).in_model})
        noted(self, job, owner, notes)

    def predict_noted(segmenter: Segmenter, batch: list[Sample], *rest: Any) -> Iterator[Prediction]:
        if calls[0] >= 4:
            assert {sample.task.index for sample in batch} <= heard[-1]
        yield from predict(segmenter, batch, *rest)

    monkeypatch.setattr(Claims, "note", note)
    monkeypatch.setattr(flow, "predict", predict_noted)
    job = submitted(services, tmp_path / "some", shard_size=12)
    work(services, demo, batch_size=1, fetch_threads=16, forward_threads=1)
    assert job.status().counts == Counts(stored=12)
    assert calls[0] >= 4


# With none


@pytest.fixture
def models() -> NoModels:
    return NoModels()


@pytest.fixture
def worker(services: Services, models: NoModels) -> ShardWorker:
    return ShardWorker(services, models)


@pytest.fixture
def job(services: Services, tmp_path: Path) -> JobRecord:
    """One shard of two images."""
    (tmp_path / "list.txt").write_text("/photos/0.jpg\n/photos/1.jpg\n")
    names = [str(tmp_path / "list.txt")]
    return submit(services, names, out=services.settings.out, spec=Spec(model="m"), execution=Execution())


def report(job: JobRecord) -> ShardReport:
    outcomes = [Outcome(uri=f"/photos/{n}.jpg", status=Status.FAILED, code="timeout") for n in range(2)]
    return ShardReport(job=job.job, shard=0, attempt=1, worker="v", finished=job.created, outcomes=tuple(outcomes))


def held(services: Services, job: JobRecord) -> None:
    services.ledger.claim_next("another", 60)


def given_back_for_later(services: Services, job: JobRecord) -> None:
    services.ledger.claim_next("another", 60)
    services.ledger.release(job.job, 0, "another", delay_seconds=60)


def cancelled(services: Services, job: JobRecord) -> None:
    services.ledger.cancel(job.job)


def booked(services: Services, job: JobRecord) -> None:
    services.ledger.book(job.job, 0, report(job).counts(), {})


def committed(services: Services, job: JobRecord) -> None:
    """Its owner died between its report and the ledger."""
    services.store(services.settings.out).put(keys.report(job.job, 0), report(job).to_json())


def forgotten(services: Services, job: JobRecord) -> None:
    services.ledger.forget(job.job)


def used_up(services: Services, job: JobRecord) -> None:
    """The last process died in the last of all attempts."""
    for _ in range(services.settings.max_attempts):
        claim = services.ledger.claim_next("dead", 60)
        services.ledger.release(job.job, claim.shard, "dead")


STALE = [held, given_back_for_later, cancelled, booked, committed, forgotten, used_up]


@pytest.mark.parametrize("before", STALE, ids=lambda before: before.__name__)
def test_a_message_for_which_there_is_no_work_loads_no_model(
    services: Services,
    worker: ShardWorker,
    models: NoModels,
    job: JobRecord,
    before: Callable[[Services, JobRecord], None],
) -> None:
    before(services, job)
    process_shards(worker)
    assert models.asked == []


def test_a_message_in_an_empty_queue_loads_no_model(worker: ShardWorker, models: NoModels) -> None:
    process_shards(worker)
    assert models.asked == []


def test_a_shard_that_can_be_worked_on_has_its_model_loaded_once_and_is_given_back_if_there_is_none(
    services: Services, worker: ShardWorker, models: NoModels, job: JobRecord
) -> None:
    process_shards(worker)
    assert models.asked == ["m"]
    progress = services.ledger.progress(job.job)
    assert (progress.claimed, progress.waiting, progress.shards_done) == (0, 1, 0)


@pytest.mark.parametrize(
    ("asked", "settings_say", "images"),
    [
        *((None, 4, 4), (7, 4, 7), ("auto", 4, None), (None, "auto", None), (7, "auto", 7)),
        *((10**9, 4, 256), (10**9, 512, 512), (10**9, "auto", 256)),
    ],
)
def test_a_job_s_batch_size_goes_before_the_worker_s(
    services: Services, models: NoModels, job: JobRecord, asked: object, settings_say: object, images: int | None
) -> None:
    services.settings = services.settings.model_copy(update={"batch_size": settings_say})
    record = job.model_copy(update={"execution": Execution(batch_size=asked)})
    worker = ShardWorker(services, models)
    assert worker.batch_size(record).asked == images
    assert worker.batch_size(record) is worker.batch_size(record), "it learns"
    alone = job.model_copy(update={"execution": Execution(batch_size=asked, deterministic=True)})
    assert worker.batch_size(alone).asked == 1


def test_what_a_job_asks_for_is_bounded_by_its_worker(services: Services, worker: ShardWorker, job: JobRecord) -> None:
    def asked(**execution: object) -> tuple[int | None, float]:
        made = worker.settings(job.model_copy(update={"execution": Execution.model_validate(execution)}))
        return made.num_workers, made.fetch_timeout_seconds

    own = services.settings
    assert asked(num_workers=100_000, timeout=1e12) == (8, 3600.0)
    assert asked(num_workers=0, timeout=0.5) == (1, 0.5), "no image of a stranger is decoded beside the model"
    assert asked() == (own.num_workers, own.fetch_timeout_seconds)
    services.settings = own.model_copy(update={"num_workers": 12, "fetch_timeout_seconds": 7200.0})
    assert asked(num_workers=100_000, timeout=1e12) == (12, 7200.0)
    services.settings = own.model_copy(update={"num_workers": 0})
    assert asked(num_workers=0)[0] == 0, "unless the worker says so"
    services.settings = own.model_copy(update={"max_num_workers": 2, "max_fetch_timeout_seconds": 60.0})
    assert asked(num_workers=3, timeout=61) == (max(2, own.loader_processes), 60.0)


def test_a_decided_shard_is_booked_on_the_way(services: Services, worker: ShardWorker, job: JobRecord) -> None:
    committed(services, job)
    process_shards(worker)
    assert services.ledger.progress(job.job).counts == report(job).counts()
    assert services.store(services.settings.out).exists(keys.manifest(job.job))


def test_a_worker_asks_for_a_refused_store_with_a_small_object_before_it_loads_a_model(
    services: Services, worker: ShardWorker, models: NoModels, job: JobRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bucket cannot be written to: `put` is refused as by a missing right, reads go on."""
    store = services.store(services.settings.out)
    worker.prove_store(services.settings.out)
    worker.ended_slice(job.job, services.settings.out, ObjectForbidden("no right to put"))

    def refused(*_: object) -> None:
        raise ObjectForbidden("no right to put")

    monkeypatch.setattr(store, "put", refused)
    process_shards(worker)
    assert models.asked == []
    assert services.ledger.progress(job.job).trouble == "store_refused: no right to put"

    monkeypatch.undo()
    services.ledger.redis.zadd(services.ledger.key(job.job, "waiting"), {"0": 0})
    services.ledger.redis.zadd(services.ledger.key("due"), {job.job: 0})
    process_shards(worker)
    assert models.asked == ["m"], "it is mended"
    assert list(store.list("probes/")) == []
    monkeypatch.setattr(store, "put", refused)
    worker.prove_store(services.settings.out)  # and is not asked for again
