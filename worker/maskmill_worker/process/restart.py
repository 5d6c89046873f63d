"""A worker that becomes a new one in place: the same process id, so that whoever supervises it need not know."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

import psutil

KILL_SECONDS = 10.0


def restart(environment: Mapping[str, str]) -> NoReturn:
    """Run this process's command line anew (execve), in the environment that it was started with.

    Its children are ended first, for the new program does not know them. What asks the kernel to end this process
    with its parent (`die_with_parent`) survives; open files and connections do not.
    """
    children = psutil.Process().children(recursive=True)
    for child in children:
        child.kill()
    psutil.wait_procs(children, KILL_SECONDS)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], dict(environment))  # noqa: S606 - our own command
