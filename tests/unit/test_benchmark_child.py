"""What the sides of a benchmark answer, and how their maps are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.a_forward import _map
from benchmarks.child import child
from maskmill.masks.segment_map import MaskHeader, encode
from maskmill.schema import Segment, Subtask


def test_what_went_wrong_in_a_side_is_told_and_the_next_request_answered() -> None:
    with child("stock") as process:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no/such/model"):
                process.ask("load", model="no/such/model", warm_up=None)


@pytest.mark.parametrize(("subtask", "numbers"), [(Subtask.PANOPTIC, (1, 2)), (Subtask.SEMANTIC, (8, 3))])
def test_maps_are_compared_by_the_place_of_a_segment_whatever_its_id(
    tmp_path: Path, subtask: Subtask, numbers: tuple[int, int]
) -> None:
    """Ids of semantic segments are those of labels; the pipeline has no ids, but an order."""
    first, second = numbers
    ids = np.array([[first, first, second], [0, second, first]], np.uint8)
    segments = tuple(Segment(id=n, label="a", label_id=n, score=None, area=2, box=(0, 0, 3, 2)) for n in numbers)
    header = MaskHeader(uri="/a.jpg", fingerprint="f", subtask=subtask, segments=segments)
    (tmp_path / "a.jpg.png").write_bytes(encode(ids, header))
    assert _map(tmp_path, "/somewhere/a.jpg").tolist() == [[1, 1, 2], [0, 2, 1]]
