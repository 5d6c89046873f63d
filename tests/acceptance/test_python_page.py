"""docs/python.md as a notebook: each snippet is a cell, with real servers and workers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from maskmill_producer import embedded
from tests.acceptance.images import write_good

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def text_of(cell: Any, *names: str) -> str:
    """What the cell wrote to a stream, or showed in one of these formats."""
    found = [output["text"] for output in cell.outputs if output.get("name") in names]
    data = [output.get("data", {}) for output in cell.outputs]
    return "".join(found + [each[name] for each in data for name in names if name in each])


@pytest.mark.attended
@pytest.mark.slow
def test_each_snippet_runs_in_a_notebook_with_a_bar_and_nothing_odd(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat, dog, *_ = (path.rename(tmp_path / path.name) for path in write_good(tmp_path / "photos", 10)[:2])
    cat.rename(tmp_path / "cat.jpg")
    dog.rename(tmp_path / "dog.png")
    cells = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    state = tmp_path / "state"
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute(
        env=environment | {"MASKMILL_STATE_DIR": str(state)}
    )

    folder, several, fleet, coroutine, tables, small = notebook.cells
    assert len(text_of(folder, "stdout").splitlines()) == 8
    lines = text_of(several, "stdout").splitlines()
    assert [line.split()[0] for line in lines] == list("012345")
    assert lines[5].startswith("5 unlisted an input is a path")
    assert len({line.partition(" ")[2] for line in (lines[0], *lines[2:5])}) == 1
    for cell, number in ((folder, 8), (several, 6), (fleet, None)):
        bar = text_of(cell, "text/html")
        assert bar.count("<progress") == 1
        assert number is None or f"{number} of {number} images" in bar
        assert re.search(r'value="(\d+)" max="\1"', bar)
    assert [line.split()[0] for line in text_of(fleet, "stdout").splitlines()] == ["0", "1", "2", "3"]
    assert "label" in text_of(tables, "text/plain")
    assert re.search(r"Job\(id='[-0-9a-f]+', out='s3://", text_of(small, "text/plain"))
    assert not [cell for cell in notebook.cells if text_of(cell, "stderr")]
    assert coroutine.execution_count
    assert not embedded.status(state).running
