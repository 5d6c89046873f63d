"""`make` takes the torch that fits the machine: a real pip, and a package index of our own."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.serving import serving
from tools import install

NOBODY = "http://127.0.0.1:9/whl/cpu"
CPU_BUILDS = {"torch": "2.14.1+cpu", "torchvision": "0.29.1+cpu"}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """An index that has the pair as CPU builds, empty wheels."""
    for name, version in CPU_BUILDS.items():
        folder = tmp_path / "index" / name
        folder.mkdir(parents=True)
        wheel = folder / f"{name}-{version}-py3-none-any.whl"
        described = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{described}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(f"{described}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{described}/RECORD", "")
        (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The python of an empty environment, whose pip knows no index but those that it is told."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    return str(tmp_path / "venv" / "bin" / "python")


def installed(python: str) -> dict[str, str]:
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], check=True, capture_output=True)
    return {each["name"]: each["version"] for each in json.loads(listed.stdout) if each["name"] in CPU_BUILDS}


@pytest.mark.skipif(install.has_nvidia_gpu(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_gets_the_cpu_build(python: str, index: str) -> None:
    install.install_torch(python, "auto", index)
    assert installed(python) == CPU_BUILDS


def test_an_index_that_does_not_answer_is_named_with_the_cure(python: str) -> None:
    with pytest.raises(install.Refused, match=r"127\.0\.0\.1:9.*does not answer; TORCH=pypi"):
        install.install_torch(python, "cpu", NOBODY)
    assert installed(python) == {}


def test_a_build_that_is_none_is_refused(python: str) -> None:
    with pytest.raises(install.Refused, match="TORCH='cuda' is none of auto, cpu, pypi"):
        install.install_torch(python, "cuda", NOBODY)


@pytest.mark.skipif(install.has_nvidia_gpu(), reason="this machine has a GPU")
def test_without_that_index_the_machine_gets_pypis_torch_and_is_told_so(
    python: str, index: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)  # in PyPI's place
    install.install_torch(python, "auto", NOBODY)
    assert f"No NVIDIA GPU here, but {NOBODY} does not answer" in capsys.readouterr().out
    assert set(installed(python)) == set(CPU_BUILDS)
