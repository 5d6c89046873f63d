"""Train the demo's model from nothing on synthetic scenes, on the cores of one machine.

python -m demo.train --out worker/maskmill_worker/demo_model

Each process takes its share of every batch on one thread, and the processes average their gradients: on a busy
machine that wastes less than the threads of one process waiting for each other. A run that was stopped goes on
where it last kept its state when it is started again with the same --state folder.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import spawn

from demo.data import Batch, Example, collate, draw_examples, store_examples, stored_examples
from demo.evaluate import evaluate, mean
from demo.losses import DenseHead, total_loss
from demo.model import build_model, norms_of, save_folder
from demo.scenes import TRAINING_SEEDS, VALIDATION_SEEDS, Scene, generate_scene

CLIP_NORM = 1.0
WARM_UP_STEPS = 200
FROZEN_FROM = 0.75
"""From this share of the steps on, the norms keep the statistics they have, as the saved model does."""
LOG_STEPS = 50


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("worker/maskmill_worker/demo_model"), help="folder of the model"
    )
    state = Path(tempfile.gettempdir()) / "maskmill-demo-train"
    parser.add_argument("--state", type=Path, default=state, help="folder for drawn scenes and the run's state")
    parser.add_argument("--steps", type=int, default=3400)
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop then, to go on in another run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=10_000, help="how many scenes to draw")
    parser.add_argument("--side", type=int, default=128, help="side of the model's input in pixels")
    parser.add_argument("--batch", type=int, default=16, help="scenes a step, over all processes")
    parser.add_argument("--rate", type=float, default=5e-4, help="highest learning rate")
    parser.add_argument("--check-steps", type=int, default=250, help="steps between checks on validation scenes")
    parser.add_argument("--check-scenes", type=int, default=40, help="how many scenes a check takes")
    parser.add_argument("--processes", type=int, default=2)
    return parser.parse_args()


def learning_rate(highest: float, step: int, share: float) -> float:
    """A short rise, then half a cosine down to a hundredth."""
    fall = 0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2
    return highest * fall * min(1.0, (step + 1) / WARM_UP_STEPS)


def anchor_weight(share: float) -> float:
    """Strong at first, then weak: see `losses.match`."""
    return max(0.5, 4.0 * (1 - 2 * share))


class Run:
    """One process's part of a training run: the model, its optimizer, and the step it has reached."""

    def __init__(self, rank: int, arguments: argparse.Namespace, examples: list[Example]) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(arguments.seed)
        self.rank, self.arguments, self.examples = rank, arguments, examples
        self.model: Any = build_model(arguments.side).to(memory_format=torch.channels_last).train()
        self.dense = DenseHead(self.model.config.d_model)
        self.weights = [*self.model.parameters(), *self.dense.parameters()]
        self.optimizer = _optimizer_of(self.weights)
        self.step = 0
        self._load_state()
        self.scenes: list[Scene] = []
        if rank == 0:
            self.scenes = [generate_scene(seed) for seed in VALIDATION_SEEDS[: arguments.check_scenes]]

    @property
    def share(self) -> float:
        """How much of the run is done, 0..1."""
        return self.step / int(self.arguments.steps)

    def go(self) -> None:
        """Steps to the end, or until the minutes are up."""
        until = time.monotonic() + 60 * self.arguments.minutes
        sums: dict[str, float] = {}
        for batch in self._batches():
            parts = self._take_step(batch)
            sums = {name: sums.get(name, 0.0) + value / LOG_STEPS for name, value in parts.items()}
            if self.step % LOG_STEPS == 0:
                self._say(f"step {self.step} " + " ".join(f"{name} {value:.3f}" for name, value in sums.items()))
                sums = {}
            over = self._agree(time.monotonic() >= until or self.step >= self.arguments.steps)
            if over or self.step % self.arguments.check_steps == 0:
                self._check()
            if over:
                return

    def _batches(self) -> Iterator[Batch]:
        """This process's part of each batch, half of it mirrored; every process draws the same order."""
        while True:
            rng = np.random.default_rng((self.arguments.seed, self.step))
            chosen = rng.choice(len(self.examples), self.arguments.batch, replace=False)
            flips = rng.random(self.arguments.batch) < 0.5
            mine = slice(self.rank, None, self.arguments.processes)
            yield collate([self.examples[place] for place in chosen[mine]], flips[mine])

    def _take_step(self, batch: Batch) -> dict[str, float]:
        """One update of the weights; gives the parts of this process's loss."""
        if self.share >= FROZEN_FROM:
            self._freeze_statistics()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.arguments.rate, self.step, self.share)
        rng = np.random.default_rng((self.arguments.seed, self.step, self.rank))
        loss, parts = total_loss(self.model, self.dense, batch, anchor_weight(self.share), rng)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own is untyped
        self._average([weight.grad for weight in self.weights if weight.grad is not None])
        nn.utils.clip_grad_norm_(self.weights, CLIP_NORM)
        self.optimizer.step()
        self.step += 1
        return parts

    def _freeze_statistics(self) -> None:
        """Once: every process takes the mean of all processes' statistics, and keeps it."""
        norms = norms_of(self.model)
        if norms[0].training:
            self._average([norm.get_buffer(name) for norm in norms for name in ("running_mean", "running_var")])
            for norm in norms:
                norm.eval()

    def _average(self, tensors: list[torch.Tensor]) -> None:
        """Replace each tensor by its mean over the processes, all in one exchange."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.arguments.processes
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def _agree(self, over: bool) -> bool:
        """Whether any process is over."""
        flag = torch.tensor(float(over))
        distributed.all_reduce(flag)
        return bool(flag > 0)

    def _check(self) -> None:
        """The first process keeps the model and the state, and measures the model; the others go on to wait."""
        if self.rank != 0:
            return
        save_folder(self.model, self.arguments.side, self.arguments.out)
        self._keep_state()
        qualities = evaluate(self.arguments.out, self.scenes)
        each = " ".join(f"{label} {quality:.2f}" for label, quality in qualities.items())
        self._say(f"check {self.step} PQ {mean(qualities):.4f} {each}")

    def _say(self, text: str) -> None:
        if self.rank == 0:
            print(time.strftime("%H:%M:%S"), text, flush=True)

    @property
    def _state_path(self) -> Path:
        path: Path = self.arguments.state / "state.pt"
        return path

    def _keep_state(self) -> None:
        fresh = self._state_path.with_suffix(".new")
        parts = (self.model, self.dense, self.optimizer)
        torch.save((self.step, *(part.state_dict() for part in parts)), fresh)
        fresh.replace(self._state_path)

    def _load_state(self) -> None:
        if self._state_path.exists():
            self.step, *states = torch.load(self._state_path)
            for part, state in zip((self.model, self.dense, self.optimizer), states, strict=True):
                part.load_state_dict(state)


def _optimizer_of(weights: list[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW; norms and biases do not decay."""
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": 1e-4},
        {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0)


def _work(rank: int, arguments: argparse.Namespace) -> None:
    """What each process does."""
    store = f"file://{(arguments.state / 'meeting').resolve()}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=arguments.processes)
    Run(rank, arguments, stored_examples(arguments.state / "examples.npz")).go()
    distributed.destroy_process_group()


def main() -> None:
    """Draw the scenes unless a stopped run has, and train."""
    arguments = parse()
    for folder in (arguments.out, arguments.state):
        folder.mkdir(parents=True, exist_ok=True)
    (arguments.state / "meeting").unlink(missing_ok=True)
    os.environ["OMP_NUM_THREADS"] = "1"
    path = arguments.state / "examples.npz"
    if not path.exists():
        seeds = TRAINING_SEEDS[: arguments.scenes]
        store_examples(draw_examples(seeds, arguments.side, arguments.processes), path)
    spawn(_work, (arguments,), nprocs=arguments.processes)  # type: ignore[no-untyped-call]  # torch's own is untyped


if __name__ == "__main__":
    main()
