"""Benchmark A with a runtime that cannot be had: the others' figures stand, and the reason is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from benchmarks import a_forward, sides
from benchmarks.runtimes import ONNX_RUNTIME, OPENVINO
from benchmarks.sides import Side, Work

IDS = np.array([[1, 1], [0, 2]], np.uint8)
OFF = np.array([[1, 2], [0, 2]], np.uint8)


def side(name: str, batch_size: int, rate: float) -> Side:
    return Side(name, batch_size, rate, peak_bytes=2**20, forward_rate=10 * rate, forward_images=2)


def write(folder: Path, work: Work, ids: np.ndarray) -> None:
    for path in work.paths:
        np.save(folder / f"{Path(path).name}.npy", ids)


class Ours:
    """As `sides.Ours`, without a process."""

    default = 4

    def measure(self, batch_sizes: Sequence[int], repeats: int) -> None:
        """Nothing is."""

    def side(self, batch_size: int) -> Side:
        return side(sides.OURS, batch_size, 8.0)


def test_a_runtime_that_cannot_be_had_is_named_and_takes_no_other_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stock(work: Work, batch_sizes: Sequence[int], folder: Path, runtime: str | None = None) -> list[Side]:
        if runtime == OPENVINO:
            raise RuntimeError("openvino is not installed")
        write(folder, work, OFF if runtime else IDS)
        name = f"{sides.STOCK} on {runtime}" if runtime else sides.STOCK
        return [side(name, size, 2.0 if runtime else 1.0) for size in batch_sizes]

    @contextmanager
    def ours(work: Work, folder: Path) -> Iterator[Ours]:
        write(folder, work, IDS)
        yield Ours()

    monkeypatch.setattr(a_forward, "version", lambda package: "1.2")
    monkeypatch.setattr(sides, "stock", stock)
    monkeypatch.setattr(sides, "ours", ours)
    case = a_forward.Case("Model", tmp_path, "2×2", (1,), (1,), 1, 6.0)
    monkeypatch.setattr(a_forward, "_cases", lambda: (case,))
    monkeypatch.setattr(
        a_forward, "benchmark_photographs", lambda folder: [folder / f"{place}-portrait.png" for place in range(6)]
    )
    result = a_forward.run()
    ratios = {each.name: each.value for each in result.comparisons}
    assert ratios == {
        "Model: images/s, ours at its default batch size 4 ÷ stock at its best (1)": 8.0,
        "Model: pixels with the same segment": 100.0,
        f"Model: images/s, ours ÷ stock pipeline on {ONNX_RUNTIME}": 4.0,
        f"Model: the model alone, ours ÷ stock pipeline on {ONNX_RUNTIME}": 4.0,
    }
    assert f"Model on {OPENVINO} did not run: RuntimeError: openvino is not installed." in result.notes
    assert any(f"{ONNX_RUNTIME} 1.2: 75.000 %" in note for note in result.notes)
    assert len(result.figures) == 4 + 3
