"""What is tried of this machine before work begins."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from maskmill import Settings, machine
from maskmill.checks import Check
from maskmill.errors import UsageError
from maskmill.machine import check_machine, check_room
from maskmill_producer.local.plan import Plan, Selection
from tests.control_groups import in_group

MOUNT = "mount -t tmpfs -o {options} tmpfs {folder} && exec {python} -c '{program}'"


def in_own_mounts(folder: Path, options: str, program: str) -> list[str]:
    """Lines of a program that has a file system of its own at the folder; needs no root."""
    shell = MOUNT.format(options=options, folder=folder, python=sys.executable, program=program)
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def room_in(folder: Path, options: str) -> Check:
    program = (
        f'from maskmill.machine import *; c = check_room(Path("{folder}/new/one")); print(c.problem); print(c.fatal)'
    )
    problem, fatal = in_own_mounts(folder, options, program)
    return Check("", problem, fatal == "True")


def test_a_machine_that_will_do_has_no_findings(tmp_path: Path) -> None:
    checks = check_machine(Settings(num_workers=1, run_dir=tmp_path), [tmp_path / "not" / "there" / "yet"])
    assert [check.problem for check in checks if check.fatal and not check.ok] == []
    assert not (tmp_path / "not").exists(), "nothing is left behind"


def test_a_disk_that_is_full_or_nearly_so_is_named(tmp_path: Path) -> None:
    full, scarce = room_in(tmp_path, "size=1m"), room_in(tmp_path, "size=100m")
    assert str(tmp_path) in full.problem
    assert full.fatal
    assert "100 MiB" in scarce.problem
    assert not scarce.fatal


def test_a_disk_without_room_for_files_is_named(tmp_path: Path) -> None:
    few = room_in(tmp_path, "size=2g,nr_inodes=100")
    assert "99 files" in few.problem
    assert not few.fatal
    none = room_in(tmp_path, "size=2g,nr_inodes=1")
    assert "0 files" in none.problem
    assert none.fatal


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file" in check_room(tmp_path / "file" / "out").problem
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may do everything
    check = check_room(tmp_path / "out")
    assert f"may not write into {tmp_path}" in check.problem
    assert check.fatal


@pytest.mark.parametrize(
    ("options", "wrong"), [("size=64m", False), ("size=512k", True), ("size=1m,nr_inodes=1", True)]
)
def test_shared_memory_is_tried_and_not_guessed(options: str, wrong: bool) -> None:
    """64 MB, as Docker and Kubernetes give, are enough: tensors do not travel through it."""
    program = "from maskmill.machine import *; print(check_machine(Settings(num_workers=2))[0].problem)"
    [problem] = in_own_mounts(Path("/dev/shm"), options, program)
    assert bool(problem) is wrong
    if wrong:
        assert "--shm-size" in problem


def test_shared_memory_is_no_matter_without_loader_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(multiprocessing, "get_context", lambda _: SimpleNamespace(Semaphore=refuse))
    [check] = [each for each in check_machine(Settings(num_workers=1)) if "shared memory" in each.name]
    assert "No space left on device" in check.problem
    assert "MASKMILL_NUM_WORKERS=0" in check.problem
    assert not [each for each in check_machine(Settings(num_workers=0)) if "shared memory" in each.name]


def test_little_memory_for_many_loaders_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_available_bytes", lambda: 2**30)
    by_loaders = {number: check_machine(Settings(num_workers=number))[1] for number in (1, 8)}
    assert by_loaders[1].ok
    assert "1,024 MiB of memory are left for 8 loader processes" in by_loaders[8].problem
    assert not by_loaders[8].fatal


def test_a_container_has_what_its_groups_leave_of_their_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A service with a limit of its own, in a slice that has less left."""
    limits = (("", "max", "1"), ("/work.slice", "400", "350"), ("/work.slice/maskmill.service", "300", "100"))
    most = {f"{group}/memory.max": limit for group, limit, _ in limits}
    used = {f"{group}/memory.current": current for group, _, current in limits}
    in_group(monkeypatch, tmp_path, "/work.slice/maskmill.service", most | used)
    assert machine._available_bytes() == 50


def test_a_run_into_a_folder_that_cannot_be_written_is_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="may not write into"):
        Plan(Selection(("photos/",)), {"model": "demo"}, tmp_path / "out", ())
