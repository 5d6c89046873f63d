"""`make interop`: exports are read by tools that each have an environment of their own in build/interop.

A module `with_TOOL.py` here holds the tests of one tool, and says in `REQUIRES` what is installed for it. All else
comes from the environment that runs this. Where both have a package, the tool's own is taken. With `APART = True` the
tool is a process that has its own packages alone, and its tests take ours first.
`python -m tests.interop fiftyone` asks one tool alone.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.layered import bare, layered

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / "build" / "interop"
PREFIX = "with_"


def modules(wanted: Sequence[str]) -> dict[str, Path]:
    """The tests of these tools, of all if none is named; ends the program for a tool that has none."""
    found = {path.stem.removeprefix(PREFIX): path for path in sorted(Path(__file__).parent.glob(f"{PREFIX}*.py"))}
    for name in wanted:
        if name not in found:
            sys.exit(f"there is no {PREFIX}{name}.py (there are {', '.join(found)})")
    return {name: found[name] for name in wanted or found}


def requires(module: Path) -> tuple[str, ...]:
    """What a module says in `REQUIRES`."""
    found = _said(module, "REQUIRES")
    if found is None:
        raise ValueError(f"{module.name} does not say what it REQUIRES")
    return tuple(found)


def search_path(*, apart: bool) -> str:
    """Where tests look first: Maskmill itself, and for a tool that is `apart` the packages that it runs with here."""
    ours = [sysconfig.get_path("purelib")] if apart else []
    return os.pathsep.join([*(str(ROOT / each) for each in ("", "producer", "worker")), *ours])


def _said(module: Path, name: str) -> Any:
    """A constant of a module, None without; the module is not imported, since its tool is not installed here."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    return None


def environment(name: str, packages: Sequence[str], *, apart: bool) -> Path:
    """The Python of an environment with these packages, and unless it is `apart` all else from ours."""
    python = (bare if apart else layered)(ENVIRONMENTS / name)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--upgrade", *packages], check=True)
    return python


def versions(python: Path, packages: Sequence[str]) -> str:
    """What was installed: `label-studio-sdk 2.1.2`."""
    names = [package.partition("=")[0].strip("<>!~") for package in packages]
    ask = "import sys, importlib.metadata as m; print(', '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    return subprocess.run([python, "-c", ask, *names], check=True, capture_output=True, text=True).stdout.strip()


def main(wanted: Sequence[str]) -> int:
    """The exit code: 0 when all tools read what is theirs."""
    failed, said = [], []
    for name, module in modules(wanted).items():
        apart = bool(_said(module, "APART"))
        python = environment(name, requires(module), apart=apart)
        said.append(versions(python, requires(module)))
        print(f"{name}: {said[-1]}", flush=True)
        command = [str(python), "-m", "pytest", "-p", "no:cacheprovider", str(module)]
        variables = {**os.environ, "PYTHONPATH": search_path(apart=apart)}
        if subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode:
            failed.append(name)
    print(f"not read by {', '.join(failed)}" if failed else f"read by {', '.join(said)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
