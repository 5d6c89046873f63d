"""What a report says, before any browser shows it: sums, medians, rates, samples, and what its folder may hold."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import made_jobs
from maskmill.addresses import Address
from maskmill.errors import UsageError, cure_of
from maskmill.masks.segment_map import Mask
from maskmill.schema import DeviceSeconds, Execution, Outcome, Segment, ShardReport, Spec, Status
from maskmill_producer.cli.main import app
from maskmill_producer.report.page.classes import Classes, count_bars, median, score_bars
from maskmill_producer.report.page.facts import command
from maskmill_producer.report.page.pictures import sample
from maskmill_producer.report.page.report import write_report
from maskmill_producer.report.page.scripts import in_script
from maskmill_producer.report.page.source import Numbered
from maskmill_producer.report.page.times import Times
from tests.made_report import Made, made_report


def index(report: Path) -> dict[str, Any]:
    """What `data/index.js` hands to the page."""
    text = (report / "data" / "index.js").read_text()
    found: dict[str, Any] = json.loads(text.removeprefix("maskmill.index(").rstrip().removesuffix(");"))
    return found


def image(*segments: tuple[str, float | None, int], size: tuple[int, int] = (10, 10)) -> Outcome:
    made = (
        Segment(id=number + 1, label=label, label_id=0, score=score, area=area, box=(0, 0, 1, 1))
        for number, (label, score, area) in enumerate(segments)
    )
    width, height = size
    return Outcome(uri=Address("/a.jpg"), status=Status.STORED, width=width, height=height, segments=tuple(made))


def test_classes_are_summed_over_all_images() -> None:
    classes = Classes()
    classes.add(image(("cat", 0.5, 30), ("cat", 0.75, 20)))
    classes.add(image(("cat", 1.0, 50), ("sky", None, 50)))
    classes.add(image())
    found = classes.for_page()
    cat, sky = ([row[0], *row[3:]] for row in found["classes"])
    assert cat == ["cat", 2, 3, round(100 / 300, 6), 0.75]
    assert sky == ["sky", 1, 1, round(50 / 300, 6), None]
    assert (found["masks"], found["nothing"]) == (3, 1)
    assert sum(bar[2] for bar in found["scores"]) == 3
    assert [bar for bar in found["segments"] if bar[2]] == [[0, 0, 1], [2, 2, 2]]
    assert sum(bar[2] for bar in found["areas"]) == 4


def test_a_median_is_the_middle_score() -> None:
    scores = [0] * 1001
    for score in (100, 200, 900):
        scores[score] += 1
    assert median(scores) == 0.2
    assert median([0] * 1001) is None


def test_the_bars_of_scores_hold_each_score_once() -> None:
    bars = score_bars([1] * 1001)
    assert sum(total for *_, total in bars) == 1001
    assert (bars[0][:2], bars[-1][:2]) == ([0, 0.02], [0.98, 1])


def test_counts_of_segments_have_few_bars_and_lose_none() -> None:
    bars = count_bars(Counter({0: 5, 7: 2, 400: 1}))
    assert len(bars) <= 24
    assert sum(total for *_, total in bars) == 8
    assert count_bars(Counter()) == []


def test_images_a_second_add_up_and_begin_when_they_were_begun() -> None:
    times, created = Times(), made_jobs.CREATED
    for second in (60, 90, 120):
        device = DeviceSeconds(busy=20, loading=8, storing=2)
        finished = created + timedelta(seconds=second)
        outcomes = tuple(image() for _ in range(30))
        times.add_report(
            ShardReport(
                job=made_jobs.JOB, shard=0, attempt=1, worker="w", finished=finished, outcomes=outcomes, device=device
            )
        )
    found = times.for_page(created)
    rate = found["rate"]
    width = (rate["to"] - rate["from"]) / len(rate["bars"])
    assert sum(rate["bars"]) * width == pytest.approx(90, rel=1e-3)
    assert set(rate["bars"][:14]) == {0.0}, "nothing was done in the first half minute but one bar of it"
    assert rate["bars"][30] == pytest.approx(1)
    assert found["device"] == {"busy": 60, "loading": 24, "storing": 6}


def numbered(images: int) -> list[Numbered]:
    return [Numbered(number, made_jobs.outcome(number)) for number in range(images) if number % 50 != 7]


def test_a_sample_is_spread_over_the_job_and_holds_the_least_sure_images() -> None:
    images = numbered(500)
    chosen = sample(images, 30, len(images))
    numbers = [number for number, _ in chosen]
    assert len(numbers) == 30
    assert numbers == sorted(set(numbers))
    least = sorted((lowest(each.outcome), each.number) for each in images if each.outcome.segments)
    assert {number for _, number in least[:5]} <= set(numbers)
    assert all(any(start <= number < start + 60 for number in numbers) for start in range(0, 480, 60))


def lowest(outcome: Outcome) -> float:
    return min(each.score or 0 for each in outcome.segments or ())


def test_a_small_job_is_shown_whole_and_no_gallery_shows_nothing() -> None:
    images = numbered(20)
    assert [each.number for each in sample(images, 30, len(images))] == [each.number for each in images]
    assert sample(images, 0, len(images)) == []


def test_a_command_asks_for_the_same_again_in_options_that_there_are() -> None:
    record = made_jobs.record(3, "/my photos").model_copy(
        update={
            "spec": Spec(model="demo", threshold=0.8, allow_missing_weights=True),
            "execution": Execution(batch_size="auto", deterministic=True, max_failures="5%"),
            "limit": 3,
        }
    )
    asked = command(record, "run", "out")
    assert asked == (
        "maskmill run '/my photos' --out out --limit 3 --model demo --threshold 0.8 --allow-missing-weights "
        "--batch-size auto --deterministic --max-failures 5%"
    )
    run = next(each for each in app.registered_commands if each.callback and each.callback.__name__ == "run")
    known = {f"--{name.replace('_', '-')}" for name in run.callback.__signature__.parameters}  # type: ignore[union-attr]
    assert {word for word in asked.split() if word.startswith("--")} <= known
    assert command(record.model_copy(update={"inputs": 3}), "run", "out") is None


def test_the_columns_are_those_of_the_outcomes(tmp_path: Path) -> None:
    made_report(tmp_path / "report", 120, 10)
    columns = index(tmp_path / "report")["columns"]
    outcomes = [made_jobs.outcome(number) for number in range(120)]
    assert base64.b64decode(columns["status"]) == bytes(list(Status).index(each.status) for each in outcomes)
    segments = np.frombuffer(base64.b64decode(columns["segments"]), "<u2")
    assert segments.tolist() == [len(each.segments or ()) for each in outcomes]
    low = np.frombuffer(base64.b64decode(columns["low"]), "<u2") / 65534
    assert all(abs(low[n] - lowest(each)) < 1e-4 for n, each in enumerate(outcomes) if each.segments)
    assert [columns["codes"][each] for each in np.frombuffer(base64.b64decode(columns["code"]), "<u2")] == [
        each.code or (each.warnings[0].code if each.warnings else "") for each in outcomes
    ]
    assert len(list((tmp_path / "report" / "data").glob("c0*.js"))) == 2


def test_failures_come_with_an_example_and_the_cure(tmp_path: Path) -> None:
    made_report(tmp_path / "report", 210, 0)
    found = index(tmp_path / "report")
    assert [(each["code"], each["number"]) for each in found["failures"]] == [
        ("not_found", 3),
        ("timeout", 1),
        ("truncated", 1),
    ]
    assert found["failures"][0]["cure"] == cure_of("not_found")
    assert found["failures"][0]["reason"].endswith("no such file")
    assert found["account"]["counts"] == {"stored": 205, "reused": 0, "failed": 5, "cancelled": 0}


def test_an_image_that_is_gone_is_counted_and_the_first_ones_named(tmp_path: Path) -> None:
    written = made_report(tmp_path / "report", 60, None)
    assert (written.images, written.pictures, written.unreadable) == (60, 52, 6)
    assert [each.code for each in written.problems] == ["not_found"] * 6
    pictures = tmp_path / "report" / "pictures" / "00000"
    assert not (pictures / "000009.jpg").exists()
    assert "no such file" in (pictures / "000009.js").read_text()
    assert len(list(pictures.glob("*.jpg"))) == 52


def test_another_folder_is_refused_and_an_earlier_report_is_replaced_but_not_what_is_not_ours(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty and no report"):
        made_report(other, 3, 0)
    assert [each.name for each in other.iterdir()] == ["thesis.txt"]
    report = tmp_path / "report"
    made_report(report, 150, 150)
    (report / "pictures" / "00000" / "mine.jpg").write_text("mine")
    (report / "notes.txt").write_text("mine")
    made_report(report, 20, 2)
    assert len(list(report.glob("pictures/*/0*.jpg"))) == 2
    assert len(list(report.glob("data/c*.js"))) == 2, "one file of rows, and an empty comparison"
    assert (report / "pictures" / "00000" / "mine.jpg").exists()
    assert (report / "notes.txt").exists()


def test_there_is_no_page_until_all_is_written(tmp_path: Path) -> None:
    report = tmp_path / "report"
    made_report(report, 3, 0)
    source = Made(3)
    source.parts = lambda: iter([1 / 0])  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(ZeroDivisionError):
        write_report(source, report)
    assert not (report / "index.html").exists()
    made_report(report, 3, 0)
    assert json.loads((report / "report.json").read_text()) == {
        "job": made_jobs.JOB, "images": 3, "pictures": 0, "unreadable": 0, "complete": True,
    }  # fmt: skip


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to"):
        made_report(tmp_path / "file", 3, 0)


def test_a_segment_too_small_for_the_picture_keeps_a_pixel(tmp_path: Path) -> None:
    source = Made(1, width=4000, height=3000)
    ids = np.zeros((3000, 4000), np.uint8)
    ids[1501, 2003] = 1
    segment = Segment(id=1, label="dot", label_id=0, score=0.5, area=1, box=(2003, 1501, 1, 1))
    source.mask = lambda outcome: Mask(ids, None)  # type: ignore[method-assign,assignment,return-value]
    source._changes["segments"] = (segment,)
    write_report(source, tmp_path / "report")
    text = (tmp_path / "report" / "pictures" / "00000" / "000000.js").read_text()
    assert '[[1,"' in text


def test_what_a_script_holds_ends_no_script() -> None:
    assert in_script("</script>\u2028\udc80&") == '"\\u003c/script\\u003e\\u2028\\udc80\\u0026"'
    assert json.loads(in_script({"a": "<b>"})) == {"a": "<b>"}
