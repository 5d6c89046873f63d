from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from maskmill.models.doubt import Doubt
from maskmill.models.files import SpecFiles
from maskmill.schema import Spec


def test_a_model_that_is_there_is_not_doubted_and_one_that_is_not_is(tmp_path: Path) -> None:
    assert Doubt(Spec(model="demo")).reason(600) is None
    assert "gone" in (Doubt(Spec(model=str(tmp_path / "gone"))).reason(600) or "")


def test_nobody_waits_for_a_hub_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = threading.Event()
    monkeypatch.setattr(SpecFiles, "find", lambda *_: silent.wait(600))
    started = time.monotonic()

    assert Doubt(Spec(model="demo")).reason(0.1) is None

    assert time.monotonic() - started < 60
    silent.set()
