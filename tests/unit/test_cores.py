"""The cores that a process may use: what it is bound to, and a container's quota."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from maskmill import control_groups, cores
from maskmill.settings import Settings

Group = Callable[..., None]


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """Make this process one of a control group: `group("/app", **{"/": "max 100000", "/app": "50000 100000"})`."""
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(control_groups, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(cores, "bound_cores", lambda: 16)

    def be_in(own: str, **limits: str) -> None:
        (tmp_path / "own").write_text(f"1:cpu:/of/version/1\n0::{own}\n")
        for name, limit in limits.items():
            folder = tmp_path / "groups" / name.lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cpu.max").write_text(f"{limit}\n")

    return be_in


@pytest.mark.parametrize(
    ("limit", "usable"),
    [("max 100000", 16), ("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("6400000 100000", 16)],
)
def test_a_containers_quota_bounds_the_cores(group: Group, limit: str, usable: int) -> None:
    group("/", **{"/": limit})
    assert cores.usable_cores() == usable
    assert Settings().cores_to_use == usable


def test_the_least_of_all_groups_above_counts(group: Group) -> None:
    """As systemd has a service in a slice."""
    limits = {"/work.slice": "300000 100000", "/work.slice/maskmill.service": "max 100000"}
    group("/work.slice/maskmill.service", **limits)
    assert cores.usable_cores() == 3


@pytest.mark.parametrize("limit", ["", "max", "much 100000", "100000 0"])
def test_a_limit_that_is_not_understood_is_none(group: Group, limit: str) -> None:
    group("/", **{"/": limit})
    assert cores.usable_cores() == 16


def test_without_control_groups_it_is_what_the_process_is_bound_to(group: Group) -> None:
    assert cores.usable_cores() == 16


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are bound to cores by sched_setaffinity")
def test_a_process_that_is_bound_to_one_core_uses_one() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores.usable_cores() == cores.bound_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
