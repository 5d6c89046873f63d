"""Options that say which segments of a job count, for exports and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


def split(text: str | None) -> tuple[str, ...]:
    """The names in `A,B`."""
    return tuple(filter(None, (each.strip() for each in (text or "").split(","))))
