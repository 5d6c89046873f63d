"""What a container, or systemd, lets this process have: its control group and those above it (cgroup v2).

See kernel.org/doc/html/latest/admin-guide/cgroup-v2.html: the least of all limits on the way up counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

GROUPS, OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def group_files(*names: str) -> Iterator[tuple[str, ...]]:
    """The texts of these files, once for each group that has all of them.

    >>> [limit for (limit,) in group_files("cpu.max")]  # in a container with a core and a half
    ['150000 100000']
    """
    try:
        lines = OWN_GROUP.read_text().splitlines()
    except OSError:
        return
    own = next((PurePosixPath(line[3:]) for line in lines if line.startswith("0::/")), PurePosixPath("/"))
    for group in (own, *own.parents):
        with suppress(OSError):
            yield tuple((GROUPS / str(group).lstrip("/") / name).read_text() for name in names)
