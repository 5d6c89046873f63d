"""Every command of README and docs runs, against real servers and a real worker, or says why not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import maskmill_worker
from maskmill_producer import embedded
from tests.conftest import DEMO_SAMPLES, environment_of, settings_of, worker_starter
from tests.documents import PAGES, ROOT, agrees, runnable, script, transcript
from tests.fake_hub import files_of, running_hub

DEMO_MODEL = Path(maskmill_worker.__file__).parent / "demo_model"
HUB_MODEL = "facebook/detr-resnet-50-panoptic"
"""What the pages take from the hub; the tests' hub has the demo model under its name."""

A_NOTEBOOK = "docs/python.md"
"""Its cells run in `tests/acceptance/test_python_page.py`."""

RUN = {page: found for page in PAGES if page != A_NOTEBOOK and (found := runnable(page))}


@pytest.fixture(scope="module")
def reader(servers: embedded.Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What a reader's shell has: settings of servers that run, a worker that works for them, and a model hub."""
    with running_hub() as hub:
        hub.push(HUB_MODEL, files_of(DEMO_MODEL))
        settings = settings_of(servers)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        of_hub = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path_factory.mktemp("hub"))}
        environment = environment_of(settings, servers) | of_hub | {"PATH": path, "COLUMNS": "100"}
        with worker_starter(environment, tmp_path_factory.mktemp("worker")) as start:
            start()
            yield environment


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_what_a_page_says_can_be_typed(page: str, reader: dict[str, str], tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    _furnish(home)
    work.mkdir()
    own = {"MASKMILL_STATE_DIR": str(tmp_path / "servers"), "MASKMILL_RUN_DIR": str(tmp_path / "workers")}
    with (work / "log").open("wb") as log:
        command = ["bash", "-c", script(RUN[page], work)]
        done = subprocess.run(command, env=reader | own, cwd=home, stdout=log, stderr=log, timeout=800)

    assert done.returncode == 0, (work / "log").read_text()[-3000:]
    for block in RUN[page]:
        for line, said, shown in transcript(block) if block.language == "console" else ():
            printed = (work / str(line)).read_text()
            same = not shown or agrees(shown, printed, figures_differ=block.figures_differ)
            assert same, f"{page}:{line}: `{said}` printed\n{printed}"


def _furnish(home: Path) -> None:
    """What the pages take for granted: `photos/` with pictures in two folders, and the repository's `demo/`."""
    samples = sorted(DEMO_SAMPLES.iterdir())
    for folder, pictures in (("photos", samples[:3]), ("photos/2026", samples[3:6])):
        (home / folder).mkdir(parents=True)
        for picture in pictures:
            shutil.copy(picture, home / folder)
    (home / "demo").symlink_to(ROOT / "demo")
