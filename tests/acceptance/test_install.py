"""`pip install .` without extras: a producer that can submit and watch, and has no torch."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.images import write_good

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.attended
def test_the_base_install_submits_and_watches_without_torch(environment: dict[str, str], tmp_path: Path) -> None:
    write_good(tmp_path / "pictures", 2)
    bare = tmp_path / "venv" / "bin"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=600)
    install = [sys.executable, "-m", "pip", "--python", bare / "python", "install", "-q", "--no-compile", ROOT]
    subprocess.run(install, check=True, timeout=600, capture_output=True)

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        arguments = [str(each) for each in command]
        return subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)

    torch = run(bare / "python", "-c", "import torch")
    submitted = run(bare / "maskmill", "submit", "pictures", "--model", "demo")
    watched = run(bare / "maskmill", "watch", submitted.stdout.strip())
    here = run(bare / "maskmill", "run", "pictures", "--out", "out", "--model", "demo")

    assert "No module named 'torch'" in torch.stderr
    assert "completed: 2 submitted = 2 stored" in watched.stdout, submitted.stderr + watched.stderr
    assert here.returncode == 2
    assert "maskmill[worker,embedded]" in here.stderr


@pytest.mark.parametrize("command", ["maskmill", "maskmill-worker"])
def test_modules_of_the_user_with_common_names_are_no_concern_of_ours(command: str, tmp_path: Path) -> None:
    for name in ("worker", "producer", "tasks", "cli"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a module of the user')")
    script = Path(sys.executable).parent / command
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    helped = subprocess.run([script, "--help"], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert helped.returncode == 0, helped.stderr


@pytest.mark.slow
def test_the_wheel_has_no_name_that_another_may_have(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(build, check=True, timeout=600, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name.split("/")[0] for name in archive.namelist()}
        scripts = [name for name in archive.namelist() if name.endswith(".lua")]
    assert {name for name in names if not name.endswith(".dist-info")} == {
        "maskmill",
        "maskmill_producer",
        "maskmill_worker",
    }
    assert scripts, "the ledger's scripts travel with it"
