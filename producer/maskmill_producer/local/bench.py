"""`maskmill bench`: a model on somebody's own images, and where the time went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from maskmill import parameters
from maskmill.device import require as require_device
from maskmill.errors import JobFailed
from maskmill.job import Job
from maskmill.jobs.records import read_report
from maskmill.parameters import PipelineParameters
from maskmill.schema import DeviceSeconds, JobStatus, ShardReport, Status
from maskmill.settings import Settings, load_settings
from maskmill_producer.local.session import asked_of_worker, check_parts, session

STAGES = ("fetch", "decode", "preprocess", "forward", "postprocess", "encode", "upload")
SHARD_SIZE = 16
"""Small, so that there are several commits to measure between."""

BUSY = 0.9
"""Share of the time from which the model itself is the limit."""


@dataclass(frozen=True)
class Stage:
    """One stage's wall seconds an image, and how many images it can have in hand at a time."""

    name: str
    seconds: float
    at_a_time: int

    @property
    def capacity(self) -> float:
        """Images a second that the stage could do if it never waited."""
        return self.at_a_time / self.seconds if self.seconds else float("inf")


@dataclass(frozen=True)
class BenchResult:
    """What a bench run measured: seconds an image by stage, and what the model's time was spent on."""

    status: JobStatus
    stages: tuple[Stage, ...]
    device: DeviceSeconds
    images: int
    """Images that `device` was measured over: all but those of the shard committed first, which finds empty queues."""

    @property
    def images_per_second(self) -> float:
        """Throughput once the queues are filled."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def seconds(self) -> float:
        """Wall seconds that were measured."""
        return self.device.busy + self.device.loading + self.device.storing

    @property
    def busy(self) -> float:
        """Share of the time in which the model was at work, 0 to 1."""
        return self.device.busy / self.seconds if self.seconds else 0.0

    def stage(self, name: str) -> Stage:
        """The stage of this name."""
        return next(stage for stage in self.stages if stage.name == name)

    @property
    def verdict(self) -> str:
        """What holds the job up, and what to do about it, in words."""
        if self.busy >= BUSY:
            return _model_verdict(self.stage("forward"), self.stage("postprocess"))
        if self.device.storing > self.device.loading:
            return "waiting on upload: raise MASKMILL_UPLOAD_THREADS, or bring the object store nearer"
        fetch, decode, preprocess = (self.stage(name) for name in STAGES[:3])
        if fetch.capacity < decode.at_a_time / max(1e-9, decode.seconds + preprocess.seconds):
            return "waiting on fetch: raise MASKMILL_FETCH_THREADS, or bring the images nearer"
        slower = max(decode, preprocess, key=lambda stage: stage.seconds)
        return f"waiting on {slower.name}: raise --num-workers (it was {slower.at_a_time}), or give it more cores"


def _model_verdict(forward: Stage, postprocess: Stage) -> str:
    if postprocess.seconds > forward.seconds:
        return "the model's device is busy, most of it with post-processing: large images want a faster device"
    return "the model is the limit: a faster device, --dtype bfloat16 on one that has it, or a smaller model"


def bench(
    sources: Sequence[str],
    pipeline_parameters: PipelineParameters,
    device: str,
    images: int,
    column: str | None,
    on_step: Callable[[str], None],
    on_status: Callable[[JobStatus], None],
) -> BenchResult:
    """Segment the first `images` images with servers and a store of its own, which are gone afterwards."""
    check_parts(pipeline_parameters, load_settings())
    require_device(device)
    asked = {"prefix": "bench", "queue": "bench", "shard_size": SHARD_SIZE, **asked_of_worker(pipeline_parameters)}
    on_step("starting broker, object store and worker")
    with (
        TemporaryDirectory(prefix="maskmill-bench-", ignore_cleanup_errors=True) as folder,
        session(Path(folder), ["--device", device], asked) as here,
    ):
        job = here.client.submit(sources, column=column, limit=images, **pipeline_parameters)
        here.wait(job, on_status)
        return measured(job, _settings(here.client.settings, pipeline_parameters))


def _settings(settings: Settings, pipeline_parameters: PipelineParameters) -> Settings:
    _, execution = parameters.parse(**pipeline_parameters)
    return settings.model_copy(update={"num_workers": execution.num_workers or settings.num_workers})


def measured(job: Job, settings: Settings) -> BenchResult:
    """The result from a finished job's reports; raises `JobFailed` when no image was segmented."""
    reports = list(_reports(job))
    seconds = [o.seconds or {} for report in reports for o in report.outcomes if o.status is Status.STORED]
    if not seconds:
        reasons = [f"{o.code}: {o.reason}" for report in reports for o in report.outcomes]
        raise JobFailed(f"no image was segmented ({reasons[0]})")
    means = {name: sum(each.get(name, 0.0) for each in seconds) / len(seconds) for name in STAGES}
    timed = [report for report in sorted(reports, key=lambda report: report.finished) if report.device]
    timed = timed[1:] or timed
    laps = [report.device for report in timed if report.device]
    device = DeviceSeconds(
        busy=sum(lap.busy for lap in laps),
        loading=sum(lap.loading for lap in laps),
        storing=sum(lap.storing for lap in laps),
    )
    images = sum(len(report.outcomes) for report in timed)
    batches = side_by_side(images * (means["forward"] + means["postprocess"]), device.busy)
    at_a_time = {
        "fetch": settings.fetch_threads,
        "decode": max(1, settings.loader_processes),
        "preprocess": max(1, settings.loader_processes),
        "forward": batches,
        "postprocess": batches,
        "encode": settings.upload_threads,
        "upload": settings.upload_threads,
    }
    stages = tuple(Stage(name, mean, at_a_time[name]) for name, mean in means.items())
    return BenchResult(job.status(), stages, device, images)


def side_by_side(model_seconds: float, busy_seconds: float) -> int:
    """How many batches the worker had in the model at a time, which only it knows: by the time that they took."""
    return max(1, round(model_seconds / busy_seconds)) if busy_seconds else 1


def _reports(job: Job) -> Iterator[ShardReport]:
    for shard in range(job.record().shards):
        report = read_report(job.store, job.id, shard)
        if report is not None:
            yield report
