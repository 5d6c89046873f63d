"""Lines that show their columns' types early."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import pytest

from maskmill.schema import MaskRow, Segment, Status
from maskmill_producer.local import typed_lines
from maskmill_producer.local.typed_lines import HEAD, TypedLines, move_to_front

SEGMENT = Segment(id=1, label="ship", label_id=3, area=1, box=(0, 0, 1, 1))


def written(segments: Sequence[int]) -> list[str]:
    """The names of rows with so many segments each, in the order of their lines."""
    file = io.BytesIO()
    lines = TypedLines(file)
    for number, many in enumerate(segments):
        row = MaskRow(
            file_name=str(number), uri="/a.jpg", mask_key="masks/a.png", status=Status.STORED, width=1, height=1,
            segments=(SEGMENT,) * many, scale="", warnings="", fingerprint="f",
        )  # fmt: skip
        lines.add(row.to_line(), shows_types=bool(many))
    lines.end()
    return [json.loads(line)["file_name"] for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("segments", [[], [0], [2, 0, 1], [0] * HEAD, [0] * (HEAD - 1) + [1, 0]])
def test_rows_stay_in_their_order_where_the_first_hundred_show_the_types(segments: list[int]) -> None:
    assert written(segments) == [str(number) for number in range(len(segments))]


def test_else_the_first_one_with_segments_leads() -> None:
    assert written([0] * (HEAD + 1) + [2, 1, 0]) == [str(n) for n in (HEAD + 1, *range(HEAD + 1), HEAD + 2, HEAD + 3)]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(("start", "length"), [(0, 2), (1, 2), (7, 5), (9, 1), (9, 0)])
def test_bytes_move_to_the_front_whatever_the_chunks(
    start: int, length: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typed_lines, "CHUNK_BYTES", chunk)
    text = b"abcdefghijklmnop"
    file = io.BytesIO(text)
    move_to_front(file, start, length)
    moved = text[start : start + length]
    assert file.getvalue() == moved + text[:start] + text[start + length :]
