"""A job that has ended, or ends meanwhile, as a Python program reads it: tables, waits, short texts."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import weakref
from typing import Any

import numpy as np
import pandas as pd
import pytest

from maskmill import Client, Job
from maskmill.errors import UsageError
from maskmill.schema import Outcome, Segment, Status
from maskmill.tables import to_arrow
from tests.integration.finished_jobs import SEGMENTS, finish, finished_job, submitted_job


@pytest.fixture
def ended(client: Client) -> Job:
    return finished_job(client, ["a", "b", "c"], failed=["b"])


def test_a_table_has_a_row_for_each_image_also_for_one_that_failed(ended: Job) -> None:
    table = ended.to_arrow()
    rows = {row["uri"]: row for row in table.to_pylist()}
    assert [row["status"] for row in rows.values()] == ["stored", "failed", "stored"]
    good, bad = rows["/photos/a.jpg"], rows["/photos/b.jpg"]
    assert (good["mask"], good["width"], good["height"]) == (f"{ended.out}/masks/file/photos/a.jpg.png", 6, 4)
    [segment] = good["segments"]
    assert (segment["label"], segment["label_id"], segment["area"]) == ("thing", 3, SEGMENTS[0].area)
    assert [segment[f"box_{name}"] for name in ("x", "y", "width", "height")] == [0, 0, 6, 1]
    assert (bad["code"], bad["reason"], bad["mask"], bad["segments"]) == ("not_found", "b is gone", None, None)
    assert {row["input"] for row in rows.values()} == {None}


def test_or_a_row_for_each_segment(ended: Job) -> None:
    frame = ended.to_pandas("segments")
    assert frame["uri"].tolist() == ["/photos/a.jpg", "/photos/c.jpg"]
    assert frame.groupby("label")["area"].sum().to_dict() == {"thing": 12}
    assert (frame["input"].dtype, frame["input"].isna().all()) == (pd.Int64Dtype(), True)


def test_a_table_of_a_job_that_has_no_outcome_yet_is_empty(client: Client) -> None:
    assert submitted_job(client, ["a"]).to_arrow().num_rows == 0


def test_odd_labels_and_segments_without_score_fit_into_a_table() -> None:
    segments = tuple(
        Segment(id=n + 1, label=label, label_id=n, score=None, area=1, box=(0, 0, 1, 1))
        for n, label in enumerate((17, None, 2.5))
    )
    outcome = Outcome(uri="https://me:secret@host/a.jpg?sig=1", status=Status.REUSED, mask_key="masks/a.png")  # type: ignore[arg-type]
    outcome = outcome.model_copy(update={"segments": segments})
    table = to_arrow("s3://b", [[(outcome, None)], []], "segments")
    assert table["label"].to_pylist() == ["17", None, "2.5"]
    assert table["score"].to_pylist() == [None] * 3
    assert set(table["uri"].to_pylist()) == {"https://host/a.jpg"}


def test_other_rows_and_missing_libraries_are_said_with_the_cure(ended: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="'images' and 'segments', not 'masks'"):
        ended.to_arrow("masks")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'maskmill\[pandas\]'"):
        ended.to_pandas()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pip install pyarrow"):
        ended.to_arrow()


def test_a_coroutine_waits_while_its_loop_goes_on(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    job = submitted_job(client, ["a"])
    status, asked, main = Job.status, threading.Event(), threading.get_ident()

    def slow(self: Job) -> Any:
        assert threading.get_ident() != main
        asked.set()
        time.sleep(0.2)
        return status(self)

    async def wait() -> tuple[Any, int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1
                if ticks == 10:
                    await asyncio.to_thread(finish, client, job)

        ticking = asyncio.create_task(tick())
        manifest = await job.wait_async(timeout=60)
        ticking.cancel()
        return manifest, ticks

    monkeypatch.setattr(Job, "status", slow)
    manifest, ticks = asyncio.run(wait())
    assert asked.is_set()
    assert ticks >= 10
    assert manifest.counts.stored == 1


@pytest.mark.parametrize("kind", ["wait", "wait_async"])
def test_who_waits_too_long_is_told_and_the_job_goes_on(client: Client, kind: str) -> None:
    job = submitted_job(client, ["a"])
    with pytest.raises(TimeoutError, match="still runs"):
        asyncio.run(job.wait_async(timeout=0.1)) if kind == "wait_async" else job.wait(timeout=0.1)
    assert not job.status().finished


def test_a_wait_with_a_bar_shows_the_end(ended: Job, capsys: pytest.CaptureFixture[str]) -> None:
    ended.wait(on_status=lambda _: None)
    assert capsys.readouterr().err == ""
    ended.wait(progress=True)
    assert "3 of 3 images, 1 failed" in capsys.readouterr().err


def test_a_job_and_a_result_are_short_texts(ended: Job) -> None:
    assert repr(ended) == f"Job(id='{ended.id}', out='{ended.out}')"
    first = next(ended.results())
    assert repr(first) == "Result('/photos/a.jpg', 1 segment: thing)"
    shown = first._repr_html_()
    assert "<td>thing</td><td>0.750</td><td>6</td>" in shown
    assert (first.failed, first.code, first.reason) == (False, None, None)
    assert np.array_equal(first.fetched().segment_map, first.segment_map)


def test_foreign_texts_are_no_markup_in_a_notebook(ended: Job) -> None:
    result = next(ended.results())
    bad = Segment(id=1, label="<b>\x1b[2J</b>", label_id=0, score=None, area=1, box=(0, 0, 1, 1))
    update = {"segments": (bad,), "uri": type(result.uri)("/photos/<i>.jpg")}
    odd = type(result)(result.outcome.model_copy(update=update), result.store)
    assert "<b>" not in odd._repr_html_()
    assert "<i>" not in odd._repr_html_()
    assert "\x1b" not in repr(odd)


class Shard(list[Any]):
    """A list that can be counted while it lives."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def test_a_table_is_made_a_shard_at_a_time() -> None:
    alive, most = weakref.WeakSet[Any](), 0

    def shards() -> Any:
        nonlocal most
        for _ in range(50):
            shard = Shard([(Outcome(uri="/a.jpg", status=Status.CANCELLED), None)])  # type: ignore[arg-type]
            alive.add(shard)
            most = max(most, len(alive))
            yield shard

    assert to_arrow("s3://b", shards(), "images").num_rows == 50
    assert most <= 3
