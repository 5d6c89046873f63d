"""`make compat`: the model tests with the lowest and the newest transformers that pyproject.toml allows.

Each has an environment of its own in build/compat, which takes all but transformers from this one: 60 MB, not 5 GB.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

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
REAL_JOBS = "tests/exactness/test_exactness.py"
"""Left out: a worker's command is of the environment that Maskmill is installed in."""


def requirement() -> str:
    """Which versions of transformers are supported, such as `transformers>=5.20,<6`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [found] = [each for each in project["optional-dependencies"]["worker"] if each.startswith("transformers")]
    return str(found)


def lowest(wanted: str) -> str:
    """`transformers==5.20.0` for `transformers>=5.20,<6`."""
    found = re.search(r">=(\d+\.\d+)", wanted)
    assert found, wanted
    return f"transformers=={found[1]}.0"


def environment(name: str, package: str) -> Path:
    """The Python of an environment with this package, and all else from the one that runs this."""
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "base.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--upgrade", package], check=True)
    return python


def main() -> int:
    """The exit code: 0 when the tests passed with both."""
    failed = []
    for name, package in (("lowest", lowest(requirement())), ("newest", requirement())):
        python = environment(name, package)
        paths = os.pathsep.join(str(ROOT / each) for each in ("", "producer", "worker"))
        print(f"{name}: {package}", flush=True)
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
            failed.append(f"{name} ({package})")
    print(f"failed with {', '.join(failed)}" if failed else "passed with both")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
