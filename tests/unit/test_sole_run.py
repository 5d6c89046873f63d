from __future__ import annotations

from pathlib import Path

import pytest

from maskmill.errors import UsageError
from maskmill_producer.local.sole_run import sole_run


def test_a_folder_is_for_one_run_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with sole_run(out) as let_go:
        with (
            pytest.raises(UsageError, match=r"another maskmill is writing.*wait for it, or name another"),
            sole_run(out),
        ):
            pass
        let_go()
        with sole_run(out):  # the first one copies its masks now, under the folder's own lock
            pass
    assert list(out.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"cannot be written.*name another folder"),
        sole_run(tmp_path / "file" / "out"),
    ):
        pass
