"""`maskmill run`: a whole job on this machine: servers, worker, progress, masks in a folder, contact sheet."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from maskmill import parameters
from maskmill.client import Client
from maskmill.errors import MaskmillError
from maskmill.job import Job
from maskmill.jobs.intake import check_strict
from maskmill.jobs.lifecycle import prune
from maskmill.parameters import PipelineParameters
from maskmill.schema import JobStatus
from maskmill.settings import load_settings
from maskmill_producer import embedded
from maskmill_producer.local.mirror import Mirrored, mirror
from maskmill_producer.local.overlays import Drawn, draw_overlays
from maskmill_producer.local.plan import Plan
from maskmill_producer.local.sheet import draw_sheet
from maskmill_producer.local.worker_process import WorkerProcess, worker_command, worker_process

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 2.0
"""Ctrl-C gives the shard in hand back after so long; what it had stored by then is stored again the next time."""


@dataclass(frozen=True)
class RunResult:
    """What a run ended with."""

    status: JobStatus
    mirrored: Mirrored
    sheet: Path | None
    drawn: Drawn | None = None


@dataclass
class Events:
    """What the caller wants to hear of."""

    step: Callable[[str], None]
    submitted: Callable[[Job, bool], None]
    status: Callable[[JobStatus], None]


def run(plan: Plan, events: Events) -> RunResult:
    """Segment the plan's images on this machine and leave masks, metadata and a contact sheet in its folder.

    The same plan again goes on where an interrupted one stopped. Raises a `MaskmillError` with the cure.
    """
    worker_command()  # raises before anything is started
    with ExitStack() as stack:
        events.step("starting broker and object store")
        servers = stack.enter_context(embedded.running(load_settings().state_dir))
        environment = environment_of(servers, plan.prefix, plan.queue, plan.parameters)
        if plan.max_image_pixels:
            environment["MASKMILL_MAX_IMAGE_PIXELS"] = str(plan.max_image_pixels)
        os.environ.update(environment)
        client = Client(load_settings())
        job, resumed = continue_or_submit(client, plan)
        events.submitted(job, resumed)
        events.step("starting the worker and loading the model")
        worker_log = servers.state_dir / f"worker-{plan.queue}.log"
        arguments = [*plan.worker_options, *model_options(plan.parameters)]
        worker = stack.enter_context(worker_process(arguments, environment, worker_log))
        wait(job, worker, events.status)
        worker.stop()
        events.step("copying the masks")
        mirrored = mirror(job, plan.folder, replace=True)
        delete_earlier(job)
        if plan.overlays:
            events.step("drawing overlays")
        drawn = draw_overlays(job, plan.folder) if plan.overlays else None
        return RunResult(job.status(), mirrored, draw_sheet(job, plan.folder), drawn)


def delete_earlier(job: Job) -> None:
    """Leave one copy in the embedded store: this job's, from which the next run takes the masks that still hold.

    The results are out by now, so what cannot be deleted is a warning.
    """
    try:
        prune(job.services, job.out, timedelta(0), masks=True, keep={job.id})
    except MaskmillError as error:
        log.warning("earlier_results_not_deleted", code=error.code, reason=str(error))


def continue_or_submit(client: Client, plan: Plan) -> tuple[Job, bool]:
    """The unfinished job of the same plan, entered again; else a new one. True if it was continued.

    A job's record hides the secrets of its sources. The plan's queue is named by them, too, and knows its jobs.
    """
    selection = plan.selection
    wanted = (selection.described, *parameters.parse(**plan.parameters))
    hides = any(source != source.reveal() for source in selection.sources)
    for record in client.unfinished(client.settings.out):
        found = (selection.of(record), record.spec, record.execution)
        if found == wanted and (not hides or client.services.ledger.inspect(record.job)):
            if selection.strict:
                check_strict(record.left_out, record.left_out_examples)
            job = Job(record.job, client.settings.out, client.services)
            job.resume()
            return job, True
    job = client.submit(
        selection.source_names,
        column=selection.column,
        root=selection.root,
        all_files=selection.all_files,
        strict=selection.strict,
        exclude=str(plan.folder.absolute()),
        **plan.parameters,
    )
    return job, False


def wait(job: Job, worker: WorkerProcess, show: Callable[[JobStatus], None]) -> None:
    """Wait for the job while the worker lives; raises `ModelUnavailable` or `JobFailed` if it will not."""

    def on_status(status: JobStatus) -> None:
        show(status)
        if not status.finished:
            worker.check()

    job.wait(on_status=on_status)


def _as_json(servers: embedded.Servers) -> str:
    """The embedded store for `MASKMILL_S3`: the `AWS_*` names stay what they are, for `s3://` sources."""
    return json.dumps(
        {
            "endpoint_url": servers.s3_endpoint_url,
            "region": servers.region,
            "access_key_id": servers.access_key_id,
            "secret_access_key": servers.secret_access_key,
        }
    )


def environment_of(
    servers: embedded.Servers, prefix: str, queue: str, pipeline_parameters: PipelineParameters
) -> dict[str, str]:
    """Settings for this process and its worker: the embedded servers, a prefix and a queue.

    What the command asks for is the worker's own setting: its bounds are for others' jobs.
    """
    _, execution = parameters.parse(**pipeline_parameters)
    asked = {
        "NUM_WORKERS": execution.num_workers,
        "BATCH_SIZE": execution.batch_size,
        "FETCH_TIMEOUT_SECONDS": execution.timeout,
    }
    return {
        "MASKMILL_BROKER_URL": servers.broker_url,
        "MASKMILL_BUCKET": servers.bucket,
        "MASKMILL_S3": _as_json(servers),
        "MASKMILL_PREFIX": prefix,
        "MASKMILL_QUEUE": queue,
        "MASKMILL_DRAIN_SECONDS": str(DRAIN_SECONDS),
        "MASKMILL_TRUST_SUBMITTERS": "true",  # there is one: who typed the command
        **{f"MASKMILL_{name}": str(value) for name, value in asked.items() if value is not None},
    }


def model_options(pipeline_parameters: PipelineParameters) -> Sequence[str]:
    """Options for a worker that checks at its start that it can have the model."""
    spec, _ = parameters.parse(**pipeline_parameters)
    revision = ["--revision", spec.revision] if spec.revision else []
    return ["--model", spec.model, *revision]


def worker_options(device: str, devices: str, workers_per_device: int | None) -> tuple[str, ...]:
    """Which workers to run, in the words of `maskmill-worker`, which refuses contradictions."""
    alone = device != "auto" or not devices
    given = {"--device": alone and device, "--devices": devices, "--workers-per-device": workers_per_device}
    return tuple(text for option, value in given.items() if value for text in (option, str(value)))
