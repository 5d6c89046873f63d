"""`pip install .` without extras: a producer that can submit and watch, and has no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.images import write_good

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.attended
def test_the_base_install_submits_and_watches_without_torch(environment: dict[str, str], tmp_path: Path) -> None:
    write_good(tmp_path / "pictures", 2)
    bare = tmp_path / "venv" / "bin"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=120)
    install = [sys.executable, "-m", "pip", "--python", bare / "python", "install", "-q", "--no-compile", ROOT]
    subprocess.run(install, check=True, timeout=280, capture_output=True)

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        arguments = [str(each) for each in command]
        return subprocess.run(arguments, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=200)

    torch = run(bare / "python", "-c", "import torch")
    submitted = run(bare / "maskmill", "submit", "pictures", "--model", "demo")
    watched = run(bare / "maskmill", "watch", submitted.stdout.strip())
    here = run(bare / "maskmill", "run", "pictures", "--out", "out", "--model", "demo")

    assert "No module named 'torch'" in torch.stderr
    assert "completed: 2 submitted = 2 stored" in watched.stdout, submitted.stderr + watched.stderr
    assert here.returncode == 2
    assert "maskmill[worker,embedded]" in here.stderr
