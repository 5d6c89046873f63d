"""The device of these tests, the figures that they give, and where both are written line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.result import Figure
from tests.exactness.conftest import _one_thread, model_folder, photograph_paths

__all__ = ["_one_thread", "model_folder", "photograph_paths"]

NO_DEVICE = "torch sees no CUDA device here: `make gpu` where it does, or --device cpu for a dry run"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpu")
    group.addoption("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: a dry run of tests/gpu")
    group.addoption("--lines", type=Path, help="file for figures and outcomes, one JSON line each")


def pytest_configure(config: pytest.Config) -> None:
    lines = config.getoption("--lines", None)
    if lines and not hasattr(config, "workerinput"):  # xdist's processes tell the first one
        config.pluginmanager.register(Outcomes(lines))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = [item for item in items if item.get_closest_marker("gpu")]
    if here and config.getoption("--device", "cuda") == "cuda" and not sees_cuda():
        for item in here:
            item.add_marker(pytest.mark.skip(reason=NO_DEVICE))


def sees_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


class Outcomes:
    """Writes how each test ended, when it has."""

    def __init__(self, lines: Path) -> None:
        self._lines = lines

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            reason = "" if report.passed else str(report.longrepr).strip().splitlines()[-1]
            write_line(self._lines, {"test": report.nodeid, "outcome": report.outcome, "reason": reason})


def write_line(lines: Path, told: dict[str, Any]) -> None:
    """One write, so that lines of several processes do not mix."""
    with lines.open("a", encoding="utf-8") as file:
        file.write(json.dumps(told) + "\n")


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> str:
    """The device as torch calls it."""
    return "cuda:0" if pytestconfig.getoption("--device", "cuda") == "cuda" else "cpu"


@pytest.fixture
def figure(pytestconfig: pytest.Config) -> Callable[..., None]:
    """Takes what a `Figure` has, and keeps it."""
    lines = pytestconfig.getoption("--lines", None)
    return partial(_keep, lines) if lines else Figure


def _keep(lines: Path, **fields: Any) -> None:
    write_line(lines, {"figure": Figure(**fields).model_dump()})


@pytest.fixture
def exact_float32() -> Iterator[None]:
    """Without TF32, in which torch lets convolutions round to ten bits unless it is told otherwise."""
    import torch

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
