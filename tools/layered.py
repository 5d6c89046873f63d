"""An environment on top of the one that runs: what it has itself comes first, all else is the other's."""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path


def bare(folder: Path) -> Path:
    """The Python of an environment with nothing in it yet, not even pip; made unless it is there."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, symlinks=True)
    return python


def layered(folder: Path) -> Path:
    """The Python of the environment in this folder, made unless it is there: `layered(Path("build/compat/lowest"))`."""
    python = bare(folder)
    [packages] = folder.glob("lib/python*/site-packages")
    below = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (packages / "below.pth").write_text(below, encoding="utf-8")
    return python
