"""One made job for all scores, in real servers."""

from __future__ import annotations

import pytest

from maskmill import Client, Job
from maskmill_producer import embedded
from tests.conftest import settings_of
from tests.exports.scenes import made_job


@pytest.fixture(scope="session")
def client(servers: embedded.Servers) -> Client:
    return Client(settings_of(servers, shard_size=5))


@pytest.fixture(scope="session")
def job(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The made job, in two shards; one of its images failed."""
    return made_job(client, tmp_path_factory.mktemp("scored").resolve())
