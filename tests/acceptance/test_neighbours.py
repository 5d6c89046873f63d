"""Other Celery apps on the broker: they cannot steer our workers, and their queues are no concern of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from maskmill import Client, Settings
from maskmill.queue import Queue
from tests.conftest import DEMO_SAMPLES, StartWorker, wait_for

WAIT_SECONDS = 600
SILENCE_SECONDS = 2.0
"""How long a stranger waits for an answer to what it asks."""


def stranger(settings: Settings) -> Celery:
    return Celery("stranger", broker=settings.broker_url.get_secret_value(), set_as_current=False)


def broadcasts(app: Celery, queue: str) -> dict[str, Callable[[], Any]]:
    """What any Celery app can ask of the workers that listen on its database."""
    asked = {"reply": True, "timeout": SILENCE_SECONDS}
    return {
        "ping": lambda: app.control.ping(timeout=SILENCE_SECONDS),
        "cancel_consumer": lambda: app.control.cancel_consumer(queue, **asked),
        "rate_limit": lambda: app.control.rate_limit("maskmill.work", "1/h", **asked),
        "pool_grow": lambda: app.control.pool_grow(3, **asked),
        "shutdown": app.control.shutdown,
    }


def test_nobody_else_steers_a_worker(client: Client, start_worker: StartWorker) -> None:
    worker = start_worker()
    wait_for(lambda: "worker_ready" in worker.log.read_text(), worker.log.read_text)

    for asked, broadcast in broadcasts(stranger(client.settings), client.settings.queue).items():
        assert not broadcast(), asked
    manifest = client.submit(str(DEMO_SAMPLES), model="demo").wait(WAIT_SECONDS)

    assert manifest.counts.stored == manifest.submitted
    assert worker.process.poll() is None


def test_the_messages_of_other_queues_stay_where_they_are(client: Client, start_worker: StartWorker) -> None:
    other = client.settings.model_copy(update={"queue": f"{client.settings.queue}-other"})
    Queue(other).notify(3)
    start_worker()

    client.submit(str(DEMO_SAMPLES), model="demo").wait(WAIT_SECONDS)

    assert client.services.ledger.queue_length(other.queue) == 3


@pytest.mark.attended
def test_a_wake_up_message_is_taken_at_once_and_a_stranger_s_arguments_are_ignored(client: Client) -> None:
    queue, ledger = client.services.queue, client.services.ledger
    stranger(client.settings).send_task("maskmill.work", ({"job": "../etc"}, 7), {"a": 1}, queue=queue.name)
    queue.notify(3)
    queue.notify(0)

    wait_for(lambda: ledger.queue_length(queue.name) == 0, lambda: ledger.queue_length(queue.name))
    assert client.submit(str(DEMO_SAMPLES), model="demo").wait(WAIT_SECONDS).failures == {}
