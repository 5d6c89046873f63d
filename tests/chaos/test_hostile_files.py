"""Thousands of hostile files in one job: each ends with the right code, and no process with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill import Client
from tests.chaos.account import check_account
from tests.chaos.form import LONG, record
from tests.chaos.hostile_files import files
from tests.conftest import StartWorker

WAIT_SECONDS = 1800 if LONG else 240


@pytest.mark.slow
@pytest.mark.timeout(WAIT_SECONDS)
def test_every_hostile_file_ends_with_its_code_and_nothing_else(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    folder, allowed = tmp_path / "hostile", {}
    folder.mkdir()
    for hostile in files(every_percent=1, flips=120) if LONG else files(every_percent=11, flips=10):
        (folder / hostile.name).write_bytes(hostile.data)
        allowed[str(folder / hostile.name)] = hostile.allowed
    names = tmp_path / "list.txt"  # a folder would leave out what is not called like an image
    names.write_text("\n".join(allowed))
    assert len(allowed) >= (2000 if LONG else 200)
    worker = start_worker()

    job = client.submit(str(names), model="demo")
    job.wait(timeout=WAIT_SECONDS)

    account = check_account(job, list(allowed))
    record(account.row("hostile files", len(allowed)))
    ends = {outcome.uri: outcome.code or outcome.status.value for outcome in job.outcomes()}
    wrong = {Path(uri).name: end for uri, end in ends.items() if end not in allowed[uri]}
    assert not wrong
    assert account.lost == account.duplicated == 0
    assert "loader_died" not in worker.log.read_text()
    assert worker.process.poll() is None
