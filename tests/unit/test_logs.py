"""One form for every line, ours or not, and no more than a line a second of any state."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
import structlog

from maskmill.logs import BURST, FOREIGN_BURST, RateLimit, configure_logs


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers, show, hook = logging.getLogger().handlers[:], warnings.showwarning, sys.excepthook
    yield
    logging.getLogger().handlers[:] = handlers
    warnings.showwarning, sys.excepthook = show, hook
    structlog.reset_defaults()


def test_every_line_is_json_whoever_writes_it(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(json=True)
    structlog.get_logger().warning("ours", reason="one\ntwo")
    logging.getLogger("celery.worker").error("Cannot connect to %s.\nTrying again in %s seconds", "redis", 2)
    logging.getLogger("other").warning("%d", "no number")
    gone = ConnectionResetError("gone")
    logging.getLogger("celery.worker").warning("lost", exc_info=gone)
    logging.getLogger("celery.worker").critical("Unrecoverable", exc_info=gone)
    warnings.warn("on two\nlines", RuntimeWarning, stacklevel=1)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["ours", "log", "log", "log", "log", "python_warning"]
    assert lines[1]["message"] == "Cannot connect to redis. Trying again in 2 seconds"
    assert lines[3]["reason"] == "ConnectionResetError: gone"
    assert "exception" not in lines[3]
    assert lines[4]["exception"]


def test_a_lost_connection_is_one_line_for_a_person_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(json=False)
    said = "consumer: Connection to broker lost.\n"
    logging.getLogger("celery.worker").warning(said, exc_info=ConnectionResetError("gone"))
    [line] = capsys.readouterr().err.splitlines()
    assert "ConnectionResetError: gone" in line


@pytest.mark.parametrize("where", ["raise ValueError('why')", "t = threading.Thread(target=int, args='x'); t.start()"])
def test_what_nobody_caught_is_json_too(where: str) -> None:
    program = f"import threading; from maskmill.logs import configure_logs; configure_logs(json=True); {where}"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    [line] = [json.loads(line) for line in said.stderr.splitlines()]
    assert line["event"] == "uncaught"
    assert "ValueError" in line["reason"]
    assert "Traceback" in line["traceback"]


@pytest.mark.parametrize(("event", "burst", "seconds"), [("shard_given_back", BURST, 5), ("log", FOREIGN_BURST, 10)])
def test_a_state_writes_a_burst_and_then_a_line_now_and_then_that_says_how_many_more(
    event: str, burst: int, seconds: int
) -> None:
    now, written = [0.0], list[dict[str, object]]()
    pace = RateLimit(lambda: now[0])
    for step in range(100_000):
        now[0] = step / 1000
        try:
            written.append(dict(pace(None, "warning", {"event": event, "logger": "celery"})))
        except structlog.DropEvent:
            continue
    assert len(written) == pytest.approx(burst + 100 / seconds, abs=2)
    told = sum(int(str(line.get("more", 0))) for line in written)
    assert told + len(written) == pytest.approx(100_000, abs=1000 * seconds + 1)


def test_a_loud_library_is_paced(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(json=True)
    for _ in range(1000):
        logging.getLogger("celery.worker").error("Cannot connect")
        structlog.get_logger().warning("shards_not_processed")
    lines = capsys.readouterr().err.splitlines()
    assert FOREIGN_BURST + BURST <= len(lines) <= FOREIGN_BURST + BURST + 5


def test_neither_progress_nor_another_state_is_held_back_by_a_loud_one() -> None:
    pace = RateLimit(lambda: 0.0)
    for _ in range(BURST):
        pace(None, "error", {"event": "loud"})
    with pytest.raises(structlog.DropEvent):
        pace(None, "error", {"event": "loud"})
    assert pace(None, "error", {"event": "another"}) == {"event": "another"}
    for _ in range(1000):
        assert pace(None, "info", {"event": "shard_committed"})


# What is shown of an error

SECRET = "https://me:pass-word@host/a.jpg"


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


QUIET = """
import structlog
from maskmill import Client
from maskmill.events import Events, JobEnded

log = structlog.get_logger()
CONFIGURED
client = Client()
client.services.events.emit(JobEnded("J", "completed"))
log.warning("loud")
"""


@pytest.mark.parametrize(("configured", "where"), [("", "stderr"), ("structlog.configure()", "stdout")])
def test_a_program_of_the_user_hears_of_warnings_alone_unless_it_says_otherwise(configured: str, where: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", QUIET.replace("CONFIGURED", configured)], capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr
    assert "loud" in getattr(result, where)
    assert ("job_ended" in result.stdout) == bool(configured)
    assert bool(result.stdout) == bool(configured)
