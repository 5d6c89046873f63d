"""The cores that a process may use: what it is bound to, and a container's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from maskmill import cores
from maskmill.settings import Settings
from tests.control_groups import in_group


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The process is bound to sixteen cores."""
    monkeypatch.setattr(cores, "bound_cores", lambda: 16)
    return monkeypatch


@pytest.mark.parametrize(
    ("limit", "usable"),
    [("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("6400000 100000", 16)],
)
def test_a_containers_quota_bounds_the_cores(
    sixteen: pytest.MonkeyPatch, tmp_path: Path, limit: str, usable: int
) -> None:
    in_group(sixteen, tmp_path, "/", {"/cpu.max": limit})
    assert cores.usable_cores() == usable
    assert Settings().cores_to_use == usable


def test_the_least_of_all_groups_above_counts(sixteen: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As systemd has a service in a slice."""
    limits = {"/work.slice/cpu.max": "300000 100000", "/work.slice/maskmill.service/cpu.max": "max 100000"}
    in_group(sixteen, tmp_path, "/work.slice/maskmill.service", limits)
    assert cores.usable_cores() == 3


@pytest.mark.parametrize("limit", ["", "max", "much 100000", "100000 0"])
def test_a_limit_that_is_not_understood_is_none(sixteen: pytest.MonkeyPatch, tmp_path: Path, limit: str) -> None:
    in_group(sixteen, tmp_path, "/", {"/cpu.max": limit})
    assert cores.usable_cores() == 16


def test_without_control_groups_it_is_what_the_process_is_bound_to(sixteen: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_group(sixteen, tmp_path, "/", {})
    (tmp_path / "own").unlink()
    assert cores.usable_cores() == 16


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are bound to cores by sched_setaffinity")
def test_a_process_that_is_bound_to_one_core_uses_one() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores.usable_cores() == cores.bound_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
