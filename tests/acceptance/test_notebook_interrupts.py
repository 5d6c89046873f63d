"""Ctrl-C in a notebook: the cell ends in a moment, nothing is left behind, and the next cell works."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import psutil
import pytest
from jupyter_client.manager import KernelManager, start_new_kernel

from maskmill_producer import embedded
from tests.acceptance.images import write_good
from tests.conftest import wait_for

SECONDS = 600
MOMENT = 30.0
"""What stopping a worker with images in hand may take on a busy machine; a run to the end takes longer."""

MANY_IMAGES = 240
RUN = """
import maskmill
for result in maskmill.run('photos', model='demo'):
    print('has a result, {forever}', flush=True)
    while {forever}:
        pass
"""
WAIT = "job = maskmill.Client().submit('photos', model='demo')\nprint('waits', flush=True)\njob.wait(progress=True)"
WAIT_ASYNC = "print('waits asleep', flush=True)\nawait job.wait_async()"
"""Of a queue without a worker."""


class Notebook:
    """A kernel, and what its cells print."""

    def __init__(self, manager: KernelManager, client: Any) -> None:
        self.manager, self.client = manager, client
        self.printed = self._asked = ""

    def begin(self, cell: str) -> None:
        """Run a cell, and do not wait for it."""
        self.printed = ""
        self._asked = self.client.execute(cell)

    def hear(self) -> str:
        """What was printed since the cell began; by an earlier one, too, so each says something of its own.

        What a cell prints after an interrupted one may bear that one's name (ipykernel 7).
        """
        try:
            while True:
                self.printed += self.client.get_iopub_msg(timeout=0.1)["content"].get("text", "")
        except Empty:
            return self.printed

    def wait_for(self, said: str) -> None:
        wait_for(lambda: said in self.hear(), lambda: self.printed)

    def end(self) -> tuple[str, float]:
        """The error that ended the cell ('' for none), and how many seconds that took."""
        begun = time.monotonic()
        content = self._answer()
        return content.get("ename", ""), time.monotonic() - begun

    def value_of(self, expression: str) -> str:
        """The expression's value in the kernel, as its `repr`."""
        self._asked = self.client.execute("", user_expressions={"value": expression})
        found = self._answer()["user_expressions"]["value"]
        return str(found["data"]["text/plain"] if found["status"] == "ok" else found)

    def _answer(self) -> dict[str, Any]:
        while True:
            answer = self.client.get_shell_msg(timeout=SECONDS)
            if answer["parent_header"].get("msg_id") == self._asked:
                return dict(answer["content"])

    def interrupt(self) -> tuple[str, float]:
        """Press the button; see `end`."""
        self.manager.interrupt_kernel()
        return self.end()

    @property
    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.manager.provisioner.pid).children(recursive=True)


@pytest.fixture
def notebook(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    write_good(tmp_path / "photos", MANY_IMAGES)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    ours = environment | {"MASKMILL_STATE_DIR": str(tmp_path / "state"), "MASKMILL_SHARD_SIZE": "5"}
    manager, client = start_new_kernel(env=ours, cwd=str(tmp_path))
    try:
        yield Notebook(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        embedded.stop(tmp_path / "state")


@pytest.mark.slow
def test_a_run_that_is_interrupted_stops_all_that_it_started_and_the_next_cell_works(
    notebook: Notebook, tmp_path: Path
) -> None:
    """In the body of its loop, and while it waits for a result."""
    for forever in (True, False):
        notebook.begin(RUN.format(forever=forever))
        notebook.wait_for(f"has a result, {forever}")
        ours = notebook.children
        assert len(ours) > 2

        error, seconds = notebook.interrupt()

        assert (error, seconds < MOMENT) == ("KeyboardInterrupt", True), seconds
        _, alive = psutil.wait_procs(ours, timeout=120)
        assert not alive
        assert not embedded.status(tmp_path / "state").running
    assert notebook.value_of("result.failed") == "False"


def test_a_wait_that_is_interrupted_ends_and_the_job_goes_on(notebook: Notebook) -> None:
    notebook.begin("import maskmill")
    assert notebook.end()[0] == ""
    for cell, said in ((WAIT, "waits\n"), (WAIT_ASYNC, "waits asleep\n")):
        notebook.begin(cell)
        notebook.wait_for(said)
        error, seconds = notebook.interrupt()
        assert (error in ("KeyboardInterrupt", "CancelledError"), seconds < MOMENT) == (True, True), (error, seconds)
        assert notebook.value_of("str(job.status().state)") == "'running'"
