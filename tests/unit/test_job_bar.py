"""What who waits in Python sees: a bar on a terminal and in a notebook, nothing elsewhere."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from maskmill.job_bar import NotebookBar, in_words, job_bar
from maskmill.pace import Pace
from maskmill.schema import Counts, JobState, JobStatus, Waiting, WaitingFor

NOBODY = Waiting(code=WaitingFor.WORKER, reason="no worker is there")


def status(done: int, *, failed: int = 0, trouble: str | None = None, submitted: int = 18) -> JobStatus:
    return JobStatus(
        job="20261122-205301-9f86d081",
        out="s3://b/o",
        state=JobState.COMPLETED if done == submitted else JobState.RUNNING,
        submitted=submitted,
        counts=Counts(stored=done - failed, failed=failed),
        shards=1,
        shards_done=0,
        trouble=trouble,
    )


class Output:
    """A cell's output as IPython gives it."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def publish(self, bar: Any, *, display_id: bool) -> Output:
        assert display_id
        self.update(bar)
        return self

    def update(self, bar: Any) -> None:
        self.shown.append(bar._repr_html_())


def test_a_notebook_s_bar_is_one_output_that_ends_full() -> None:
    output = Output()
    bar = NotebookBar("<segmenting>", output.publish)
    bar.step("starting & loading")
    for done in range(19):
        bar.show(status(done, failed=done // 9))
    assert "starting &amp; loading" in output.shown[1]
    assert "<segmenting>" not in "".join(output.shown)
    assert len(output.shown) == 3  # it began, took a step, and ended: between them it is drawn a few times a second
    assert 'value="18" max="18"' in output.shown[-1]
    assert repr(bar) == "<segmenting>: 18 of 18 images, 2 failed"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (status(0, submitted=1), "0 of 1 image"),
        (status(7, failed=2), "7 of 18 images, 2 failed"),
        (status(3, trouble="no\x1b[2Jspace"), "3 of 18 images; held up: no?[2Jspace"),
        (status(18, trouble="over"), "18 of 18 images"),
        (status(0).model_copy(update={"waiting": NOBODY}), "0 of 18 images; waiting: no worker is there"),
        (status(0).model_copy(update={"in_hand": Counts(stored=3)}), "3 of 18 images"),
    ],
)
def test_the_words_beside_it(state: JobStatus, words: str) -> None:
    assert in_words(state, Pace()) == words


def test_the_words_have_rate_and_time_left_once_they_are_known() -> None:
    pace = Pace()
    for second, done in ((100, 0), (130, 4), (134, 12)):
        pace.see(second, done)
    assert in_words(status(12), pace) == "12 of 18 images, 2.0 images/s, 3.0 s left"
    assert in_words(status(18), pace) == "18 of 18 images, 2.0 images/s"


def test_where_nobody_looks_there_is_none_unless_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wanted in (None, False):
        with job_bar("segmenting", wanted) as bar:
            bar.step("starting")
            bar.show(status(3))
    assert capsys.readouterr() == ("", "")
    with job_bar("segmenting", True) as bar:
        bar.show(status(3))
    assert "3 of 18 images" in capsys.readouterr().err


def test_a_terminal_shows_one_with_text_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with job_bar("[red]job", None) as bar:
        bar.show(status(3, trouble="[bold]full"))
    assert "[red]job" in screen.getvalue()
    assert "3 of 18 images" in screen.getvalue()
