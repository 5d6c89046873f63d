"""A peer in a process of its own: transformers' `pipeline("image-segmentation")`, as its documentation uses it.

Its model is run by torch, or by another runtime (`benchmarks.runtimes`).
"""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import ImageSegmentationPipeline, pipeline

from benchmarks.child import serve
from benchmarks.peer_masks import Masks, Output, Uploads, segment_map
from benchmarks.runtimes import onnx_file, run_by

THRESHOLD = 0.9


class Paths(Dataset[str]):
    """Image files for the pipeline's own DataLoader."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> str:
        return self.paths[index]


class Stock:
    """The loaded pipeline, and how many queries of each image it kept (of models of DETR's kind)."""

    def __init__(self) -> None:
        self.pipe: ImageSegmentationPipeline | None = None
        self.kept: list[int] = []

    def load(
        self,
        model: str,
        warm_up: str | None,
        device: str = "cpu",
        max_bytes: int | None = None,
        runtime: str | None = None,
    ) -> None:
        """Load the model, and run it once on an image; allocations beyond `max_bytes` in all fail."""
        if max_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (max_bytes, max_bytes))
        self.pipe = pipeline("image-segmentation", model=model, device=device)
        if runtime:
            run_by(runtime, self.pipe, onnx_file(Path(model)), torch.get_num_threads())
        if warm_up:
            self.pipe(warm_up)
        if detr := getattr(self.pipe.model, "detr", None):
            detr.class_labels_classifier.register_forward_hook(self._count_kept)

    def segment(self, paths: Sequence[str], batch_size: int, folder: str) -> dict[str, Any]:
        """Image files to lists of masks, in batches of equal image size; the maps are saved off the clock.

        Answers with `failed` where memory does not suffice.
        """
        self.kept.clear()
        started = time.perf_counter()
        try:
            outputs = {path: out for batch in _of_equal_size(paths) for path, out in self.run(batch, batch_size, 0)}
        except (RuntimeError, MemoryError) as error:  # torch's CPU allocator raises a plain RuntimeError
            return {"failed": str(error).splitlines()[0]}
        seconds = time.perf_counter() - started
        for path, output in outputs.items():
            with Image.open(path) as image:
                np.save(Path(folder) / f"{Path(path).name}.npy", segment_map(output, image.size))
        return {"seconds": seconds, "kept": self.kept, "segments": [len(outputs[path]) for path in paths]}

    def store(
        self, paths: Sequence[str], prefix: str, masks: Masks, batch_size: int, num_workers: int, threads: int
    ) -> dict[str, Any]:
        """Image files to stored masks. A batch that does not fit into the device's memory takes for ever."""
        uploads = Uploads(prefix, masks, threads)
        started = time.perf_counter()
        try:
            for path, output in self.run(paths, batch_size, num_workers):
                uploads.add(path, output)
        except torch.OutOfMemoryError:
            return {"seconds": math.inf, "objects": uploads.flush()}
        objects = uploads.flush()
        return {"seconds": time.perf_counter() - started, "objects": objects}

    def run(self, paths: Sequence[str], batch_size: int, num_workers: int) -> Iterator[tuple[str, Output]]:
        """A plain loop for batch size 1 without DataLoader processes, else the pipeline over a data set."""
        assert self.pipe  # noqa: S101 - loaded first
        outputs: Iterable[Output]
        if batch_size == 1 and num_workers == 0:
            outputs = map(self.pipe, paths)
        else:
            outputs = self.pipe(Paths(paths), batch_size=batch_size, num_workers=num_workers)
        yield from zip(paths, outputs, strict=True)

    def forward(self, paths: Sequence[str], repeats: int) -> dict[str, Any]:
        """The model alone over tensors that are ready in memory, one image after the other, each size warm."""
        assert self.pipe  # noqa: S101 - loaded first
        inputs = [dict(self.pipe.preprocess(path)) for path in paths]
        for one in inputs:
            self.pipe.forward(dict(one))
        started = time.perf_counter()
        for one in inputs * repeats:
            self.pipe.forward(dict(one))
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "images": repeats * len(paths)}

    def _count_kept(self, _module: object, _inputs: object, logits: torch.Tensor) -> None:
        scores, labels = logits.softmax(-1).max(-1)
        kept = (scores > THRESHOLD) & (labels != logits.shape[-1] - 1)
        self.kept.extend(kept.sum(dim=-1).tolist())


def _of_equal_size(paths: Sequence[str]) -> list[list[str]]:
    """Stock batches of two sizes fail, so images are grouped by size first."""
    groups: dict[tuple[int, int], list[str]] = {}
    for path in paths:
        with Image.open(path) as image:
            groups.setdefault(image.size, []).append(path)
    return list(groups.values())


if __name__ == "__main__":
    stock = Stock()
    serve(
        {
            "export": lambda model: str(onnx_file(Path(model))),
            "load": stock.load,
            "segment": stock.segment,
            "forward": stock.forward,
            "store": stock.store,
        }
    )
