"""Thousands of hostile files in one job: each ends with the right code, and no process with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill import Client
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.chaos.hostile_files import KINDS, files, sample
from tests.conftest import StartWorker

WAIT_SECONDS = 1800 if LONG else 600
OURS = {"error", "image_error", "crashed", "overdue", "worker_error", "worker_crashed", "loader_died"}
"""Codes that would tell of a fault of ours, whatever the file."""


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_every_hostile_file_ends_with_its_code_and_nothing_else(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    hostile_files = files(flips=120) if LONG else sample(300)
    assert len(hostile_files) >= (2000 if LONG else 300)
    assert {hostile.kind for hostile in hostile_files} == KINDS
    assert not any(hostile.allowed & OURS for hostile in hostile_files)
    folder = tmp_path / "hostile"
    folder.mkdir()
    for hostile in hostile_files:
        (folder / hostile.name).write_bytes(hostile.data)
    allowed = {str(folder / hostile.name): hostile.allowed for hostile in hostile_files}
    names = tmp_path / "list.txt"  # a folder would leave out what is not called like an image
    names.write_text("\n".join(allowed))
    worker = start_worker()

    job = client.submit(str(names), model="demo")
    job.wait(timeout=WAIT_SECONDS)

    account = check_account(job, list(allowed))
    record(account.row("hostile files", len(allowed)))
    ends = {outcome.uri: outcome.code or outcome.status.value for outcome in job.outcomes()}
    reasons = {outcome.uri: outcome.reason for outcome in job.failures()}
    wrong = {Path(uri).name: (end, reasons.get(uri)) for uri, end in ends.items() if end not in allowed[uri]}
    assert not wrong
    assert account.lost == account.duplicated == 0
    assert all(reasons.values()), "each failure says why"
    log = worker.log.read_text()
    assert "loader_died" not in log
    assert "WorkerLostError" not in log
    assert worker.process.poll() is None
