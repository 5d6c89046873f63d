"""Real jobs against the stock pipeline at batch size 1: labels, scores to 1e-4, masks on 99.9 % of the pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maskmill import Client
from maskmill_producer import embedded
from tests.conftest import environment_of, settings_of, worker_starter
from tests.exactness.compare import assert_same_output, stock_output
from tests.exactness.families import CASE_IDS, CASES, FAMILIES

WAIT_SECONDS = 600


@pytest.fixture(scope="module")
def client(servers: embedded.Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client with one real worker behind it, which takes the families one after the other."""
    settings = settings_of(servers, lease_seconds=30)
    with worker_starter(environment_of(settings, servers), tmp_path_factory.mktemp("worker")) as start:
        start()
        yield Client(settings)


@pytest.mark.parametrize(("family", "subtask"), CASES, ids=CASE_IDS)
def test_a_job_gives_what_the_stock_pipeline_gives(
    family: str,
    subtask: str | None,
    client: Client,
    model_folder: Callable[[str], Path],
    photograph_paths: dict[str, Path],
) -> None:
    photos = {str(path): path for path in photograph_paths.values()}
    folder, parameters = model_folder(family), FAMILIES[family].parameters

    job = client.submit(list(photos), model=str(folder), subtask=subtask, batch_size=4, **parameters)
    job.wait(timeout=WAIT_SECONDS)

    results = {result.uri: result for result in job.results()}
    assert set(results) == set(photos), [failure.reason for failure in job.failures()]
    for uri, result in results.items():
        stock = stock_output(folder, photos[uri], subtask, **parameters)
        assert_same_output(result.as_pipeline_output(), stock, f"{family}, {subtask}, {photos[uri].name}")
