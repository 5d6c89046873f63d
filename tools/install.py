"""How `make` installs Maskmill into its virtual environment: it says what it downloads, and takes the torch that fits.

    python tools/install.py .venv/bin/python worker,embedded

PyPI's torch for Linux holds CUDA, 3 GB of it. A machine without an NVIDIA GPU gets the CPU build from PyTorch's own
index (https://pytorch.org/get-started/locally) if that answers. `TORCH=cpu` or `TORCH=pypi` decides by hand;
`TORCH_CPU_INDEX` names a mirror. A torch that is installed already is kept.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
ANSWER_SECONDS = 5

AUTO, CPU, PYPI = "auto", "cpu", "pypi"
BUILDS = (AUTO, CPU, PYPI)

PAIR = ("torch", "torchvision")
"""Installed together: each works with one build of the other."""


class Refused(Exception):
    """What was asked for cannot be had; the message says what to do."""


def main() -> int:
    """Install the extras named in the arguments; pip's exit code."""
    python, extras = sys.argv[1:]
    try:
        if not _installed(python, "torch"):
            install_torch(python, os.environ.get("TORCH", AUTO), os.environ.get("TORCH_CPU_INDEX", CPU_INDEX))
    except Refused as error:
        print(f"make: {error}", file=sys.stderr)
        return 2
    print("Installing Maskmill and what it needs (230 MB to download, 450 MB with the tests)", flush=True)
    return _pip(python, "--quiet", "--editable", f"{ROOT}[{extras}]")


def install_torch(python: str, build: str, index: str) -> None:
    """Install the pair of this build into the environment of `python`; pip shows what it downloads and how large it is.

    `install_torch(".venv/bin/python", "auto", CPU_INDEX)`

    Raises `Refused` for a build that is none, or an index that does not answer although it must.
    """
    if build not in BUILDS:
        raise Refused(f"TORCH={build!r} is none of {', '.join(BUILDS)}")
    if build == CPU and not answers(index):
        raise Refused(
            f"{index} does not answer; TORCH=pypi takes torch with CUDA (3 GB), TORCH_CPU_INDEX names a mirror"
        )
    chosen = _chosen(index) if build == AUTO else build
    source = ("--index-url", index) if chosen == CPU else ()
    said = f"torch for the CPU from {index}" if chosen == CPU else "torch from PyPI (for Linux with CUDA, 3 GB)"
    print(f"Installing {said}", flush=True)
    if code := _pip(python, *source, *_requirements()):
        raise Refused(f"pip could not install torch (exit code {code}); what it says stands above")


def _chosen(index: str) -> str:
    if not sys.platform.startswith("linux") or has_nvidia_gpu():
        return PYPI
    if answers(index):
        return CPU
    print(f"No NVIDIA GPU here, but {index} does not answer, so torch comes with CUDA and runs on the CPU.")
    return PYPI


def has_nvidia_gpu() -> bool:
    """Whether NVIDIA's driver is there, as its own files and tool show."""
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def answers(index: str) -> bool:
    """Whether this package index has torch, within a few seconds."""
    try:
        with urlopen(f"{index.rstrip('/')}/torch/", timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - of who runs make
            return bool(answer.status == 200)
    except (URLError, OSError, ValueError):
        return False


def _requirements() -> list[str]:
    """The pair, within the bounds of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [line for line in project["optional-dependencies"]["worker"] if line.split(">")[0] in PAIR]


def _installed(python: str, name: str) -> bool:
    looked = f"import importlib.util as u, sys; sys.exit(u.find_spec({name!r}) is None)"
    return subprocess.run([python, "-c", looked], check=False).returncode == 0


def _pip(python: str, *arguments: str) -> int:
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
