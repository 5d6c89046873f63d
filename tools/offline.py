"""Maskmill on a machine that reaches no package index but has a torch of its own, such as a node with a GPU.

Where there is an index:  python tools/offline.py pack build/offline --python 3.12
On the machine itself:    python tools/offline.py install build/offline/* --into build/offline-env

`pack` puts wheels of Maskmill and of what it needs into folders of a bounded size, `part-1` and so on, without those
that the machine has. `install` makes an environment on top of the Python that runs it; that one stays as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tools.layered import layered  # noqa: E402 - this file is run by its path

EXTRAS = ("worker", "embedded")
THERE = ("torch", "torchvision", "transformers", "timm", "numpy")
"""Packages that a machine with a GPU has: by far the largest."""

GLIBC = ("2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
PLATFORMS = [f"manylinux_{each}_x86_64" for each in GLIBC] + ["manylinux2014_x86_64", "manylinux1_x86_64"]
MIB = 2**20


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack", help="download wheels into parts")
    packing.add_argument("folder", type=Path)
    packing.add_argument("--python", default="3.12", help="the machine's version; default: 3.12")
    packing.add_argument("--mib", type=int, default=48, help="the most that a part may have, unless one wheel has more")
    packing.add_argument("--there", default=",".join(THERE), help="what the machine has, with commas")
    packing.set_defaults(do=lambda asked: pack(asked.folder, asked.python, asked.mib, asked.there.split(",")))
    installing = commands.add_parser("install", help="install parts beside the machine's own packages")
    installing.add_argument("parts", type=Path, nargs="+")
    installing.add_argument("--into", type=Path, required=True, help="folder of the environment; it may be there")
    installing.set_defaults(do=lambda asked: install(asked.parts, asked.into))
    asked = parser.parse_args()
    try:
        asked.do(asked)
    except subprocess.CalledProcessError as error:
        print(f"error: pip ended with {error.returncode}: what it says stands above", file=sys.stderr)
        return 1
    return 0


def pack(folder: Path, python: str, mib: int, there: Sequence[str]) -> None:
    """Wheels for this version of Python on Linux (x86-64), in parts."""
    shutil.rmtree(folder, ignore_errors=True)
    whole = folder / "whole"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(whole), str(ROOT)], check=True)
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    target += [word for platform in PLATFORMS for word in ("--platform", platform)]
    needed = [each for each in requirements() if Requirement(each).name not in there]
    subprocess.run([*pip, "download", *target, "--dest", str(whole), *needed], check=True)
    wheels = [wheel for wheel in whole.glob("*.whl") if parse_wheel_filename(wheel.name)[0] not in there]
    for number, part in enumerate(parts(wheels, mib * MIB), 1):
        for wheel in part:
            (folder / f"part-{number}").mkdir(exist_ok=True)
            wheel.rename(folder / f"part-{number}" / wheel.name)
        print(f"{folder / f'part-{number}'}: {len(part)} wheels")
    shutil.rmtree(whole)


def install(found: Sequence[Path], into: Path) -> None:
    """Install the wheels of these parts, and say which Python has them."""
    python = layered(into)
    wheels = [str(wheel) for part in found for wheel in sorted(part.glob("*.whl"))]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", "--no-compile", *wheels], check=True)
    print(os.path.abspath(python))  # noqa: PTH100 - its links must stay


def requirements() -> list[str]:
    """What Maskmill needs, with its worker and the servers for one machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(each for extra in EXTRAS for each in extras[extra])]


def parts(wheels: Iterable[Path], most: int) -> Iterator[list[Path]]:
    """The wheels from the smallest on, in parts of at most so many bytes; a larger one is a part of its own."""
    part: list[Path] = []
    for wheel in sorted(wheels, key=lambda each: each.stat().st_size):
        if part and sum(each.stat().st_size for each in [*part, wheel]) > most:
            yield part
            part = []
        part.append(wheel)
    if part:
        yield part


if __name__ == "__main__":
    sys.exit(main())
