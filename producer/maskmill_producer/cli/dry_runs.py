"""`--dry-run`: what a command would do, for people and for machines. Starts nothing, changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from maskmill.parameters import PipelineParameters
from maskmill.words import counted
from maskmill_producer.cli import display

if TYPE_CHECKING:
    from maskmill.jobs.preview import Preview
    from maskmill.settings import Settings
    from maskmill_producer.local.plan import Plan


def show_run(plan: Plan, json: bool) -> None:
    """What `maskmill run` would do; raises what it would raise before it starts anything."""
    from maskmill.jobs.preview import preview
    from maskmill.parameters import parse
    from maskmill.settings import load_settings
    from maskmill_producer import embedded
    from maskmill_producer.local.session import check_parts

    settings, images = load_settings(), plan.selection
    check_parts(plan.parameters, settings)
    found = preview(
        settings,
        images.source_names,
        column=images.column,
        root=images.root,
        all_files=images.all_files,
        strict=images.strict,
        anonymous=bool(plan.parameters.get("anonymous")),
        exclude=str(plan.folder.absolute()),
        limit=images.limit,
    )
    servers = embedded.status(settings.state_dir)
    state = "running" if servers.running else "would be started"
    where = {
        "model": parse(**plan.parameters)[0].model,
        "workers": " ".join(plan.worker_options).replace("--", ""),
        "servers": f"embedded, in {servers.state_dir}: {state}",
        "folder": f"{plan.folder}{', whose results would be replaced' if plan.has_results else ''}",
    }
    _show(found, where, json)


def show_submit(
    sources: Sequence[str], parameters: PipelineParameters, out: str | None, taken: dict[str, Any], json: bool
) -> None:
    """What `maskmill submit` would do; asks no server of ours."""
    import sys

    from maskmill.jobs.preview import preview
    from maskmill.models.doubt import Doubt
    from maskmill.parameters import parse
    from maskmill.settings import load_settings

    settings, (spec, execution) = load_settings(), parse(**parameters)
    doubt, target = Doubt(spec), (out or settings.out).rstrip("/")
    found = preview(settings, sources, out=target, anonymous=bool(execution.anonymous), stdin=sys.stdin, **taken)
    reason = doubt.reason()
    where = {
        "model": spec.model + (f" (a worker on this machine could not have it: {reason})" if reason else ""),
        "broker": _broker(settings),
        "results": f"{target} at {settings.s3.endpoint_url or 'AWS'}",
    }
    _show(found, where, json)


def _broker(settings: Settings) -> str:
    from maskmill.addresses import Address

    return f"{Address(settings.broker_url.get_secret_value())}, queue {settings.queue}"


def _show(found: Preview, where: dict[str, str], json: bool) -> None:
    if json:
        facts = {"dry_run": True, "found": found.found, "images": found.images, "left_out": found.left_out}
        display.print_json({**facts, "shards": found.shards, "masks": found.masks, **where})
        return
    display.say(f"would segment {counted(found.images, 'image')}; nothing was started or changed")
    display.remark_left_out(found)
    for image, key in found.masks.items():
        display.say(f"  {image} → {key}")
    for name, text in where.items():
        display.say(f"{name}: {text}")
