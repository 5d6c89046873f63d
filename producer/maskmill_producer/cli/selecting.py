"""Options that say which segments of a job count, for exports and scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from maskmill.dataset.selection import Selection

SELECT = "Which segments"

Labels = Annotated[
    str | None, typer.Option(metavar="A,B", help="Segments of these labels alone.", rich_help_panel=SELECT)
]
MapLabels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help='Rename, merge or drop labels: JSON `{"car": "vehicle", "N/A": null}`, or CSV with label,name,thing.',
        rich_help_panel=SELECT,
    ),
]
MinScore = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Segments of at least this score.", rich_help_panel=SELECT)
]
MinArea = Annotated[
    int | None,
    typer.Option(min=1, metavar="PIXELS", help="Segments of at least so many pixels.", rich_help_panel=SELECT),
]
Things = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Labels whose segments are counted one by one.", rich_help_panel=SELECT),
]
Stuff = Annotated[
    str | None,
    typer.Option(metavar="A,B", help="Labels whose segments are one a picture, such as sky.", rich_help_panel=SELECT),
]


def selection(
    labels: str | None,
    map_labels: Path | None,
    min_score: float | None,
    min_area: int | None,
    things: str | None = None,
    stuff: str | None = None,
    category_ids: str = "contiguous",
) -> Selection:
    """What was chosen; raises `UsageError` for a file that is no map of labels."""
    from maskmill.dataset.selection import of_options

    return of_options(
        labels=_split(labels),
        map_labels=map_labels,
        min_score=min_score,
        min_area=min_area,
        things=_split(things),
        stuff=_split(stuff),
        category_ids=category_ids,
    )


def _split(text: str | None) -> tuple[str, ...]:
    """The names in `A,B`."""
    return tuple(filter(None, (each.strip() for each in (text or "").split(","))))
