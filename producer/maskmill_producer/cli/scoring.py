"""How good the masks of a job are, and what changed between two: `maskmill score` and `maskmill compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskmill import exit_codes
from maskmill_producer.cli import display, options, selecting
from maskmill_producer.cli.exits import failing_plainly
from maskmill_producer.cli.jobs import client

if TYPE_CHECKING:
    from maskmill.dataset.source import SourceMaker

commands = typer.Typer()

EXIT_CODES = (
    "\n\n**Exit codes**: 0 done · 2 wrong use, or a job that has not ended · 4 some images have no part in it, each "
    "named · 5 store not there · 130 interrupted"
)


def add_commands(app: typer.Typer) -> None:
    """Make these commands of the `maskmill` command itself."""
    app.registered_commands += commands.registered_commands


Worst = Annotated[int, typer.Option("--worst", min=0, metavar="N", help="Images to show, the worst first.")]
Rows = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write a line of JSON for each image, the worst first."),
]
Report = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Show it in the job's report, too, which `run` or `report` has written there."),
]
From = Annotated[
    list[str] | None,
    typer.Option("--from", metavar="s3://…", help="The job's output prefix, if the broker forgot it or is away."),
]


@commands.command(
    epilog="**Examples**: `maskmill score 20261122-205301-9f86d081 --truth panoptic_val2017.json`\n\n"
    "`maskmill score JOB --truth instances.json --min-score 0.8 --out worst-first.jsonl --report report-JOB`\n\n"
    "`maskmill score masks/ --truth class-ids/ --truth-classes classes.json --map-labels map.json`" + EXIT_CODES
)
def score(
    job: options.JobOrFolder,
    truth: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="COCO panoptic (a JSON file, beside it its PNGs), COCO instances, or a folder of class-id PNGs.",
        ),
    ],
    truth_classes: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Names of the class ids: JSON `{"0": "road"}` or `["road"]`.',
            show_default="classes.json in the folder",
        ),
    ] = None,
    labels: selecting.Labels = None,
    map_labels: selecting.MapLabels = None,
    min_score: selecting.MinScore = None,
    min_area: selecting.MinArea = None,
    only_submitted: Annotated[
        bool,
        typer.Option(
            "--only-submitted",
            help="Leave out images of the truth that the job does not have.",
            show_default="their segments count as missed",
        ),
    ] = False,
    ap: Annotated[bool, typer.Option("--ap/--no-ap", help="Average precision of things, of `maskmill[score]`.")] = True,
    max_detections: Annotated[
        int, typer.Option(min=1, metavar="N", help="AP takes so many segments of a class in an image, as COCO's does.")
    ] = 100,
    worst: Worst = 10,
    out: Rows = None,
    report: Report = None,
    source: From = None,
    json: options.Json = False,
) -> None:
    """Say how good the masks of a job that has ended are: panoptic quality, AP and IoU, all and by class.

    Classes are the same by their names, whatever the case; images by the end of their paths. What fits nothing on the
    other side is counted and named. Stuff of one class is one segment. Images without a mask count as empty. The
    model is not needed again: `--min-score` and `--labels` show what another choice would give.
    """
    with failing_plainly(json):
        from maskmill.scoring.score import ScoreOptions
        from maskmill.scoring.score import score as score_job
        from maskmill_producer.cli import score_display
        from maskmill_producer.cli.progress import counting_bar
        from maskmill_producer.local import score_pages
        from maskmill_producer.local.recorded import Recorded

        selection = selecting.selection(labels, map_labels, min_score, min_area)
        results = Recorded.named(job)
        if report:
            score_pages.check_report(report, job, results)
        asked = ScoreOptions(
            selection=selection,
            truth_classes=truth_classes,
            only_submitted=only_submitted,
            ap=ap,
            max_detections=max_detections,
            worst=worst,
            rows=out,
        )
        with counting_bar("scoring", quiet=json) as show:
            found = score_job(_maker(job, source), truth, asked, on_progress=show)
        if report:
            score_pages.add_score(report, found, results)
        display.print_json(found.model_dump(mode="json")) if json else score_display.print_scores(found)
    if found.images.not_scored or found.images.ambiguous:
        raise typer.Exit(exit_codes.FAILURES)


@commands.command(
    epilog="**Examples**: `maskmill compare 20261122-205301-9f86d081 20261123-081500-1b2c3d4e`\n\n"
    "`maskmill compare OLD NEW --min-score 0.8 --out changed.jsonl --json`" + EXIT_CODES
)
def compare(
    job_a: Annotated[
        str, typer.Argument(metavar="JOB_A|DIR", help="Id of the job that is taken for true, or its folder.")
    ],
    job_b: Annotated[str, typer.Argument(metavar="JOB_B|DIR", help="Id of a job over the same images, or its folder.")],
    labels: selecting.Labels = None,
    map_labels: selecting.MapLabels = None,
    min_score: selecting.MinScore = None,
    min_area: selecting.MinArea = None,
    things: selecting.Things = None,
    stuff: selecting.Stuff = None,
    worst: Worst = 10,
    out: Rows = None,
    report: Report = None,
    source: From = None,
    json: options.Json = False,
) -> None:
    """Say what changed from one job to another over the same images: another threshold, model or revision.

    Panoptic quality is that of B as if A were true: 1 for equal masks, whatever their order. Images are the same by
    their addresses; those in one job alone are counted and named. The jobs may have different outputs.
    """
    with failing_plainly(json):
        from maskmill.scoring.compare import CompareOptions
        from maskmill.scoring.compare import compare as compare_jobs
        from maskmill_producer.cli import score_display
        from maskmill_producer.cli.progress import counting_bar
        from maskmill_producer.local import score_pages
        from maskmill_producer.local.recorded import Recorded

        selection = selecting.selection(labels, map_labels, min_score, min_area, things, stuff)
        results = Recorded.named(job_b)
        if report:
            score_pages.check_report(report, job_b, results)
        asked = CompareOptions(selection=selection, worst=worst, rows=out)
        with counting_bar("comparing", quiet=json) as show:
            found = compare_jobs(_maker(job_a, source), _maker(job_b, source), asked, on_progress=show)
        if report:
            score_pages.add_comparison(report, found, results)
        display.print_json(found.model_dump(mode="json")) if json else score_display.print_comparison(found)
    if found.images.not_compared or found.images.ambiguous:
        raise typer.Exit(exit_codes.FAILURES)


def _maker(job: str, prefixes: list[str] | None) -> SourceMaker:
    """What opens the job or folder; a job is looked for below each of the prefixes that the broker has forgotten."""
    from maskmill.errors import BrokerUnavailable, JobNotFound
    from maskmill_producer.local.recorded import Recorded

    if folder := Recorded.named(job):
        return folder.maker()
    for prefix in (prefixes or [])[:-1]:
        try:
            return client().job(job, prefix).maker()
        except (JobNotFound, BrokerUnavailable):
            continue
    return client().job(job, prefixes[-1] if prefixes else None).maker()
