"""Train the demo's model from nothing on synthetic scenes, on a CPU.

    python -m demo.train --minutes 50 --out worker/demo_model

The learning rate follows the time left, so a slower machine takes fewer steps in the same time.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from demo.data import Batch, Example, collate, draw_examples
from demo.evaluate import evaluate, mean
from demo.losses import DenseHead, total_loss
from demo.model import build_model, freeze_statistics, load_weights, save_folder
from demo.scenes import TRAINING_SEEDS, VALIDATION_SEEDS, generate_scene

BATCH_SIZE = 16
CLIP_NORM = 1.0
WARM_UP_STEPS = 200
FROZEN_FROM = 0.75
"""From this share of the time on, the norms keep the statistics they have."""


@dataclass
class Clock:
    """How much of the time for training has gone; checking a model does not count."""

    minutes: float
    started: float = 0.0
    paused: float = 0.0

    def share(self) -> float:
        """0 at the start, 1 when time is up."""
        return (time.monotonic() - self.started - self.paused) / (60 * self.minutes)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=50, help="time to train, without drawing scenes")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model, replaced file by file")
    parser.add_argument("--start", type=Path, help="go on from the model in this folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=10_000, help="how many scenes to draw")
    parser.add_argument("--side", type=int, default=128, help="side of the model's input in pixels")
    parser.add_argument("--rate", type=float, default=5e-4, help="highest learning rate")
    parser.add_argument("--check-minutes", type=float, default=3, help="time between checks on validation scenes")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def batches(examples: list[Example], rng: np.random.Generator) -> Iterator[Batch]:
    """Batches without end, each example once a round, half of them mirrored."""
    while True:
        order = rng.permutation(len(examples))
        for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
            chosen = [examples[place] for place in order[start : start + BATCH_SIZE]]
            yield collate(chosen, rng.random(BATCH_SIZE) < 0.5)


def learning_rate(highest: float, step: int, share: float) -> float:
    """A short rise, then half a cosine down to a hundredth."""
    fall = 0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, share))) / 2
    return highest * fall * min(1.0, (step + 1) / WARM_UP_STEPS)


def anchor_weight(share: float) -> float:
    """Strong at first, then weak: see `losses.match`."""
    return max(0.5, 4.0 * (1 - 2 * share))


def optimizer_of(model: nn.Module, dense: nn.Module) -> torch.optim.AdamW:
    """AdamW; norms, biases and queries do not decay."""
    weights = [*model.parameters(), *dense.parameters()]
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": 1e-4},
        {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0)


def train(arguments: argparse.Namespace, examples: list[Example]) -> None:
    """Steps until time is up, a check and a saved model every few minutes and at the end."""
    rng = np.random.default_rng(arguments.seed)
    model: Any = build_model(arguments.side).to(memory_format=torch.channels_last)
    if arguments.start:
        load_weights(model, arguments.start)
    dense = DenseHead(model.config.d_model)
    optimizer = optimizer_of(model, dense)
    clock = Clock(arguments.minutes, time.monotonic())
    scenes = [generate_scene(seed) for seed in VALIDATION_SEEDS]
    model.train()
    next_check, sums, count = 0.5, {}, 0
    for step, batch in enumerate(batches(examples, rng)):
        share = clock.share()
        if share >= FROZEN_FROM:
            freeze_statistics(model)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(arguments.rate, step, share)
        loss, parts = total_loss(model, dense, batch, anchor_weight(share), rng)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*model.parameters(), *dense.parameters()], CLIP_NORM)
        optimizer.step()
        sums = {name: sums.get(name, 0.0) + value for name, value in parts.items()}
        count += 1
        if count == 50:
            text = " ".join(f"{name} {value / count:.3f}" for name, value in sums.items())
            print(f"step {step + 1} {share:.3f} {text}", flush=True)
            sums, count = {}, 0
        if share * clock.minutes >= next_check or share >= 1:
            began = time.monotonic()
            save_folder(model, arguments.side, arguments.out)
            qualities = evaluate(arguments.out, scenes)
            text = " ".join(f"{label} {quality:.2f}" for label, quality in qualities.items())
            print(f"check {step + 1} PQ {mean(qualities):.4f} {text}", flush=True)
            next_check += arguments.check_minutes
            clock.paused += time.monotonic() - began
        if share >= 1:
            return


def main() -> None:
    """Draw the scenes and train."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    first = arguments.seed * 20_000
    examples = draw_examples(TRAINING_SEEDS[first : first + arguments.scenes], arguments.side, arguments.threads)
    print(f"{len(examples)} scenes drawn in {time.monotonic() - began:.0f} s", flush=True)
    train(arguments, examples)


if __name__ == "__main__":
    main()
