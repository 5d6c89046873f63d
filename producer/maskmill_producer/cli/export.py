"""Results in the forms that other tools open: `maskmill export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskmill import exit_codes
from maskmill.errors import UsageError
from maskmill.words import counted
from maskmill_producer.cli import display, exits, options, selecting
from maskmill_producer.cli.exits import failing_plainly
from maskmill_producer.cli.jobs import client

if TYPE_CHECKING:
    from maskmill.export.account import ExportAccount

commands = typer.Typer()


def add_commands(app: typer.Typer) -> None:
    """Make this command one of the `maskmill` command itself."""
    app.registered_commands += commands.registered_commands


FORMATS = (
    "coco-instances, coco-panoptic, parquet, semantic, label-studio, yolo-seg, masks, cutout or webdataset "
    "(docs/exports.md says which tool reads which)"
)

PLACE, SHAPE = "Where things lie", "For some formats"

Form = Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help=FORMATS)]
Out = Annotated[str, typer.Option(metavar="DIR|s3://…", help="An empty or new folder, or a prefix in the store.")]
CategoryIds = Annotated[
    str,
    typer.Option(metavar="contiguous|label", help="Ids from 1, or the model's own label ids.", rich_help_panel=SHAPE),
]
CopyImages = Annotated[
    bool, typer.Option("--copy-images", help="Bring the images too, upright.", rich_help_panel=PLACE)
]
ImageRoot = Annotated[
    str | None,
    typer.Option(metavar="PATH|URL", help="Where the tool finds the images, in front of names.", rich_help_panel=PLACE),
]
Layout = Annotated[
    str,
    typer.Option(
        metavar="plain|cvat|roboflow|fiftyone", help="COCO's files as this tool wants them.", rich_help_panel=PLACE
    ),
]
ImagesPerFile = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Begin a new file after so many images.", rich_help_panel=PLACE),
]
Polygons = Annotated[
    bool,
    typer.Option(
        "--polygons",
        help="Rings instead of run lengths, for readers that have none; holes are filled, and counted.",
        rich_help_panel=SHAPE,
    ),
]
Parts = Annotated[
    str,
    typer.Option(
        metavar="join|split", help="yolo-seg: a segment in parts as one ring, or as several.", rich_help_panel=SHAPE
    ),
]
Unlabelled = Annotated[
    int, typer.Option(metavar="255|0", help="semantic: the pixel that means no class.", rich_help_panel=SHAPE)
]


@commands.command(
    epilog="**Examples**: `maskmill export 20261122-205301-9f86d081 --format coco-instances --out coco/`\n\n"
    "`maskmill export JOB --format yolo-seg --out yolo/ --labels person,car --min-score 0.8 --copy-images`\n\n"
    "`maskmill export labels/ --format parquet --out tables/`\n\n" + exits.HELP
)
def export(
    job: options.JobOrFolder,
    form: Form,
    out: Out,
    labels: selecting.Labels = None,
    map_labels: selecting.MapLabels = None,
    min_score: selecting.MinScore = None,
    min_area: selecting.MinArea = None,
    things: selecting.Things = None,
    stuff: selecting.Stuff = None,
    category_ids: CategoryIds = "contiguous",
    copy_images: CopyImages = False,
    image_root: ImageRoot = None,
    layout: Layout = "plain",
    images_per_file: ImagesPerFile = None,
    polygons: Polygons = False,
    parts: Parts = "join",
    unlabelled: Unlabelled = 255,
    source: options.From = None,
    json: options.Json = False,
) -> None:
    """Write the masks of a job that has ended as another tool reads them; the model is not needed again.

    Of a folder that `run` or `results --download` has written no server is needed: `maskmill export masks/ …`.
    Images keep their paths below the job's root. What is left out or changed on the way is counted in `export.json`.
    Interrupted, the same command goes on; run again, it gives the same bytes. An image whose mask cannot be read is
    named in `not-exported.jsonl`, and the exit code is 4.
    """
    with failing_plainly(json, "stopped; the same command goes on where this one was"):
        from maskmill_producer.cli.progress import counting_bar
        from maskmill_producer.local.recorded import Recorded

        selection = selecting.selection(labels, map_labels, min_score, min_area, things, stuff, category_ids)
        asked: dict[str, Any] = {
            "copy_images": copy_images,
            "image_root": image_root,
            "polygons": polygons,
            "layout": layout,
            "parts": parts,
            "unlabelled": unlabelled,
            "images_per_file": images_per_file,
        }
        folder = Recorded.named(job)
        if folder and source:
            raise UsageError("--from is for a job's id: a folder of results needs no store")
        with counting_bar("exporting", quiet=json) as show:
            results = folder or client().job(job, source)
            account = results.export(form, out, on_progress=show, selection=selection, **asked)
        _print(account, out, json)
    if account.not_exported:
        raise typer.Exit(exit_codes.FAILURES)


def _print(account: ExportAccount, out: str, json: bool) -> None:
    if json:
        display.print_json({"out": out} | account.model_dump(mode="json", exclude_none=True))
        return
    found = f"{counted(account.images, 'image')} with {counted(account.segments, 'segment')}"
    display.say(f"{account.plan.options.format}: {found} in {out}")
    display.remark(f"things and stuff: told by {account.plan.things_told_by}")
    for facts in (account.without_mask, account.segments_left_out, account.notes):
        if facts:
            display.remark(", ".join(f"{name.replace('_', ' ')}: {number:,}" for name, number in facts.items()))
    if account.not_exported:
        first = account.problems[0]
        display.say(
            f"{counted(account.not_exported, 'image')} not exported, named in {out.rstrip('/')}/not-exported.jsonl; "
            f"the first: {first.text}"
        )
