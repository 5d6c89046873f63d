"""What is seen of a job while somebody waits: bars in terminals of any width, lines in pipes."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from maskmill import terminal
from maskmill.jobs.waiting import of_own_worker
from maskmill.pace import Pace
from maskmill.schema import Counts, JobState, JobStatus, Waiting, WaitingFor
from maskmill.words import duration, rate
from maskmill_producer.cli import display, progress
from maskmill_producer.cli.progress import job_bar

LONG = "the broker cannot be reached (connection refused): set MASKMILL_BROKER_URL to one that runs, or start one"
ODD = "photos [raw]/[/x]"


def status(done: int, **changes: Any) -> JobStatus:
    given = {"job": "20261122-205301-9f86d081", "out": "s3://b/o", "state": JobState.RUNNING, "submitted": 2_000_000}
    return JobStatus(**{**given, "counts": Counts(stored=done), "shards": 9, "shards_done": 1, **changes})


class Screen:
    """A terminal of some width whose last frame can be read."""

    def __init__(self, width: int, encoding: str = "utf-8", **options: Any) -> None:
        self._bytes = io.BytesIO()
        file = io.TextIOWrapper(self._bytes, encoding, write_through=True)
        self.console = Console(file=file, width=width, height=24, markup=False, emoji=False, **options)

    @property
    def text(self) -> str:
        return self._bytes.getvalue().decode()


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Screen:
    screen = Screen(request.param, force_terminal=True, color_system=None)
    monkeypatch.setattr(display, "errors", screen.console)
    return screen


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen(80)
    monkeypatch.setattr(display, "errors", screen.console)
    return screen


@pytest.mark.parametrize("tty", [60, 80], indirect=True)
def test_a_narrow_terminal_shows_counts_rate_time_left_and_the_whole_reason(
    tty: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, *(float(second) for second in range(0, 300, 10))])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with job_bar("segmenting") as show:
        show(status(123_400_000, submitted=200_000_000))
        show(status(123_450_000, submitted=200_000_000))
        show(status(123_456_789, submitted=200_000_000, waiting=Waiting(code=WaitingFor.BROKER, reason=LONG)))
    frame = tty.text
    assert "123,456,789/200,000,000" in frame
    assert "images/s" in frame
    assert "left" in frame
    assert "…" not in frame
    assert LONG in " ".join(frame.replace("\n", " ").split())
    assert all(len(line) <= tty.console.width for line in frame.split("\n") if "\x1b" not in line)


@pytest.mark.parametrize("tty", [60], indirect=True)
def test_foreign_text_is_no_markup_in_a_reason(tty: Screen) -> None:
    with job_bar("segmenting") as show:
        show(status(0, waiting=Waiting(code=WaitingFor.MODEL, reason=f"a worker loads the model {ODD}\x1b[2J")))
    assert f"{ODD}\\x1b[2J" in tty.text


def test_a_pipe_gets_a_line_now_and_then_with_counts_rate_and_time_left(
    pipe: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with job_bar("segmenting") as show:
        for now[0], done in ((0.0, 0), (10.0, 0), (20.0, 20), (29.0, 110), (31.0, 130), (40.0, 200)):
            show(status(done, submitted=200))
        now[0] = 50.0
        show(status(200, submitted=200, state=JobState.COMPLETED))
        now[0] = 60.0  # what comes after the job is not its time
    lines = pipe.text.splitlines()
    assert lines == ["130 of 200 images (65%), 10.0 images/s, 7.0 s left", "200 images in 50 s, 4.0 images/s"]


def test_a_pipe_is_told_why_nothing_happens_once_it_has_lasted(pipe: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    nobody = Waiting(code=WaitingFor.WORKER, reason="no worker is there")
    soon = Waiting(code=WaitingFor.CLAIM, reason="has not begun yet")
    with job_bar("segmenting") as show:
        for now[0], why in ((0.0, nobody), (1.0, nobody), (2.5, nobody), (3.0, nobody), (4.0, soon), (5.0, None)):
            show(status(0, waiting=why))
    assert pipe.text.splitlines() == ["waiting: no worker is there"]


def test_a_command_with_a_worker_of_its_own_asks_nobody_to_start_one(
    pipe: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    nobody = Waiting(code=WaitingFor.WORKER, reason="no worker is there: start one")
    with job_bar("segmenting", own_worker=True) as show:
        for now[0] in (0.0, 3.0):
            show(status(0, waiting=nobody))
    assert pipe.text.splitlines() == ["waiting: the worker starts"]


def test_a_worker_of_one_s_own_loads_its_code_before_it_begins() -> None:
    idle = Waiting(code=WaitingFor.CLAIM, reason="1 worker is there, and has not begun yet")
    assert of_own_worker(status(0, waiting=idle)).waiting == Waiting(code=idle.code, reason="the worker loads its code")


def test_the_end_of_a_job_is_said_before_what_comes_after_it(pipe: Screen) -> None:
    with job_bar("segmenting") as show:
        show(status(0, submitted=5))
        show(status(5, submitted=5, state=JobState.COMPLETED))
        display.remark("copying the masks…")
    assert [line.split()[0] for line in pipe.text.splitlines()] == ["5", "copying"]


def test_who_comes_late_hears_of_what_was_done_meanwhile(pipe: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with job_bar("watched") as show:
        show(status(100, submitted=180))
        now[0] = 20.0
        show(status(179, submitted=180, counts=Counts(stored=150, failed=30), state=JobState.COMPLETED))
    assert pipe.text.splitlines() == ["80 of 180 images in 20 s, 4.0 images/s"]
    with job_bar("watched") as show:
        show(status(180, submitted=180, state=JobState.COMPLETED))
    assert len(pipe.text.splitlines()) == 1, "nothing was done while it was watched"


def test_images_that_are_done_at_once_have_no_rate() -> None:
    pace = Pace()
    for second, done in ((0, 0), (9, 16), (9.1, 18)):
        pace.see(second, done)
    assert (pace.rate, pace.seconds_left(2)) == (0.0, None)


def test_a_pace_begins_with_the_first_image_and_is_that_of_the_last_half_minute() -> None:
    pace = Pace()
    for second, done in ((0, 5), (20, 5), (22, 25), (40, 205), (90, 255)):
        pace.see(second, done)
    assert pace.rate == pytest.approx(1.0)
    assert pace.seconds_left(10) == pytest.approx(10)
    pace.see(95, 100)  # a worker ended, and what it had in hand is counted anew
    assert pace.rate == 0.0
    assert pace.seconds_left(10) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.84, "0.8 s"), (41.2, "41 s"), (59.7, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (98_000, "1 d 3 h")],
)
def test_a_time_has_the_units_that_read_best(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0.02, "0.020"), (4.44, "4.4"), (1240.4, "1,240")])
def test_a_rate_has_the_digits_that_say_something(number: float, text: str) -> None:
    assert rate(number) == f"{text} images/s"


# All jobs


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_width_of_a_terminal_cuts_the_list_of_jobs(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(width, force_terminal=True, color_system=None)
    monkeypatch.setattr(display, "console", screen.console)
    display.print_jobs([status(1_999_999, state=JobState.COMPLETED_WITH_FAILURES, out="s3://bucket/a/long/prefix")])
    for text in ("20261122-205301-9f86d081", "completed with failures", "1,999,999", "s3://bucket/a/long/prefix"):
        assert text in " ".join(screen.text.split())
    assert "…" not in screen.text


def test_a_pipe_has_a_line_for_each_job_however_long(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(80)
    monkeypatch.setattr(display, "console", screen.console)
    out = "s3://bucket/" + "long/" * 40
    display.print_jobs([status(1, out=out), status(2, out=out)])
    assert [out in line for line in screen.text.splitlines()] == [False, True, True]
    assert all(line == line.rstrip() for line in screen.text.splitlines())


@pytest.mark.parametrize(("terminal", "between"), [(True, "  "), (False, "\t")])
def test_fields_are_set_apart_by_what_shows_there(
    terminal: bool, between: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "console", Screen(80, force_terminal=terminal).console)
    display.print_line("a.jpg", "not_found")
    assert capsys.readouterr().out == f"a.jpg{between}not_found\n"


# Streams


@pytest.mark.parametrize(
    ("environment", "is_c"),
    [
        ({}, True),
        ({"LANG": "C"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),  # as Python sets it
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "C.UTF-8"}, False),
        ({"LC_ALL": "C.UTF-8", "LANG": "C"}, False),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "en_US.UTF-8"}, False),
    ],
)
def test_the_language_is_c_where_nobody_says_another(environment: dict[str, str], is_c: bool) -> None:
    assert terminal.language_is_c(environment) is is_c


def test_in_c_our_own_signs_are_ascii_and_no_other_sign_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    written = {name: io.BytesIO() for name in ("stdout", "stderr")}
    streams = {name: io.TextIOWrapper(buffer, "utf-8", write_through=True) for name, buffer in written.items()}
    for name, stream in streams.items():
        monkeypatch.setattr(terminal.sys, name, stream)
    terminal.fit_streams()
    streams["stderr"].write("copying the masks… é")
    streams["stdout"].write("photos/é.jpg\udcff")
    assert written["stderr"].getvalue() == b"copying the masks... \\xe9"
    assert written["stdout"].getvalue().decode() == "photos/é.jpg\\udcff", "a list in a pipe is data"


@pytest.mark.parametrize("program", ["maskmill_producer.entry:main", "maskmill_worker.cli:main"])
@pytest.mark.parametrize("columns", ["60", "80", "110"])
def test_the_help_cuts_no_name_of_an_option(program: str, columns: str) -> None:
    module, _, main = program.partition(":")
    arguments = ["run", "--help"] if main == "main" and "producer" in module else ["--help"]
    code = f"import sys, {module} as m; sys.argv[1:] = {arguments}; m.{main}()"
    environment = {**os.environ, "COLUMNS": columns, "LANG": "C.UTF-8"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert re.search(r"--[a-z-]+…", shown.stdout) is None
    assert "**" not in shown.stdout
    assert ("--overlap-mask-area-threshold" in shown.stdout) or ("--workers-per-device" in shown.stdout)


@pytest.mark.parametrize("arguments", [[], ["servers"]])
def test_narrow_help_cuts_no_description_of_a_command(arguments: list[str]) -> None:
    code = f"import sys, maskmill_producer.entry as m; sys.argv[1:] = {[*arguments, '-h']}; m.main()"
    environment = {**os.environ, "COLUMNS": "60", "LANG": "C.UTF-8"}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "..." not in shown.stdout.partition("Commands:")[2]
    assert shown.stdout.partition("Commands:")[2]
    assert "**" not in shown.stdout
