"""What a worker's main process does beside Celery's consumer."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from maskmill import Settings
from maskmill.services import Services
from maskmill_worker.main_process import MainProcess
from maskmill_worker.process.announce import announced
from maskmill_worker.process.health import HeartbeatFile, State
from maskmill_worker.process.sole_writer import SoleWriter
from tests.conftest import wait_for
from tests.integration.valkey import url, valkey


def test_who_reconciles_says_now_and_then_what_is_wrong_with_the_broker(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmill_worker.main_process.CHECK_SECONDS", 0.0)
    with valkey(tmp_path, "maxmemory-policy allkeys-lru") as port:
        services = Services.connect(settings.model_copy(update={"broker_url": SecretStr(url(port))}))
        elected, other = (
            MainProcess(services, HeartbeatFile(name, settings.queue, tmp_path), lambda: None, SoleWriter(services))
            for name in ("a", "b")
        )
        with capture_logs() as said:
            elected._reconcile()
            other._reconcile()
            elected._reconcile()

    assert [line["event"] for line in said] == ["broker_unfit"] * 2


def test_a_worker_is_there_for_the_ledger_from_its_start_to_its_end(
    services: Services, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskmill_worker.process.announce.ANNOUNCE_SECONDS", 0.05)
    file, ledger = HeartbeatFile("w@host", settings.queue, tmp_path), services.ledger

    def stands() -> tuple[int, int]:
        standing = ledger.standing("any")
        return standing.there, standing.starting

    with announced(ledger, file):
        wait_for(lambda: stands() == (1, 1), stands)
        file.change(State.IDLE)
        wait_for(lambda: stands() == (1, 0), stands)
        monkeypatch.setattr("maskmill_worker.process.announce.draining", lambda: True)
        wait_for(lambda: stands() == (0, 0), stands)
        monkeypatch.setattr("maskmill_worker.process.announce.draining", lambda: False)
        wait_for(lambda: stands() == (1, 0), stands)
    wait_for(lambda: stands() == (0, 0), stands)
    assert ledger.workers() == 0


def test_a_worker_without_a_broker_starts_and_ends_all_the_same(settings: Settings, tmp_path: Path) -> None:
    nobody = Services.connect(settings.model_copy(update={"broker_url": SecretStr("redis://127.0.0.1:9/0")}))
    with announced(nobody.ledger, HeartbeatFile("w@host", settings.queue, tmp_path)):
        pass
