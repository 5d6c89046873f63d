"""One made job for all formats, in real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from maskmill import Client, Job
from maskmill_producer import embedded
from tests.conftest import settings_of
from tests.exports.scenes import made_job


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the job's images lie in."""
    return tmp_path_factory.mktemp("images").resolve()


@pytest.fixture(scope="session")
def job(servers: embedded.Servers, images: Path) -> Job:
    """The made job, in two shards."""
    return made_job(Client(settings_of(servers, shard_size=5)), images)
