"""Command-line options that several commands share; names and meanings are those of the transformers pipeline."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any

import typer

from maskmill.choices import Dtype, Subtask
from maskmill.parameters import PipelineParameters
from maskmill.suggest import did_you_mean

PIPELINE = "What changes the masks"
EXECUTION = "What changes the speed"
TAKEN = "Which images"

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE…",
        help="File, folder, glob, .zip or .tar, http(s):// image, s3://bucket/prefix/, list (.txt .csv .tsv .jsonl "
        ".json .parquet, also .gz and at an address) or - for standard input. A line of a .txt list that starts with # "
        "is a comment: write ./#1.jpg for a file of that name.",
        show_default=False,
    ),
]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show whole addresses, with their passwords and signatures.")]
Column = Annotated[
    str | None,
    typer.Option(
        help="Column of tables and JSON lists that holds the references. Lines with # before a table's header are "
        "comments.",
        show_default="uri, url, image, path…",
        rich_help_panel=TAKEN,
    ),
]
Root = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Masks of local images mirror their paths below this folder: photos/a.jpg gets masks/photos/a.jpg.png.",
        show_default="the current directory",
        rich_help_panel=TAKEN,
    ),
]
AllFiles = Annotated[
    bool,
    typer.Option(
        "--all-files",
        help="Take hidden files, too, and those that are not images by their names.",
        show_default="they are left out and counted",
        rich_help_panel=TAKEN,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse the job if anything that was found is left out, duplicates included.",
        show_default="it is counted",
        rich_help_panel=TAKEN,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Take only the first N images.", show_default="all", rich_help_panel=TAKEN),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check, count, and say what would be done: starts nothing, changes nothing.",
        rich_help_panel=TAKEN,
    ),
]
Anonymous = Annotated[
    bool | None,
    typer.Option(
        "--anonymous",
        help="Read s3:// images without credentials, as of public buckets.",
        show_default="with those of the settings",
        rich_help_panel=TAKEN,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="Hub id, local folder, or 'demo', the small model that ships with Maskmill.",
        show_default="facebook/detr-resnet-50-panoptic",
        rich_help_panel=PIPELINE,
    ),
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.", rich_help_panel=PIPELINE)]
ImageProcessor = Annotated[
    str | None, typer.Option(help="Take the image processor from here instead.", rich_help_panel=PIPELINE)
]


def _one_of(kind: type[Subtask] | type[Dtype]) -> Callable[[str], StrEnum]:
    """Reads one of the values; typer's own way answers to any other in the words of a library."""

    def read(text: str) -> StrEnum:
        if text not in list(kind):
            raise typer.BadParameter(f"{text!r} is none of {', '.join(kind)}{did_you_mean(text, kind)}")
        return kind(text)

    return read


SubtaskOption = Annotated[
    Any,
    typer.Option(
        metavar="|".join(Subtask),
        parser=_one_of(Subtask),
        autocompletion=lambda: list(Subtask),
        help="Kind of segmentation.",
        show_default="the first that the model supports, in this order",
        rich_help_panel=PIPELINE,
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Probability below which segments are dropped.",
        show_default="0.9",
        rich_help_panel=PIPELINE,
    ),
]
MaskThreshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Probability above which a pixel is in a mask.",
        show_default="0.5",
        rich_help_panel=PIPELINE,
    ),
]
OverlapThreshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Share of a mask that must be left after overlaps.",
        show_default="0.5",
        rich_help_panel=PIPELINE,
    ),
]
DtypeOption = Annotated[
    Any,
    typer.Option(
        metavar="|".join(Dtype),
        parser=_one_of(Dtype),
        autocompletion=lambda: list(Dtype),
        help="Dtype of the model's weights.",
        show_default="auto: as they were saved",
        rich_help_panel=PIPELINE,
    ),
]
AllowMissingWeights = Annotated[
    bool | None,
    typer.Option(
        "--allow-missing-weights",
        help="Take a model whose files lack weights, with random ones instead.",
        rich_help_panel=PIPELINE,
        show_default=False,
    ),
]
ScaleOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|p2-p98|minmax|LOW:HIGH|none",
        help="Images of more than 8 bits: which values become black and white. auto: the whole range of unsigned 9 to "
        "16 bits, else percentiles 2 and 98 of the image.",
        show_default="auto",
        rich_help_panel=PIPELINE,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=EXECUTION)]
Devices = Annotated[
    str,
    typer.Option(
        help="Instead of --device: a worker for each of all, cpu, or cuda:0,cuda:1…", rich_help_panel=EXECUTION
    ),
]
WorkersPerDevice = Annotated[
    int | None, typer.Option(min=1, help="With --devices: so many workers on each.", rich_help_panel=EXECUTION)
]


def _batch_size(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter("a number from 1, or auto")
    return int(text)


BatchSize = Annotated[
    Any,
    typer.Option(
        metavar="N|auto",
        parser=_batch_size,
        help="Images of equal shape in a forward pass; auto finds what is fastest and fits.",
        show_default="the worker's, 4",
        rich_help_panel=EXECUTION,
    ),
]
NumWorkers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="DataLoader processes that fetch, decode and preprocess; for a job of others a worker starts 1 to 8 "
        "(MASKMILL_MAX_NUM_WORKERS), for run and bench as many as said: with 0 images are read in the model's process.",
        show_default="one less than the cores, 1 to 8",
        rich_help_panel=EXECUTION,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        help="Seconds for fetching one image.",
        show_default="the worker's, 30",
        rich_help_panel=EXECUTION,
    ),
]
Deterministic = Annotated[
    bool | None,
    typer.Option(
        "--deterministic",
        help="Run every image alone: masks bit-equal whatever else is in the job, more slowly.",
        show_default="equal up to float noise",
        rich_help_panel=EXECUTION,
    ),
]
Overwrite = Annotated[
    bool | None,
    typer.Option(
        "--overwrite",
        help="Make masks anew that are there already, of the same spec and image.",
        show_default="they are kept",
        rich_help_panel=EXECUTION,
    ),
]
Priority = Annotated[
    int | None,
    typer.Option(
        min=-100,
        max=100,
        help="Jobs with a higher one get the workers first; equal ones share them.",
        show_default="0",
        rich_help_panel=EXECUTION,
    ),
]
MaxFailures = Annotated[
    str | None,
    typer.Option(
        metavar="N|P%",
        help="Stop the job when more images than this, or than this share of all, have failed.",
        show_default="never",
        rich_help_panel=EXECUTION,
    ),
]
PARAMETERS: dict[str, Any] = {
    "model": Model,
    "revision": Revision,
    "image_processor": ImageProcessor,
    "subtask": SubtaskOption,
    "threshold": Threshold,
    "mask_threshold": MaskThreshold,
    "overlap_mask_area_threshold": OverlapThreshold,
    "dtype": DtypeOption,
    "scale": ScaleOption,
    "allow_missing_weights": AllowMissingWeights,
    "batch_size": BatchSize,
    "num_workers": NumWorkers,
    "timeout": Timeout,
    "deterministic": Deterministic,
    "overwrite": Overwrite,
    "anonymous": Anonymous,
    "priority": Priority,
    "max_failures": MaxFailures,
}
"""The options of a job, in the order of `--help`; their names are those of `PipelineParameters`."""


def takes_parameters(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each of `PARAMETERS`; it gets those that were given as `parameters`.

    `@takes_parameters("priority") def submit(sources, parameters)` is for typer
    `def submit(sources, model=None, revision=None, …)`, and `--threshold 0.5` comes as `{"threshold": 0.5}`.
    """
    options = {name: option for name, option in PARAMETERS.items() if name not in left_out}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def wrapper(**given: Any) -> None:
            values = {name: given.pop(name) for name in options}
            parameters = {name: value for name, value in values.items() if value is not None}
            command(**given, parameters=PipelineParameters(**parameters))  # type: ignore[typeddict-item]  # the names of PARAMETERS are its own

        signature = inspect.signature(command, eval_str=True)
        taken = _with_options(signature.parameters.values(), options)
        wrapper.__signature__ = signature.replace(parameters=taken)  # type: ignore[attr-defined]  # no function has it by itself
        wrapper.__annotations__ = {each.name: each.annotation for each in taken}
        return wrapper

    return decorate


def _with_options(parameters: Iterable[inspect.Parameter], options: Mapping[str, Any]) -> list[inspect.Parameter]:
    """The command's own parameters, with the options in the place of `parameters`."""
    taken = list[inspect.Parameter]()
    for each in parameters:
        if each.name == "parameters":
            taken += [each.replace(name=name, annotation=kind, default=None) for name, kind in options.items()]
        else:
            taken.append(each)
    return [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in taken]


MaxImagePixels = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Images with more pixels fail as decompression_bomb.",
        show_default="settings, 178,956,970",
        rich_help_panel=EXECUTION,
    ),
]
Codes = Annotated[
    list[str] | None,
    typer.Option("--code", help="Only failures of this code; may be given several times.", show_default="all"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text for people.")]
Overlays = Annotated[
    bool,
    typer.Option(
        "--overlays",
        help="Draw each image with its segments into overlays/: outlines, thin fills, labels. Images are read again.",
    ),
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="s3://…", help="The job's output prefix, if the broker forgot it or is away."),
]
Out = Annotated[
    str | None,
    typer.Option(metavar="s3://BUCKET/PREFIX", help="Output prefix.", show_default="from the settings"),
]
JobOrFolder = Annotated[
    str, typer.Argument(metavar="JOB|DIR", help="Job id, or a folder of results, which needs no server.")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Job id, as `maskmill submit` printed it.")]
