"""What a worker's main process does beside Celery's consumer."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from maskmill import Settings
from maskmill.services import Services
from maskmill_worker.main_process import MainProcess
from maskmill_worker.process.health import HeartbeatFile
from maskmill_worker.process.sole_writer import SoleWriter
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
