"""What the log shows of an error: where it happened, and the value of no variable."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from maskmill.logs import configure_logs

SECRET = "https://me:pass-word@host/a.jpg"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_variable(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(whole: str) -> None:
        raise RuntimeError("it broke")

    configure_logs(as_json)
    try:
        fail(SECRET)
    except RuntimeError:
        structlog.get_logger().error("failed", exc_info=True)
    shown = capsys.readouterr().err
    assert "it broke" in shown
    assert "in fail" in shown or '"name": "fail"' in shown
    assert "pass-word" not in shown
    if as_json:
        assert json.loads(shown)["event"] == "failed"
