"""Whether this machine will do (shared memory, room, rights), what its disk means when it will not, and its malloc."""

from __future__ import annotations

import errno
import multiprocessing
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from maskmill.checks import Check, require
from maskmill.control_groups import group_files
from maskmill.errors import UsageError
from maskmill.settings import Settings

SHARED = Path("/dev/shm")  # noqa: S108 - where POSIX has its semaphores and shared memory on Linux
SHARED_BYTES = 2**20
"""What loader processes take of it: a few semaphores. Tensors travel in files in memory of their own."""

FULL_BYTES, SCARCE_BYTES = 16 * 2**20, 512 * 2**20
SCARCE_FILES = 1000

LOADER_BYTES = 256 * 2**20
"""A loader process with two images of common size ready, beside what it shares with its parent."""

ARENAS = "MALLOC_ARENA_MAX"
MMAP_THRESHOLD, TRIM_THRESHOLD = "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"
"""Variables of glibc's malloc (mallopt(3)), which it reads at a process's start; nothing to others."""

FEW = "2"
"""Arenas. Threads that come and go would leave what they freed in all sixteen of two cores: memory would grow."""

HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Has torch ask for huge pages for tensors of 2 MiB and more (pytorch/pytorch#107697)."""

LARGEST_THRESHOLD = 32 * 2**20
"""In bytes; glibc takes no higher one."""

KEPT_BYTES = 128 * 2**20
"""So much may lie free at the heap's end: more than a few images need."""

SHARED_CURE = "give the container more (docker: --shm-size, Kubernetes: an emptyDir of medium Memory at /dev/shm)"


ONE_NAME = {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EILSEQ, errno.EINVAL, errno.ELOOP}
"""What a file system says about one name; a full disk or a read-only folder concerns them all."""


def memory_of_models() -> dict[str, str]:
    """Few arenas, and huge pages for torch's tensors, for the environment of processes that run models on a CPU.

    What somebody has chosen stays. A forward pass makes and drops tensors of many megabytes, at a page fault for every
    4 KiB else. Where the kernel has no huge pages for who asks (`/sys/kernel/mm/transparent_hugepage/enabled`), nothing
    changes.
    """
    return _unless_chosen({ARENAS: FEW, HUGE_PAGES: "1"})


def kept_heap() -> dict[str, str]:
    """Few arenas that keep what was freed, likewise, for processes that make and drop arrays of a mask's size.

    Else malloc gives them back to the system, at a page fault for every 4 KiB of the next one.
    """
    return _unless_chosen({ARENAS: FEW, MMAP_THRESHOLD: str(LARGEST_THRESHOLD), TRIM_THRESHOLD: str(KEPT_BYTES)})


def _unless_chosen(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: os.environ.get(name, value) for name, value in variables.items()}


@contextmanager
def writing_to(place: object, cure: str = "") -> Iterator[None]:
    """What a disk says of all files there becomes one line: `UsageError`, with the place, the reason and a cure."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write to {place}: {error.strerror or error}{cure}") from error


def check_machine(settings: Settings, folders: Iterable[Path] = ()) -> list[Check]:
    """What was tried of this machine for a worker of these settings that writes into these folders, too.

    Example: check_machine(settings, [Path("masks")]) has Check("machine: room in masks", "masks is full: …").
    """
    own = [Path(tempfile.gettempdir()), *([settings.run_dir] if settings.run_dir else [])]
    found = dict.fromkeys([*own, *folders])
    return [*_loaders(settings), *(check_room(folder) for folder in found)]


def _loaders(settings: Settings) -> list[Check]:
    if not settings.loader_processes:
        return []
    return [_shared_memory(SHARED), _memory(settings.loader_processes)]


def _shared_memory(folder: Path) -> Check:
    """Semaphores are made, since what cannot be made is found by no look at sizes."""
    name = "machine: shared memory"
    try:
        multiprocessing.get_context("spawn").Semaphore(1)
        room = _free_bytes(folder) if folder.is_dir() else SHARED_BYTES
    except OSError as error:
        why = f"loader processes cannot be started: no semaphore can be made in {folder} ({error.strerror})"
        return Check(name, f"{why}: {SHARED_CURE}, or set MASKMILL_NUM_WORKERS=0")
    scarce = f"{folder} has {room:,} bytes left, and loader processes may need {SHARED_BYTES:,}: {SHARED_CURE}"
    return Check(name, scarce if room < SHARED_BYTES else "")


def _memory(loaders: int) -> Check:
    needed, available = loaders * LOADER_BYTES, _available_bytes()
    problem = (
        f"{available // 2**20:,} MiB of memory are left for {loaders} loader processes and the model: set "
        "MASKMILL_NUM_WORKERS lower, or give the machine or container more"
    )
    return Check("machine: memory", problem if available < needed else "", fatal=False)


def _available_bytes() -> int:
    """Of the machine, or of the container where that has less."""
    available = int(psutil.virtual_memory().available)
    for most, used in group_files("memory.max", "memory.current"):
        with suppress(ValueError):  # no limit: `max`
            available = min(available, int(most) - int(used))
    return available


def check_room(folder: Path) -> Check:
    """Whether files can be written below a folder, which need not be there yet."""
    name, there = f"machine: room in {folder}", folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        return Check(name, f"{there} is a file, and {folder} was to be a folder: name another")
    if not os.access(there, os.W_OK | os.X_OK):
        return Check(name, f"this user may not write into {there}: change its rights, or name another folder")
    free, files = _free_bytes(there), _free_files(there)
    left = f"{free / 2**20:,.0f} MiB" if files is None or files >= SCARCE_FILES else f"{files:,} files"
    problem = f"{folder} has room for {left} more: free some, or name another folder"
    full = free < FULL_BYTES or files == 0
    scarce = full or free < SCARCE_BYTES or (files is not None and files < SCARCE_FILES)
    return Check(name, problem if scarce else "", fatal=full)


def require_room(folder: Path) -> None:
    """Raise `UsageError` where nothing can be written below a folder, before there is anything to write."""
    require([check_room(folder)], UsageError)


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def _free_files(folder: Path) -> int | None:
    """Inodes left; None where the file system has no fixed number of them."""
    found = os.statvfs(folder)
    return found.f_favail if found.f_files else None
