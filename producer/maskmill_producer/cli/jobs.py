"""What one does with a submitted job: `maskmill status|watch|results|failures|retry|cancel|resume`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskmill import exit_codes
from maskmill.errors import UsageError
from maskmill.words import counted
from maskmill_producer.cli import display, exits, folders, options
from maskmill_producer.cli.exits import failing_plainly

if TYPE_CHECKING:
    from maskmill import Client, Job
    from maskmill.schema import JobStatus, Outcome

commands = typer.Typer()

STILL_RUNS = "no longer watching; the job goes on"


def add_commands(app: typer.Typer) -> None:
    """Make these commands of the `maskmill` command itself."""
    app.registered_commands += commands.registered_commands


def client() -> Client:
    """A client of the settings; loaded here, so that `--help` loads none."""
    from maskmill import Client

    return Client()


@commands.command(epilog="**Example**: `maskmill status 20261122-205301-9f86d081 --json`\n\n" + exits.HELP)
def status(
    job: Annotated[
        str | None,
        typer.Argument(metavar="JOB|DIR", help="Job id, or a folder of results; without it, the latest jobs."),
    ] = None,
    out: options.Out = None,
    json: options.Json = False,
) -> None:
    """Show where a job stands and an example of each failure, or list the latest jobs.

    `maskmill failures JOB` lists all failed images. Of a folder that `run` or `results --download` has written, both
    commands say what it says, without a server: `maskmill status masks/`.
    """
    from maskmill_producer.local.recorded import Recorded

    with failing_plainly(json):
        if job is None:
            _print_all(client().statuses(), json)
            return
        folder = Recorded.named(job)
        state = folder.status() if folder else client().job(job, out).look()
        if json:
            display.print_json(display.status_json(state))
        else:
            display.print_end(state)
            _say_failures(state, job)
            if state.files or not state.finished:
                display.say(f"model made of {state.files}" if state.files else "no worker has loaded the model yet")
    exits.exit_by_state(state)


def _print_all(statuses: list[JobStatus], json: bool) -> None:
    if json:
        display.print_json([display.status_json(each) for each in statuses])
    elif statuses:
        display.print_jobs(statuses)
    else:
        display.say("no jobs yet: maskmill submit --help")


@commands.command(epilog="**Example**: `maskmill watch 20261122-205301-9f86d081`\n\n" + exits.HELP)
def watch(job: options.JobId, out: options.Out = None, json: options.Json = False) -> None:
    """Follow a job until it ends: images a second, time left, failures. With --json a line for each change."""
    with failing_plainly(json, STILL_RUNS):
        state = follow(client().job(job, out), json)
    exits.exit_by_state(state)


def follow(job: Job, json: bool) -> JobStatus:
    """Show how the job goes until it ends, and what it ended with."""
    from maskmill_producer.cli.progress import job_bar

    with nullcontext(_json_changes()) if json else job_bar(job.id) as show:
        job.wait(on_status=show)
    state = job.status()
    if not json:
        display.print_end(state)
        _say_failures(state, job.id)
    return state


def _say_failures(status: JobStatus, name: str) -> None:
    """Which command lists them all: the table has an example of each code."""
    if status.counts.failed:
        display.remark(f"all that failed: maskmill failures {quote(name)}")


def _json_changes() -> Any:
    last: list[JobStatus] = []

    def show(status: JobStatus) -> None:
        code = status.waiting and status.waiting.code  # its reason has seconds that pass
        key = status.model_copy(update={"waiting": code})
        if last[-1:] != [key]:
            last[:] = [key]
            display.print_json(display.status_json(status))

    return show


@commands.command(epilog="**Example**: `maskmill results 20261122-205301-9f86d081 --download masks/`")
def results(
    job: options.JobId,
    out: options.Out = None,
    download: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Copy masks and metadata into this folder.")
    ] = None,
    overlays: options.Overlays = False,
    reveal: options.Reveal = False,
    json: options.Json = False,
) -> None:
    """List the images of a job with their masks and labels, or download them.

    A second download fetches only the masks that are missing. A folder holds the results of one job; its
    `metadata.jsonl` and `failures.jsonl` are tables for DuckDB, Polars, pandas and `datasets` (docs/tables.md).

    A mask that another job has replaced in the store is not copied: it is named, and the exit code is 4. The same goes
    for an overlay whose image cannot be read from this machine, or has changed.
    """
    with failing_plainly(json, "stopped; the same command fetches the rest" if download else "stopped"):
        found = client().job(job, out)
        if download and reveal:
            raise UsageError("--reveal is for lists: files that are passed on hold no passwords")
        if overlays and not download:
            raise UsageError("--overlays are drawn into a folder: name it with --download DIR")
        if download:
            _download(found, download, overlays, json)
            return
        for result in found.results(reveal=reveal):
            if json:
                display.print_json(_as_json(result.outcome, reveal))
            else:
                labels = ", ".join(segment.title for segment in result.segments) or "nothing found"
                display.print_line(_address(result.outcome, reveal), f"{found.out}/{result.mask_key}", labels)
        display.remark_unfinished(found.status())


def _address(outcome: Outcome, reveal: bool) -> str:
    return outcome.uri.reveal() if reveal else outcome.uri


def _as_json(outcome: Outcome, reveal: bool) -> dict[str, Any]:
    return outcome.model_dump(mode="json", exclude_none=True) | {"uri": _address(outcome, reveal)}


def _download(job: Job, folder: Path, overlays: bool, json: bool) -> None:
    from maskmill.machine import require_room
    from maskmill_producer.cli.progress import counting_bar
    from maskmill_producer.local.mirror import mirror
    from maskmill_producer.local.overlays import draw_overlays

    require_room(folder)
    state = job.status()  # as of before, so that nothing that is said to be there is missing
    with counting_bar("downloading", quiet=json) as show:
        mirrored = mirror(job, folder, on_progress=show)
    drawn = draw_overlays(job, folder) if overlays else None
    if json:
        facts = {"job": job.id, "state": state.state, "folder": str(folder)}
        display.print_json(facts | folders.folder_json(mirrored, drawn))
    else:
        folders.print_masks(mirrored, folder)
        folders.print_failures(state, folder)
        folders.print_overlays(drawn, folder)
    display.remark_unfinished(state)
    if mirrored.not_copied or (drawn and drawn.not_drawn):
        raise typer.Exit(exit_codes.FAILURES)


@commands.command(epilog="**Example**: `maskmill resume 20261122-205301-9f86d081 --out s3://labels/2026`")
def resume(job: options.JobId, out: options.Out = None, json: options.Json = False) -> None:
    """Rebuild a job's queue from the bucket, after the broker has lost it; harmless for one that runs."""
    with failing_plainly(json):
        found = client().job(job, out)
        found.resume()
        state = found.status()
        display.print_json(display.status_json(state)) if json else display.print_end(state)


@commands.command(epilog="**Example**: `maskmill failures 20261122-205301-9f86d081 --code not_found --json`")
def failures(
    job: options.JobOrFolder,
    code: options.Codes = None,
    out: options.Out = None,
    reveal: options.Reveal = False,
    json: options.Json = False,
) -> None:
    """List the images of a job that failed, each with its code and reason; with --json a line for each.

    `maskmill failures JOB --json --reveal > failed.jsonl` is a list for `maskmill submit`, signed addresses included.
    `maskmill failures masks/` reads a folder of results, without a server.
    """
    from maskmill_producer.local.recorded import Recorded

    with failing_plainly(json):
        folder = Recorded.named(job)
        if folder and reveal:
            raise UsageError("--reveal needs the job's id: the files in a folder hold no passwords")
        found = folder.failures(code) if folder else client().job(job, out).failures(code, reveal=reveal)
        for outcome in found:
            if json:
                facts = _as_json(outcome, reveal)
                display.print_json({name: facts[name] for name in ("uri", "code", "reason") if name in facts})
            else:
                display.print_line(_address(outcome, reveal), outcome.code, outcome.reason)


@commands.command(epilog="**Example**: `maskmill retry 20261122-205301-9f86d081 --code timeout --code fetch_failed`")
def retry(job: options.JobId, code: options.Codes = None, out: options.Out = None, json: options.Json = False) -> None:
    """Queue the failed images of a job that has ended again, under the same job."""
    with failing_plainly(json):
        images = client().job(job, out).retry(code)
        if json:
            display.print_json({"job": job, "images": images})
        else:
            display.say(f"{counted(images, 'image')} queued again; follow with: maskmill watch {job}")


@commands.command(epilog="**Example**: `maskmill cancel 20261122-205301-9f86d081`")
def cancel(job: options.JobId, out: options.Out = None, json: options.Json = False) -> None:
    """Stop a job within a batch: masks that are stored stay, the other images are accounted for as cancelled."""
    with failing_plainly(json):
        found = client().job(job, out)
        found.cancel()
        state = found.status()
        if json:
            display.print_json(display.status_json(state))
        elif state.finished:
            display.print_end(state)
        else:
            giving_up = counted(state.shards_claimed, "shard is", "shards are")
            display.say(f"cancelled; {giving_up} being given up by their workers")
