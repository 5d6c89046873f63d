"""`maskmill.run` and `job.wait` in a notebook: a bar in the cell, and nothing odd beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from maskmill_producer import embedded
from tests.acceptance.images import write_good

CELLS = (
    "import maskmill\nfor result in maskmill.run('photos', model='demo'):\n    print(result.input, result.failed)",
    "job = maskmill.Client().submit(iter(['photos']), model='demo')\njob.wait()\njob",
    "await job.wait_async()\nnext(job.results())",
)


def shown(cell: Any, name: str) -> str:
    """What the cell wrote to a stream, or showed in a format, of this name."""
    of_stream = [output["text"] for output in cell.outputs if output.get("name") == name]
    data = [output.get("data", {}) for output in cell.outputs]
    return "\n".join(of_stream + [each[name] for each in data if name in each])


@pytest.mark.attended
@pytest.mark.slow
def test_a_notebook_shows_bars_and_results_and_nothing_odd(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_good(tmp_path / "photos", 7)
    state = tmp_path / "state"
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment | {"MASKMILL_STATE_DIR": str(state)})

    run, waited, result = notebook.cells
    assert shown(run, "stdout") == "0 False\n" * 7
    for cell in (run, waited):
        bar = shown(cell, "text/html")
        assert re.search(r'<progress value="7" max="7"></progress> 7 of 7 images', bar), bar
        assert bar.count("<progress") == 1
    assert re.search(r"^Job\(id='[-0-9a-f]+', out='s3://", shown(waited, "text/plain"), re.MULTILINE)
    assert "<table>" in shown(result, "text/html")
    assert not [shown(cell, "stderr") for cell in notebook.cells if shown(cell, "stderr")]
    assert not embedded.status(state).running
