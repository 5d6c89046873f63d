"""A peer in a process of its own: Ray Data, `map_batches` over image paths with the pipeline and the uploads in it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext

from benchmarks.child import ROOT, serve
from benchmarks.peer_masks import Masks

OBJECT_STORE_BYTES = 512 * 2**20
ACTOR_SECONDS = 120
"""Ray Data begins once all actors are up; it waits so long for them."""


class Segment:
    """The actor: model loaded and warm when it is made; a batch of paths in, a row an image out."""

    def __init__(self, model: str, warm_up: str, settings: dict[str, Any]) -> None:
        import torch

        from benchmarks.peer_masks import Uploads
        from benchmarks.stock import Stock

        torch.set_num_threads(settings["torch_threads"])
        self.stock = Stock()
        self.stock.load(model, warm_up)
        self.uploads = Uploads(settings["prefix"], settings["masks"], settings["threads"])
        self.model_batch_size = settings["model_batch_size"]
        self.ready = time.time()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Segment and store one batch of images; returns when all its masks are stored."""
        paths = [str(path) for path in batch["item"]]
        before = self.uploads.objects
        for path, output in self.stock.run(paths, self.model_batch_size, num_workers=0):
            self.uploads.add(path, output)
        objects = np.zeros(len(paths), np.int64)
        objects[0] = self.uploads.flush() - before
        return {"objects": objects, "ready": np.full(len(paths), self.ready)}


def start(cpus: int, folder: str) -> dict[str, str]:
    """Ray on this machine alone: `cpus` slots, a small object store, no dashboard, its files in `folder`."""
    ray.init(
        _temp_dir=folder,
        logging_level=logging.ERROR,
        num_cpus=cpus,
        object_store_memory=OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}},
    )
    context = DataContext.get_current()
    context.wait_for_min_actors_s = ACTOR_SECONDS
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return {"ray": ray.__version__}


def store(
    paths: Sequence[str], model: str, prefix: str, masks: Masks, actors: int, batch_size: int, **settings: Any
) -> dict[str, float]:
    """Image files to stored masks; the clock starts when the last actor has its model loaded and warm."""
    options = {"model": model, "warm_up": paths[0], "settings": {"prefix": prefix, "masks": masks, **settings}}
    rows = (
        ray.data.from_items(list(paths), override_num_blocks=max(1, len(paths) // batch_size))
        .map_batches(
            Segment,
            fn_constructor_kwargs=options,
            compute=ActorPoolStrategy(size=actors),
            batch_size=batch_size,
            num_cpus=1,
        )
        .take_all()
    )
    ended = time.time()
    if len(rows) != len(paths):
        raise RuntimeError(f"Ray gave {len(rows)} rows for {len(paths)} images")
    return {"seconds": ended - max(row["ready"] for row in rows), "objects": int(sum(row["objects"] for row in rows))}


def stop() -> None:
    """End Ray's processes."""
    ray.shutdown()


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_AUTH_MODE"] = "disabled"  # else it writes a token into the home folder; it listens here alone
    serve({"start": start, "store": store, "stop": stop})
