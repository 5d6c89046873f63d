"""`maskmill score` and `maskmill compare` as a person and as a program use them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from secrets import token_hex
from typing import Any

import click
import pytest
from typer.testing import CliRunner, Result

from maskmill import Client, Job
from maskmill_producer import embedded
from maskmill_producer.cli.main import app
from tests.conftest import environment_of
from tests.exports.scenes import SCENES, Scene, made_job
from tests.scoring import truths
from tests.scoring.test_score import shifted

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def maskmill(client: Client, servers: embedded.Servers) -> Run:
    environment = environment_of(client.settings, servers) | {"COLUMNS": "200"}

    def run(*arguments: object, **changes: str) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments)], env=environment | changes)

    return run


def test_a_person_sees_figures_classes_the_worst_images_and_what_fits_nothing(
    job: Job, maskmill: Run, tmp_path: Path
) -> None:
    truth = truths.panoptic(tmp_path, {**shifted(SCENES), "nowhere.jpg": SCENES["a/small.png"]})
    truth.write_text(truth.read_text().replace('"CAT"', '"[red]pet"'))
    done = maskmill("score", job.id, "--truth", truth, "--worst", 2)
    assert done.exit_code == 0, done.stderr
    scores = job.score(truth, worst=2)
    lines = done.stdout.splitlines()
    row = next(line.split() for line in lines if line.startswith("all"))
    expected = [f"{value:.3f}" for value in (scores.all.pq, scores.all.sq, scores.all.rq) if value is not None]
    assert row == ["all", *expected, str(scores.all.classes)]
    assert f"AP {scores.ap.ap:.3f}" in done.stdout if scores.ap else False
    pet = next(line.split() for line in lines if line.startswith("[red]pet"))
    assert pet[1] == "0.000"
    assert sum("/scored0/" in line or "nowhere.jpg" in line for line in lines) == 2
    assert "all: not in the job" in done.stdout
    for said in (
        "1 image of the truth not in the job count as missed (--only-submitted leaves them out): nowhere.jpg",
        "1 image of the job without truth: ",
        "segments whose label is no class of the truth count for nothing: cat 13",
        "classes that the job has no label for are missed: [red]pet",
    ):
        assert said in done.stderr


def test_a_program_gets_one_document(job: Job, maskmill: Run, tmp_path: Path) -> None:
    truth, rows = truths.panoptic(tmp_path, SCENES), tmp_path / "rows.jsonl"
    done = maskmill("score", job.id, "--truth", truth, "--json", "--no-ap", "--out", rows, "--only-submitted")
    assert (done.exit_code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["all"]["pq"], found["kind"], found["no_ap"]) == (1.0, "COCO panoptic", "not asked for")
    assert len(rows.read_text().splitlines()) == len(SCENES)


def test_images_without_a_part_in_it_are_named_and_the_exit_code_says_so(
    job: Job, maskmill: Run, tmp_path: Path
) -> None:
    truth = truths.panoptic(tmp_path, SCENES)
    (tmp_path / "panoptic" / "a_small.png.png").unlink()
    done = maskmill("score", job.id, "--truth", truth)
    assert done.exit_code == 4
    assert "a/small.png: " in done.stderr
    assert "is missing" in done.stderr


def test_where_no_images_are_asked_for_none_are_promised(job: Job, maskmill: Run, tmp_path: Path) -> None:
    truth = truths.panoptic(tmp_path, {**SCENES, "nowhere.jpg": SCENES["a/small.png"]})
    done = maskmill("score", job.id, "--truth", truth, "--worst", 0)
    assert "1 image of the truth not in the job count as missed (--only-submitted leaves them out)\n" in done.stderr


def test_without_the_extra_there_is_no_ap_and_it_is_said(
    job: Job, maskmill: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmill.scoring.score.find_spec", lambda _name: None)
    done = maskmill("score", job.id, "--truth", truths.panoptic(tmp_path, SCENES))
    assert done.exit_code == 0
    assert "no AP: it needs pycocotools: pip install 'maskmill[score]'" in done.stderr


def test_a_comparison_for_a_person_and_for_a_program(client: Client, maskmill: Run, tmp_path: Path) -> None:
    root, place = (tmp_path / "images").resolve(), f"{client.settings.out}/{token_hex(4)}"
    scenes = {name: SCENES[name] for name in ("a/small.png", "a/whole.jpg")}
    before = made_job(client, root, scenes, out=f"{place}/a")
    after = made_job(client, root, {**scenes, "a/small.png": Scene(scenes["a/small.png"].ids, {1: (0, 0.9)})},
                     out=f"{place}/b")  # fmt: skip
    done = maskmill("compare", before.id, after.id)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "1 of 2 images differ"), done.stderr
    assert "a/small.png" in done.stdout
    assert "1 image without a mask in one of the jobs or both" in done.stderr
    found = json.loads(maskmill("compare", before.id, after.id, "--json").stdout)
    assert found["most_changed"][0]["only_in_a"] == {"car": 1}


def test_scores_and_changes_are_shown_in_the_jobs_report(job: Job, maskmill: Run, tmp_path: Path) -> None:
    truth, folder = truths.panoptic(tmp_path, {**shifted(SCENES), "nowhere.jpg": SCENES["a/small.png"]}), tmp_path / "r"
    none = maskmill("score", job.id, "--truth", truth, "--report", folder)
    assert (none.exit_code, none.stdout) == (2, "")
    assert f"maskmill report {job.id} --out {folder}" in none.stderr

    assert maskmill("report", job.id, "--out", folder, "--gallery", 0).exit_code == 0
    assert maskmill("score", job.id, "--truth", truth, "--report", folder).exit_code == 0
    assert maskmill("compare", job.id, job.id, "--report", folder).exit_code == 0
    score, change = (shown(folder / "data" / name) for name in ("score.js", "compare.js"))
    scores = job.score(truth)
    assert score["title"] == "Against panoptic.json"
    assert (score["numbers"]["PQ"], len(score["classes"])) == (scores.all.pq, len(scores.classes))
    assert [each["image"] for each in score["worst"]] == [
        each.number for each in scores.worst if each.number is not None
    ]
    assert score["worst"][0]["note"] == "missed: PERSON, CAR"
    assert any("nowhere.jpg" in note for note in score["notes"])
    assert (change["notes"][0], change["differing"]) == (f"0 of {len(SCENES)} images differ", [])
    assert 0 < change["classes"][0]["share_now"] < 1

    other = maskmill("score", "20200101-000000-00000000", "--truth", truth, "--report", folder)
    assert "holds no report of job 20200101-000000-00000000" in other.stderr


def shown(script: Path) -> dict[str, Any]:
    """What a script gives the page: the JSON in it."""
    text = script.read_text()
    found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return found


def test_a_folder_of_results_is_scored_and_compared_without_servers(job: Job, maskmill: Run, tmp_path: Path) -> None:
    folder, truth = tmp_path / "masks", truths.panoptic(tmp_path, shifted(SCENES))
    assert maskmill("results", job.id, "--download", folder).exit_code == 0
    away = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1", "MASKMILL_BROKER_URL": "redis://127.0.0.1:1/0"}
    done = maskmill("score", folder, "--truth", truth, "--json", **away)
    assert done.exit_code == 0, done.stderr
    scores = job.score(truth)
    assert json.loads(done.stdout)["all"] == scores.all.model_dump()
    assert json.loads(done.stdout)["images"]["scored"] == scores.images.scored
    same = maskmill("compare", folder, folder, **away)
    assert same.stdout.startswith(f"0 of {len(SCENES)} images differ")
    assert maskmill("compare", folder, job.id, "--json").exit_code == 0
    assert maskmill("score", tmp_path, "--truth", truth, **away).stderr.startswith(f"error: {tmp_path} has no results")


def test_scores_of_a_folder_are_shown_in_its_report_at_the_right_images(
    job: Job, maskmill: Run, tmp_path: Path
) -> None:
    folder, truth = tmp_path / "masks", truths.panoptic(tmp_path, shifted(SCENES))
    assert maskmill("results", job.id, "--download", folder).exit_code == 0
    lines = (folder / "metadata.jsonl").read_text().splitlines()
    (folder / "metadata.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    none = maskmill("score", folder, "--truth", truth, "--report", folder / "report")
    assert (none.exit_code, f"maskmill report {folder} --out {folder / 'report'}" in none.stderr) == (2, True)
    by_job, by_folder = tmp_path / "by-job", folder / "report"
    assert maskmill("report", job.id, "--out", by_job, "--gallery", 0).exit_code == 0
    assert maskmill("report", folder, "--gallery", 0).exit_code == 0
    worst = {Path(each.uri).name: each.pq for each in job.score(truth).worst}
    for report in (by_job, by_folder):  # whose images are in another order
        assert maskmill("score", folder, "--truth", truth, "--report", report).exit_code == 0
        names = [Path(json.loads(row)[0]).name for row in rows(report)]
        assert {names[each["image"]]: each["pq"] for each in shown(report / "data" / "score.js")["worst"]} == worst
        assert maskmill("compare", job.id, folder, "--report", report).exit_code == 0
    assert [Path(json.loads(row)[0]).name for row in rows(by_job)] != names


def rows(report: Path) -> list[str]:
    found: list[str] = json.loads((report / "data" / "c00000.js").read_text().partition(",")[2].rstrip()[:-2])
    return found


def refusals(job: Job, truth: Path) -> Iterable[tuple[tuple[object, ...], int, str]]:
    unknown = "20200101-000000-00000000"
    yield ("score", unknown, "--truth", truth), 2, "no job '20200101-000000-00000000'"
    yield ("score", job.id, "--truth", truth.parent / "nothing.json"), 2, "cannot be read: No such file"
    yield ("score", job.id, "--truth", truth, "--map-labels", "no.json"), 2, "--map-labels no.json: No such file"
    yield ("score", job.id, "--truth", truth, "--labels", "carr"), 2, "did you mean 'car'?"
    yield ("compare", job.id, unknown), 2, "no job"
    yield ("compare", job.id, unknown, "--from", "s3://maskmill/a", "--from", "s3://maskmill/b"), 2, "s3://maskmill/b"


@pytest.mark.parametrize("as_json", [False, True])
def test_what_cannot_be_is_one_line(job: Job, maskmill: Run, tmp_path: Path, *, as_json: bool) -> None:
    for arguments, code, says in refusals(job, truths.panoptic(tmp_path, SCENES)):
        done = maskmill(*arguments, *(["--json"] if as_json else []))
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.output
        line = json.loads(done.stderr)["reason"] if as_json else done.stderr
        assert says in line


def test_a_store_that_is_gone_is_said(job: Job, maskmill: Run, tmp_path: Path) -> None:
    truth = truths.panoptic(tmp_path, SCENES)
    done = maskmill("score", job.id, "--truth", truth, AWS_ENDPOINT_URL_S3="http://127.0.0.1:1")
    assert (done.exit_code, done.stderr.count("\n")) == (5, 1), done.output


@pytest.mark.parametrize("command", ["score", "compare"])
def test_help_teaches_with_an_example(command: str, maskmill: Run) -> None:
    done = maskmill(command, "--help")
    assert f"maskmill {command} 20261122-205301-9f86d081" in click.unstyle(done.stdout)
