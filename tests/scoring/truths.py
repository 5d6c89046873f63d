"""Truth for made jobs, in the forms that datasets have: what the scenes say, or something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from tests.exports.scenes import LABELS, THINGS, Scene

CATEGORIES = {label_id: number for number, label_id in enumerate(LABELS, 1)}
"""The truth's ids of the model's labels: others than the model's."""


def categories() -> list[dict[str, Any]]:
    return [
        {"id": CATEGORIES[label_id], "name": name.upper(), "isthing": int(name in THINGS), "supercategory": ""}
        for label_id, name in LABELS.items()
    ]


def panoptic(folder: Path, scenes: Mapping[str, Scene], *, fuse: bool = True) -> Path:
    """A COCO panoptic file with a folder of PNGs; stuff of one class is one segment, as the format has it."""
    images, annotations = _images(scenes), []
    for image, scene in zip(images, scenes.values(), strict=True):
        ids, of = _fused(scene) if fuse else (scene.ids, {each: of[0] for each, of in scene.of.items()})
        coloured = np.where(ids > 0, ids.astype(np.uint32) * 70_001 % 0xFFFFFF, 0)  # ids of three bytes
        name = image["file_name"].replace("/", "_") + ".png"
        rgb = np.stack([coloured & 255, coloured >> 8 & 255, coloured >> 16], -1).astype(np.uint8)
        path = folder / "panoptic" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgb).save(path)
        infos = [
            {"id": each * 70_001 % 0xFFFFFF, "category_id": CATEGORIES[label_id], "iscrowd": 0,
             "area": int((ids == each).sum()), "bbox": [0, 0, 1, 1]}
            for each, label_id in of.items()
        ]  # fmt: skip
        annotations.append({"image_id": image["id"], "file_name": name, "segments_info": infos})
    return _write(folder / "panoptic.json", images, annotations, categories())


def _fused(scene: Scene) -> tuple[Any, dict[int, int]]:
    ids, of, first = scene.ids.copy(), dict[int, int](), dict[int, int]()
    for each, (label_id, _) in scene.of.items():
        target = each if LABELS[label_id] in THINGS else first.setdefault(label_id, each)
        ids[scene.ids == each] = target
        of[target] = label_id
    return ids, of


def instances(folder: Path, scenes: Mapping[str, Scene]) -> Path:
    """A COCO file of the things, as run lengths: a text, and every second one numbers."""
    images, annotations = _images(scenes), []
    for image, scene in zip(images, scenes.values(), strict=True):
        for each, (label_id, _) in scene.of.items():
            if LABELS[label_id] in THINGS:
                mask = scene.ids == each
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image["id"], "category_id": CATEGORIES[label_id],
                     "iscrowd": 0, "area": int(mask.sum()), "segmentation": rle(mask, as_text=bool(each % 2))}
                )  # fmt: skip
    kept = [each for each in categories() if each.pop("isthing")]
    return _write(folder / "instances.json", images, annotations, kept)


def rle(mask: Any, *, as_text: bool) -> dict[str, Any]:
    if as_text:
        found = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": found["size"], "counts": found["counts"].decode()}
    flat = mask.T.reshape(-1)
    cuts = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    lengths = np.diff([0, *cuts.tolist(), flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[0] else lengths}


def class_ids(folder: Path, scenes: Mapping[str, Scene], *, clash: bool = False) -> Path:
    """Class-id PNGs, 255 for nothing, and `classes.json`; with their stems alone, if these are different."""
    stems = [name.rpartition(".")[0] for name in scenes]
    for name, scene in scenes.items():
        table = np.full(int(scene.ids.max(initial=0)) + 1, 255, np.uint8)
        for each, (label_id, _) in scene.of.items():
            table[each] = label_id
        stem = name.rpartition(".")[0]
        path = folder / f"{stem if stems.count(stem) == 1 or clash else name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(table[scene.ids]).save(path)
    (folder / "classes.json").write_text(json.dumps({"id2label": LABELS}))
    return folder


def _images(scenes: Mapping[str, Scene]) -> list[dict[str, Any]]:
    return [
        {"id": number, "file_name": name, "height": scene.ids.shape[0], "width": scene.ids.shape[1]}
        for number, (name, scene) in enumerate(scenes.items(), 1)
    ]


def _write(path: Path, images: Any, annotations: Any, categories: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path
