"""One run at a time in a folder: two would take each other's masks for stale ones."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from maskmill.errors import UsageError
from maskmill.locks import held_lock


@contextmanager
def sole_run(folder: Path) -> Iterator[Callable[[], None]]:
    """Make the folder, prove that it can be written, and keep others out of it for a block, or until what it yields.

        with sole_run(Path("out")) as let_go:
            ...          # minutes of work, after which no other run shall be found here
            let_go()
            mirror(job, Path("out"))     # which keeps others out by itself

    Raises `UsageError` with the cure.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            stack.enter_context(held_lock(folder))
        except OSError as error:
            why = error.strerror or error
            raise UsageError(f"--out {folder} cannot be written ({why}): name another folder") from error
        yield stack.close
