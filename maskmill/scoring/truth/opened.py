"""Which kind of truth a path is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from maskmill.errors import TruthUnusable
from maskmill.scoring.scratch import Scratch
from maskmill.scoring.truth.class_ids import CLASSES, open_class_ids
from maskmill.scoring.truth.coco import items
from maskmill.scoring.truth.instances import open_instances
from maskmill.scoring.truth.panoptic import open_panoptic
from maskmill.scoring.truth.truth import Truth

ADDRESS = re.compile("[a-z0-9]{2,}:/", re.IGNORECASE)
"""What a path begins with that was an address, such as `s3://bucket/truth.json`."""


def open_truth(path: Path, scratch: Scratch, classes_file: Path | None = None) -> Truth:
    """The truth at a path, with its images listed in the scratch file; raises `TruthUnusable` for what is none."""
    if ADDRESS.match(str(path)) and not path.exists():
        raise TruthUnusable(f"a truth is read from this machine's disk: fetch {path.name} first, and name its path")
    if path.is_dir():
        _check_folder(path, classes_file)
        return open_class_ids(path, classes_file, scratch)
    if classes_file:
        raise TruthUnusable(f"--truth-classes names the classes of a folder of PNGs; {path} is none")
    annotation = next(items(path, "annotations"), None)
    if annotation is None:
        _check_dataset(path)
        return open_instances(path, scratch)
    if isinstance(annotation, Mapping) and "segments_info" in annotation:
        return open_panoptic(path, scratch)
    if isinstance(annotation, Mapping) and "segmentation" in annotation:
        return open_instances(path, scratch)
    raise TruthUnusable(f"{path}: its annotations have neither segments_info (panoptic) nor segmentation (instances)")


def _check_folder(folder: Path, classes_file: Path | None) -> None:
    """A folder is one of class-id PNGs if their classes are named; else somebody meant a file in it, perhaps."""
    if classes_file or (folder / CLASSES).exists():
        return
    files = sorted(folder.glob("*.json")) or sorted(folder.glob("annotations/*.json"))
    hint = f"; or did you mean {files[0]}?" if files else ""
    raise TruthUnusable(
        f"{folder} has no {CLASSES}: name the classes of its PNGs with --truth-classes FILE, such as "
        f'{{"0": "road", "1": "sky"}}{hint}'
    )


def _check_dataset(path: Path) -> None:
    """A dataset without any annotation is one whose images have nothing; a list is of results, perhaps."""
    if not next(items(path, "categories"), None):
        raise TruthUnusable(f"{path} is JSON, but no dataset of COCO: that has images, annotations and categories")
