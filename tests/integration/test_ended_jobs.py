"""What the broker keeps of a job after its end, for how long, and what tells of the job from then on."""

from __future__ import annotations

import pytest

from maskmill import Client, Job
from maskmill.errors import JobNotFound
from maskmill.jobs.submit import submit
from maskmill.schema import Execution, JobState, Outcome, Spec, Status
from maskmill.services import Services
from maskmill.settings import Settings
from maskmill_worker.shards.slice import Slice
from tests.conftest import wait_for

DAY_SECONDS = 86400


@pytest.fixture
def services(settings: Settings) -> Services:
    return Services.connect(settings.model_copy(update={"shard_size": 2}))


def ended(services: Services, folder: object) -> Job:
    """A job of five images, one of which failed, whose last shard has just been committed."""
    listed = f"{folder}/list.txt"
    with open(listed, "w") as file:  # noqa: PTH123 - a line each
        file.writelines(f"/photos/{n}.jpg\n" for n in range(5))
    record = submit(services, [listed], out=services.settings.out, spec=Spec(model="m"), execution=Execution())
    while claim := services.ledger.claim_next("w", 30):
        with Slice(services, record.job, services.settings.out, "w") as shards:
            shard = shards.take(claim)
            assert shard is not None
            for index, each in enumerate(shard.references):
                done = {"mask_key": each.mask_key} if claim.shard else {"code": "timeout", "reason": "slow"}
                status = Status.STORED if claim.shard else Status.FAILED
                shards.decide(claim.shard, index, Outcome(uri=each.uri, status=status, **done))
    return Job(record.job, services.settings.out, services)


def keys_of(services: Services, job: str) -> list[str]:
    return list(services.ledger.redis.scan_iter(f"*{job}*"))


def test_all_keys_of_an_ended_job_expire_after_the_time_that_is_set(services: Services, tmp_path: object) -> None:
    services.settings = services.settings.model_copy(update={"ended_job_seconds": 10.0 * DAY_SECONDS})
    job = ended(services, tmp_path)
    left = {key: services.ledger.redis.ttl(key) for key in keys_of(services, job.id)}
    assert left, "the counters stay for a while, for `status`"
    assert all(9 * DAY_SECONDS < seconds <= 10 * DAY_SECONDS for seconds in left.values()), left


def test_nothing_of_an_open_job_expires(services: Services, tmp_path: object) -> None:
    listed = f"{tmp_path}/list.txt"
    with open(listed, "w") as file:  # noqa: PTH123 - a line each
        file.writelines(f"/photos/{n}.jpg\n" for n in range(5))
    record = submit(services, [listed], out=services.settings.out, spec=Spec(model="m"), execution=Execution())
    assert services.ledger.claim_next("w", 30)
    assert {services.ledger.redis.ttl(key) for key in keys_of(services, record.job)} == {-1}


def test_the_bucket_tells_of_a_job_whose_keys_have_expired(services: Services, tmp_path: object) -> None:
    services.settings = services.settings.model_copy(update={"ended_job_seconds": 2.0})
    job = ended(services, tmp_path)
    before = job.status()
    wait_for(lambda: not keys_of(services, job.id), lambda: keys_of(services, job.id))

    with pytest.raises(JobNotFound):
        services.ledger.progress(job.id)
    found = Client(services.settings).job(job.id, services.settings.out)
    after = found.status()
    assert after.state is JobState.COMPLETED_WITH_FAILURES
    assert (after.counts, after.failures, after.shards_done) == (before.counts, before.failures, before.shards)
    assert len(list(found.outcomes())) == 5
    assert services.ledger.jobs() == [], "nor does it stay in the list of jobs"


def test_a_retry_of_a_job_whose_keys_have_expired_goes_on_from_the_bucket(services: Services, tmp_path: object) -> None:
    services.settings = services.settings.model_copy(update={"ended_job_seconds": 0.2})
    job = ended(services, tmp_path)
    wait_for(lambda: not keys_of(services, job.id), lambda: keys_of(services, job.id))

    assert job.retry() == 2
    claim = services.ledger.claim_next("w", 30)
    assert (claim.shard, claim.retry_round) == (0, 1)
    assert {services.ledger.redis.ttl(key) for key in keys_of(services, job.id)} == {-1}, "it is open again"
