"""What an editor and mypy know of `Client.submit`, and what counts as its inputs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from maskmill.errors import InvalidSpec, SourceError
from maskmill.images.entries import Numbered, Unlisted
from maskmill.jobs.inputs import MAX_DESCRIBED, Inputs
from maskmill.parameters import PipelineParameters, parse
from maskmill.schema import Execution, Spec
from maskmill.storage.store import Store
from maskmill_producer.cli import options

ROOT = Path(__file__).parents[2]

RIGHT = """
from pathlib import Path
from maskmill import Client

import maskmill
import numpy as np
import torch
from PIL import Image

job = Client().submit(Path("photos"), model="demo", threshold=0.5, subtask="panoptic", batch_size="auto")
Client().submit("photos", max_failures=3)
Client().submit(["a.jpg", Path("b.jpg")], dtype=None)
Client().submit([np.zeros((4, 4)), Image.new("L", (4, 4)), b"png", "a.jpg"], dtype=torch.float16)
done: int = job.status().counts.stored
for result in maskmill.run((Image.open(path) for path in Path().glob("*.jpg")), model="demo", dtype=torch.float16):
    number: int | None = result.input
    ids: np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16]] = result.segment_map
with maskmill.run("a.jpg") as results:
    first: maskmill.Result = next(results)
version: str = maskmill.__version__


async def wait() -> int:
    return (await job.wait_async(timeout=3.0)).counts.stored
"""
WRONG = """
from maskmill import Client
import maskmill
Client().submit("photos", threshold="high")
Client().submit("photos", subtask="depth")
Client().submit("photos", treshold=0.5)
Client().submit(7)
Client().submit("photos").wait().counts.stored.of()
maskmill.run("photos", threshold="high")
maskmill.run("photos", out="masks")
maskmill.run(7)
Client().submit("photos", dtype=7)
"""


def test_the_typed_parameters_are_those_of_the_records_and_of_the_command_line() -> None:
    names = [*Spec.model_fields, *Execution.model_fields]
    assert list(PipelineParameters.__annotations__) == names
    assert sorted(options.PARAMETERS) == sorted(names)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "lines"), [(RIGHT, []), (WRONG, list(range(4, 13)))], ids=["right", "wrong"])
def test_mypy_knows_the_parameters_of_a_job(text: str, lines: list[int], tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-pretty", snippet]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    found = [line for line in result.stdout.splitlines() if ": error:" in line]
    assert [int(line.split(":")[1]) for line in found] == lines, result.stdout


def expand(name: str) -> Iterator[str]:
    yield f"<{name}>"


def read(given: Any) -> tuple[Inputs, list[Any]]:
    """The inputs, and what they give without a store: names alone need none."""
    inputs = Inputs.of(given)
    return inputs, list(inputs.entries(cast("Store", None), "J", expand))


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        ("photos", ["photos"]),
        (Path("photos"), ["photos"]),
        (["a.jpg", Path("b.jpg")], ["a.jpg", "b.jpg"]),
        ((Path("a"),), ["a"]),
    ],
)
def test_a_sequence_of_names_is_one_of_sources(sources: Any, names: list[str]) -> None:
    inputs, entries = read(sources)
    assert entries == [f"<{name}>" for name in names]
    assert list(inputs.described) == [str(Path(name).absolute()) for name in names]
    with pytest.raises(SourceError, match="no such file"):
        inputs.check()


def test_of_any_other_iterable_each_entry_knows_its_input_and_a_wrong_one_costs_itself() -> None:
    _, entries = read(iter(["a.jpg", None, Path("b.jpg"), 7.5, {"image": 1}, np.zeros(3)]))
    names = [each.entry if isinstance(each.entry, str) else each.entry.name for each in entries]
    assert names == ["<a.jpg>", "memory://input/1", "<b.jpg>", *(f"memory://input/{n}" for n in (3, 4, 5))]
    assert [each.input for each in entries] == list(range(6))
    problems = [each.entry.problem for each in entries if isinstance(each.entry, Unlisted)]
    assert [problem.rpartition("not ")[2] for problem in problems[:3]] == ["NoneType", "float", "dict"]
    assert "shape (3,)" in problems[3]


def test_a_source_that_is_missing_costs_itself_in_an_iterable() -> None:
    def refuse(name: str) -> Iterator[str]:
        if name == "gone.jpg":
            raise SourceError("gone.jpg: no such file or folder")
        yield name

    inputs = Inputs.of(each for each in ["a.jpg", "gone.jpg", "b.jpg"])
    inputs.check()
    entries = [each.entry for each in inputs.entries(cast("Store", None), "J", refuse) if isinstance(each, Numbered)]
    assert entries == ["a.jpg", Unlisted(str(Path("gone.jpg").absolute()), "gone.jpg: no such file or folder"), "b.jpg"]


def test_a_stream_is_described_by_its_first_sources_alone() -> None:
    inputs, entries = read(f"{n}.jpg" for n in range(MAX_DESCRIBED + 50))
    assert (len(entries), inputs.count) == (MAX_DESCRIBED + 50, MAX_DESCRIBED + 50)
    assert len(inputs.described) == MAX_DESCRIBED


@pytest.mark.parametrize(
    ("sources", "words"),
    [([], "no sources"), ((), "no sources"), (7, "not int"), (None, "not NoneType"), ({"a.jpg": 1}, "not dict")],
    ids=["none", "no tuple", "number", "nothing", "mapping"],
)
def test_other_inputs_are_refused_in_words(sources: Any, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        Inputs.of(sources)


def test_a_dtype_of_torch_is_one_by_its_name() -> None:
    import torch

    assert parse(dtype=torch.bfloat16) == parse(dtype="bfloat16")
    with pytest.raises(InvalidSpec, match="dtype"):
        parse(dtype=torch.float64)
