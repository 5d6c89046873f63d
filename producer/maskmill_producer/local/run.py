"""`maskmill run`: a whole job on this machine: servers, worker, progress, masks in a folder, contact sheet, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from maskmill import parameters
from maskmill.client import Client
from maskmill.errors import MaskmillError
from maskmill.job import Job
from maskmill.jobs.intake import check_strict
from maskmill.jobs.lifecycle import prune
from maskmill.jobs.takeover import take_over
from maskmill.schema import JobStatus
from maskmill.settings import load_settings
from maskmill_producer.local.mirror import Mirrored, mirror
from maskmill_producer.local.overlays import Drawn, draw_overlays
from maskmill_producer.local.page import REPORT, OfJob
from maskmill_producer.local.plan import Plan
from maskmill_producer.local.session import asked_of_worker, check_parts, session
from maskmill_producer.local.sheet import draw_sheet
from maskmill_producer.local.sole_run import sole_run
from maskmill_producer.report.page.report import Written, write_report

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class RunResult:
    """What a run ended with."""

    status: JobStatus
    mirrored: Mirrored
    sheet: Path | None
    report: Written | MaskmillError
    """The report, or why there is none; the masks are there whatever becomes of it."""
    drawn: Drawn | None = None


@dataclass
class Events:
    """What the caller wants to hear of."""

    step: Callable[[str], None]
    submitted: Callable[[Job, bool], None]
    status: Callable[[JobStatus], None]


def run(plan: Plan, events: Events) -> RunResult:
    """Segment the plan's images on this machine and leave masks, metadata, contact sheet and report in its folder.

    The same plan again goes on where an interrupted one stopped. Raises a `MaskmillError` with the cure.
    """
    settings = load_settings()
    check_parts(plan.parameters, settings)
    with sole_run(plan.folder) as let_go:
        look_first = plan.may_be_done
        events.step("starting broker and object store" if look_first else "starting broker, object store and worker")
        fields = settings_of(plan)
        with session(settings.state_dir, plan.worker_options, fields, worker_at_once=not look_first) as here:
            job, resumed = continue_or_submit(here.client, plan)
            events.submitted(job, resumed)
            if look_first and not take_over(job.services, job.out, job.id):
                events.step("starting the worker")
                here.start_worker()
            here.wait(job, events.status)
            here.dismiss_worker()
            events.step("copying the masks")
            let_go()
            mirrored = mirror(job, plan.folder, replace=True)
            delete_earlier(job)
            if plan.overlays:
                events.step("drawing overlays")
            drawn = draw_overlays(job, plan.folder) if plan.overlays else None
            sheet = draw_sheet(job, plan.folder)
            return RunResult(job.status(), mirrored, sheet, report_beside(job, plan.folder), drawn)


def report_beside(job: Job, folder: Path) -> Written | MaskmillError:
    """The report beside the results, or why there is none, such as a folder of that name that is not ours."""
    try:
        return write_report(OfJob(job, folder), folder / REPORT)
    except MaskmillError as error:
        return error


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
        limit=selection.limit,
        **plan.parameters,
    )
    return job, False


def settings_of(plan: Plan) -> dict[str, Any]:
    """The run's own settings, for this process and its worker alike."""
    pixels = {"max_image_pixels": plan.max_image_pixels} if plan.max_image_pixels else {}
    return {"prefix": plan.prefix, "queue": plan.queue, **pixels, **asked_of_worker(plan.parameters)}
