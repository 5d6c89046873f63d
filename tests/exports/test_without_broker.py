"""Results are in the bucket alone: with the job's output prefix they are read while no broker is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskmill import Client
from maskmill_producer import embedded
from maskmill_producer.cli.main import app
from tests.conftest import environment_of, settings_of
from tests.exports.scenes import SCENES, made_job


@pytest.mark.parametrize(
    "command",
    [
        ("export", "JOB", "--format", "semantic", "--out", "OUT", "--from", "PREFIX"),
        ("report", "JOB", "--out", "OUT", "--from", "PREFIX"),
        ("score", "JOB", "--truth", "TRUTH", "--from", "PREFIX"),
        ("compare", "JOB", "JOB", "--from", "s3://maskmill/nowhere", "--from", "PREFIX"),
        ("results", "JOB", "--download", "OUT", "--out", "PREFIX"),
        ("failures", "JOB", "--out", "PREFIX"),
    ],
    ids=lambda command: command[0],
)
def test_with_its_prefix_a_job_s_results_need_no_broker(
    command: tuple[str, ...], servers: embedded.Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(servers)
    (tmp_path / "images").mkdir()
    job = made_job(Client(settings), tmp_path / "images", SCENES)
    job.export("coco-panoptic", tmp_path / "truth", processes=1)
    [truth] = (tmp_path / "truth" / "annotations").glob("*.json")
    for name, value in (environment_of(settings, servers) | {"MASKMILL_BROKER_URL": "redis://127.0.0.1:1/0"}).items():
        monkeypatch.setenv(name, value)
    known = {"JOB": job.id, "OUT": str(tmp_path / "out"), "PREFIX": job.out, "TRUTH": str(truth)}

    done = CliRunner().invoke(app, [known.get(each, each) for each in command])

    assert done.exit_code in (0, 4), done.output
