"""The sides of benchmark L, each in a process of its own: exports and a loop, downloads and bare requests."""

from __future__ import annotations

import io
import json
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from benchmarks.child import serve
from maskmill import Client, Settings
from maskmill.cores import usable_cores
from maskmill.dataset.in_processes import Pool
from maskmill.storage.ahead import map_ahead
from maskmill.storage.store import Store
from maskmill_producer.local.copier import THREADS
from maskmill_producer.local.mirror import BLOCK_IMAGES, mirror


def export(out: str, job: str, target: str) -> dict[str, Any]:
    """The whole job, as the command does it."""
    started = time.perf_counter()
    account = Client().job(job, out).export("coco-instances", target)
    return {"images": account.images, "seconds": time.perf_counter() - started}


def loop(out: str, job: str, target: str, images: int) -> dict[str, Any]:
    """One mask after the other: fetched, decoded, and each segment encoded."""
    keys = [result.mask_key for result in islice(Client().job(job, out).results(), images)]
    bucket, _, prefix = out.removeprefix("s3://").partition("/")
    s3 = Settings().s3
    client: Any = boto3.client(
        "s3",
        endpoint_url=s3.endpoint_url,
        region_name=s3.region,
        aws_access_key_id=s3.access_key_id,
        aws_secret_access_key=s3.secret_access_key.get_secret_value() if s3.secret_access_key else None,
    )
    started = time.perf_counter()
    rows: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, key in enumerate(keys, 1):
        body = client.get_object(Bucket=bucket, Key=f"{prefix}/{key}".lstrip("/"))["Body"].read()
        with Image.open(io.BytesIO(body)) as image:
            ids = np.asarray(image)
            segments = json.loads(image.text["maskmill"])["segments"]  # type: ignore[attr-defined]  # of PNGs alone
        rows.append({"id": image_id, "file_name": key, "width": ids.shape[1], "height": ids.shape[0]})
        for segment in segments:
            runs = coco_mask.encode(np.asfortranarray((ids == segment["id"]).astype(np.uint8)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": segment["label_id"] + 1,
                    "segmentation": {"size": runs["size"], "counts": runs["counts"].decode()},
                    "area": segment["area"],
                    "bbox": segment["box"],
                    "iscrowd": 0,
                    "score": segment["score"],
                }
            )
    Path(target).write_text(json.dumps({"images": rows, "annotations": annotations, "categories": []}))
    return {"images": len(keys), "seconds": time.perf_counter() - started}


def download(out: str, job: str, target: str) -> dict[str, Any]:
    """The whole job, as the command does it."""
    started = time.perf_counter()
    mirrored = mirror(Client().job(job, out), Path(target))
    return {"images": mirrored.masks, "seconds": time.perf_counter() - started}


def requests(out: str, job: str, target: str) -> dict[str, Any]:
    """The masks' bytes, in as many processes and threads; nothing goes to the target."""
    del target
    keys = [result.mask_key for result in Client().job(job, out).results()]
    blocks = [keys[first : first + BLOCK_IMAGES] for first in range(0, len(keys), BLOCK_IMAGES)]
    started = time.perf_counter()
    with Pool(partial(Store, out, Settings().s3, THREADS), usable_cores()) as pool:
        images = sum(pool.map(_fetched, blocks))
    return {"images": images, "seconds": time.perf_counter() - started}


def _fetched(store: Store, keys: list[str]) -> int:
    return sum(len(body) > 0 for body in map_ahead(store.get, keys, THREADS))


if __name__ == "__main__":
    serve({"export": export, "loop": loop, "download": download, "requests": requests})
