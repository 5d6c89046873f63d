"""What an editor and mypy know of `Client.submit`, and what it says to inputs that are no references."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maskmill.client import _names
from maskmill.errors import SourceError
from maskmill.parameters import PipelineParameters
from maskmill.schema import Execution, Spec
from maskmill_producer.cli import options

ROOT = Path(__file__).parents[2]

RIGHT = """
from pathlib import Path
from maskmill import Client

job = Client().submit(Path("photos"), model="demo", threshold=0.5, subtask="panoptic", batch_size="auto")
Client().submit("photos", max_failures=3)
Client().submit(["a.jpg", Path("b.jpg")], dtype=None)
done: int = job.status().counts.stored
"""
WRONG = """
from maskmill import Client

Client().submit("photos", threshold="high")
Client().submit("photos", subtask="depth")
Client().submit("photos", treshold=0.5)
Client().submit(7)
Client().submit("photos").wait().counts.stored.of()
"""


def test_the_typed_parameters_are_those_of_the_records_and_of_the_command_line() -> None:
    names = [*Spec.model_fields, *Execution.model_fields]
    assert list(PipelineParameters.__annotations__) == names
    assert sorted(options.PARAMETERS) == sorted(names)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "lines"), [(RIGHT, []), (WRONG, [4, 5, 6, 7, 8])], ids=["right", "wrong"])
def test_mypy_knows_the_parameters_of_a_job(text: str, lines: list[int], tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-pretty", snippet]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    found = [line for line in result.stdout.splitlines() if ": error:" in line]
    assert [int(line.split(":")[1]) for line in found] == lines, result.stdout


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        ("photos", ["photos"]),
        (Path("photos"), ["photos"]),
        (["a.jpg", Path("b.jpg")], ["a.jpg", "b.jpg"]),
        ((Path("a"),), ["a"]),
    ],
)
def test_sources_are_texts_and_paths(sources: Any, names: list[str]) -> None:
    assert _names(sources) == names


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ([], "no sources"),
        ((), "no sources"),
        (b"\xff\xd8", "not bytes"),
        ([b"\xff\xd8"], "not bytes"),
        (Image.new("RGB", (8, 8)), "not Image"),
        ([Image.new("RGB", (8, 8))], "not Image"),
        (7, "not int"),
        (None, "not NoneType"),
    ],
    ids=["none", "no tuple", "bytes", "a list of bytes", "image", "a list of images", "number", "nothing"],
)
def test_other_inputs_are_refused_in_words(sources: Any, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        _names(sources)
