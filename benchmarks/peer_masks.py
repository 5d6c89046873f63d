"""What the stock pipeline's users do with its result: a PNG a segment, or one map an image, put with boto3."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import boto3
import numpy as np
from botocore.config import Config
from numpy.typing import NDArray
from PIL import Image

Masks = Literal["segments", "map"]
"""`segments`: one PNG a segment, as the pipeline returns them. `map`: one PNG an image, pixel = segment."""

Output = Sequence[dict[str, Any]]
"""The pipeline's result for one image: `score`, `label` and `mask` of each segment."""

PENDING_PER_THREAD = 8


def segment_map(output: Output, size: tuple[int, int]) -> NDArray[np.uint8]:
    """H × W, pixel = place of its segment from 1, 0 = none; `size` is (width, height), as Pillow has it."""
    ids = np.zeros(size[::-1], np.uint8)
    for place, segment in enumerate(output, 1):
        ids[np.asarray(segment["mask"]) > 0] = place
    return ids


class Uploads:
    """Encodes and puts masks below `prefix`, at once or in threads; boto3's settings are its defaults."""

    def __init__(self, prefix: str, masks: Masks, threads: int) -> None:
        self.prefix, self.masks = prefix, masks
        self.objects = 0
        self._bucket = os.environ["MASKMILL_BUCKET"]
        config = Config(max_pool_connections=max(10, threads))
        self._client = boto3.client("s3", region_name=os.environ["AWS_REGION"], config=config)
        self._pool = ThreadPoolExecutor(threads) if threads else None
        self._pending: deque[Future[int]] = deque()
        self._limit = threads * PENDING_PER_THREAD

    def add(self, path: str, output: Output) -> None:
        """Store one image's masks; waits while too many are pending."""
        if self._pool is None:
            self.objects += self._store(path, output)
            return
        if len(self._pending) >= self._limit:
            self.objects += self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._store, path, output))

    def flush(self) -> int:
        """Wait for what is pending; the number of objects put so far."""
        while self._pending:
            self.objects += self._pending.popleft().result()
        return self.objects

    def _store(self, path: str, output: Output) -> int:
        name = f"{self.prefix}/{Path(path).stem}"
        if self.masks == "map":
            self._put(f"{name}.png", Image.fromarray(segment_map(output, _size(path, output))))
            return 1
        for place, segment in enumerate(output):
            self._put(f"{name}/{place:03}.png", segment["mask"])
        return len(output)

    def _put(self, key: str, image: Image.Image) -> None:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        self._client.put_object(Bucket=self._bucket, Key=key, Body=buffer.getvalue(), ContentType="image/png")


def _size(path: str, output: Output) -> tuple[int, int]:
    if output:
        size: tuple[int, int] = output[0]["mask"].size
        return size
    with Image.open(path) as image:
        return image.size
