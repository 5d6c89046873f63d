"""`maskmill report` of real jobs: from the store, after a retry, cancelled, from a folder of results; and refused."""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from maskmill import Client
from maskmill.errors import StoreUnavailable, UsageError
from maskmill.jobs.cancel import cancel_job
from maskmill_producer import embedded
from maskmill_producer.cli.main import app
from maskmill_producer.local.mirror import mirror
from maskmill_producer.local.page import OfFolder, OfJob
from maskmill_producer.local.run import report_beside
from maskmill_producer.report.page.report import Written, write_report
from tests.conftest import settings_of
from tests.integration.finished_jobs import SIZE, finish, finished_job, mask_png, submitted_job
from tests.serving import serving
from tests.unit.test_report_data import index

NAMES = ["a", "b", "c", "d"]


@pytest.fixture
def images(tmp_path: Path) -> str:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        Image.new("RGB", SIZE, (90, 90, 90)).save(folder / f"{name}.jpg")
    return str(folder)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report"


def rows(report: Path) -> list[list[Any]]:
    text = (report / "data" / "c00000.js").read_text().partition(",")[2].rstrip().removesuffix(");")
    return [json.loads(each) for each in json.loads(text)]


def pictures(report: Path) -> bytes:
    return base64.b64decode(index(report)["columns"]["picture"])


def test_a_job_is_shown_in_the_order_of_submission_with_pictures_and_failures(
    client: Client, images: str, report: Path
) -> None:
    job = finished_job(client, NAMES, failed=["b"], images=images)
    written = write_report(OfJob(job), report)
    assert (written.images, written.pictures, written.unreadable) == (4, 3, 0)
    assert [Path(row[0]).stem for row in rows(report)] == NAMES
    assert rows(report)[0][3].startswith("masks/")
    assert rows(report)[1][4] == ["b is gone"]
    assert pictures(report) == bytes([1, 0, 1, 1])
    found = index(report)
    assert found["account"]["counts"] == {"stored": 3, "reused": 0, "failed": 1, "cancelled": 0}
    assert found["command"].startswith("maskmill submit ")
    with Image.open(report / "pictures" / "00000" / "000000.jpg") as picture:
        assert picture.size == SIZE


def test_after_a_retry_the_last_outcomes_are_shown(client: Client, images: str, report: Path) -> None:
    job = finished_job(client, NAMES, failed=["b"], images=images)
    job.retry()
    finish(client, job)
    assert write_report(OfJob(job), report).pictures == 4
    assert index(report)["account"]["counts"]["stored"] == 4


def test_a_cancelled_job_shows_what_nobody_began(client: Client, images: str, report: Path) -> None:
    job = submitted_job(client, NAMES, images=images)
    with pytest.raises(UsageError, match="has not ended"):
        OfJob(job)
    cancel_job(client.services, job.id, job.out)
    job.wait(60)
    assert write_report(OfJob(job), report).images == 4
    assert base64.b64decode(index(report)["columns"]["status"]) == bytes([3] * 4)
    assert index(report)["classes"] == []


def test_a_mask_of_another_job_and_an_image_that_has_changed_are_named(
    client: Client, images: str, report: Path
) -> None:
    job = finished_job(client, NAMES, images=images)
    keys = [outcome.mask_key or "" for outcome in job.outcomes()]
    job.store.put(keys[0], mask_png(f"{images}/a.jpg", "0" * 32, "other"))
    Image.new("RGB", (9, 9)).save(Path(images) / "b.jpg")
    written = write_report(OfJob(job), report)
    assert (written.pictures, written.unreadable) == (2, 2)
    assert [each.code for each in written.problems] == ["mask_replaced", "image_changed"]
    assert "maskmill.masks(0, 0, 0, []," in (report / "pictures" / "00000" / "000000.js").read_text()
    assert "maskmill.masks(1, 6, 4, [[1," in (report / "pictures" / "00000" / "000001.js").read_text()


def test_a_store_that_is_gone_ends_the_report_and_leaves_no_page(
    client: Client, images: str, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = OfJob(finished_job(client, NAMES, images=images))

    there = source._job.store.get

    def away(key: str) -> bytes:
        if key.startswith("masks/"):
            raise StoreUnavailable("the store is away")
        return there(key)

    monkeypatch.setattr(source._job.store, "get", away)
    with pytest.raises(StoreUnavailable):
        write_report(source, report)
    assert not (report / "index.html").exists()
    monkeypatch.undo()
    assert write_report(source, report).page.exists()


def test_a_folder_of_results_needs_no_server(client: Client, images: str, tmp_path: Path) -> None:
    job = finished_job(client, NAMES, failed=["b"], images=images)
    mirror(job, tmp_path / "out")
    job.delete(masks=True)
    written = write_report(OfFolder(tmp_path / "out"), tmp_path / "out" / "report")
    assert (written.images, written.pictures) == (4, 3)
    assert [Path(row[0]).stem for row in rows(tmp_path / "out" / "report")] == ["a", "c", "d", "b"]
    assert index(tmp_path / "out" / "report")["times"]["rate"] is None
    (tmp_path / "out" / "metadata.jsonl").unlink()
    with pytest.raises(UsageError, match=r"metadata\.jsonl is gone"):
        write_report(OfFolder(tmp_path / "out"), tmp_path / "out" / "report")
    with pytest.raises(UsageError, match="no results"):
        OfFolder(tmp_path)


def test_a_run_keeps_its_results_where_a_report_has_no_place(client: Client, images: str, tmp_path: Path) -> None:
    job = finished_job(client, NAMES, images=images)
    (tmp_path / "out" / "report").mkdir(parents=True)
    (tmp_path / "out" / "report" / "mine.txt").write_text("mine")
    refused = report_beside(job, tmp_path / "out")
    assert isinstance(refused, UsageError)
    assert "no report of Maskmill" in str(refused)
    written = report_beside(job, tmp_path / "other")
    assert isinstance(written, Written)
    assert index(tmp_path / "other" / "report")["command"].startswith("maskmill run ")


def test_the_command_says_where_the_page_is_and_what_is_wrong_in_one_line(
    client: Client, images: str, tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished_job(client, NAMES, images=images)
    (Path(images) / "b.jpg").unlink()
    monkeypatch.chdir(tmp_path)

    def report(*arguments: object) -> Result:
        return CliRunner().invoke(app, ["report", *map(str, arguments)], env=environment)

    plain, as_json = report(job.id), report(job.id, "--out", "r", "--gallery", 1, "--json")
    assert (plain.exit_code, plain.stdout) == (0, f"report of 4 images, 3 pictures: report-{job.id}/index.html\n")
    assert "b.jpg: no such file" in plain.stderr
    assert json.loads(as_json.stdout) | {"problems": 0} == {
        "report": "r/index.html", "images": 4, "pictures": 1, "unreadable": 0, "problems": 0,
    }  # fmt: skip
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    running = submitted_job(client, ["x"])
    for arguments, said in {
        ("20200101-000000-00000000",): "no job",
        ("nowhere",): "neither a job's id nor a folder",
        (running.id,): "has not ended",
        (job.id, "--out", "full"): "not empty",
    }.items():
        refused = report(*arguments)
        assert refused.exit_code in (2, 5), refused
        assert said in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


class Signed(BaseHTTPRequestHandler):
    """Gives its image to those who know the signature."""

    def do_GET(self) -> None:
        picture = BytesIO()
        Image.new("RGB", SIZE).save(picture, "PNG")
        self.send_response(200 if self.path == "/a.png?X-Amz-Signature=secret5678" else 403)
        self.end_headers()
        self.wfile.write(picture.getvalue())

    def log_message(self, *_: object) -> None:
        """No line a request."""


def test_an_image_is_read_by_its_whole_address_whose_secrets_are_in_no_file(
    servers: embedded.Servers, tmp_path: Path, report: Path
) -> None:
    client = Client(settings_of(servers, allow_private_hosts="127.0.0.1"))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Signed)) as host:
        listed = tmp_path / "list.txt"
        listed.write_text(f"http://127.0.0.1:{host.server_port}/a.png?X-Amz-Signature=secret5678\n")
        job = client.submit(listed, model="demo")
        finish(client, job)
        assert write_report(OfJob(job), report).pictures == 1
    for path in report.rglob("*"):
        assert not path.is_file() or b"secret5678" not in path.read_bytes()
