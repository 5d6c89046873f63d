"""`make compat`: the model tests with the lowest and the newest transformers that pyproject.toml allows.

The lowest goes with the lowest torch. Each has an environment of its own in build/compat, which takes all else from
this one: 60 MB, with torch 1.3 GB, not 5.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tools.install import CPU_INDEX, PAIR
from tools.layered import layered

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "build" / "compat"
TESTS = (
    "tests/exactness",
    "tests/unit/test_hub.py",
    "tests/unit/test_own_pipeline.py",
    "tests/unit/test_postprocess.py",
    "tests/unit/test_stock_postprocess.py",
    "tests/unit/test_trust.py",
    "tests/unit/test_unusable_models.py",
)
TRANSFORMERS = "transformers"

REAL_JOBS = "tests/exactness/test_exactness.py"
"""Left out: a worker's command is of the environment that Maskmill is installed in."""


def requirements() -> list[str]:
    """Which versions of torch, torchvision and transformers are supported, such as `transformers>=5.17,<6`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    worker = project["optional-dependencies"]["worker"]
    return [each for name in (*PAIR, TRANSFORMERS) for each in worker if each.startswith(f"{name}>")]


def lowest(wanted: str) -> str:
    """`transformers==5.17.0` for `transformers>=5.17,<6`."""
    found = re.fullmatch(r"(\w+)>=(\d+\.\d+),.*", wanted)
    assert found, wanted
    return f"{found[1]}=={found[2]}.0"


def environment(name: str, packages: Sequence[str]) -> Path:
    """The Python of an environment with these packages, and all else from the one that runs this."""
    python = layered(ENVIRONMENTS / name)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check", "install"]
    *pair, transformers = packages
    if pair:
        # What they need is there: that of another build of torch, whose CUDA libraries serve these too.
        source = ["--index-url", CPU_INDEX] if version("torch").endswith("+cpu") else []
        subprocess.run([*pip, "--no-deps", *source, *pair], check=True)
    subprocess.run([*pip, "--upgrade", transformers], check=True)
    return python


def main() -> int:
    """The exit code: 0 when the tests passed with both."""
    failed = []
    wanted = requirements()
    for name, packages in (("lowest", list(map(lowest, wanted))), ("newest", wanted[-1:])):
        python = environment(name, packages)
        paths = os.pathsep.join(str(ROOT / each) for each in ("", "producer", "worker"))
        print(f"{name}: {', '.join(packages)}", flush=True)
        command = [
            str(python),
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            *TESTS,
            f"--ignore={REAL_JOBS}",
            *sys.argv[1:],
        ]
        if subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, check=False).returncode:
            failed.append(f"{name} ({', '.join(packages)})")
    print(f"failed with {', '.join(failed)}" if failed else "passed with both")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
