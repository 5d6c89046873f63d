"""Celery over Redis, set up once for both sides.

A message is a wake-up and says nothing: an idle worker that gets one asks the ledger for a shard. Losing or repeating
one costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from maskmill.broker.address import BrokerAddress
from maskmill.broker.meaning import meaning
from maskmill.settings import Settings

WORK = "maskmill.work"
"""Name of the one task. It takes no arguments, and ignores those that a stranger gives it."""

SIX_HOURS_SECONDS = 6 * 3600


def new_app(settings: Settings) -> Celery:
    """The Celery app; what differs from the defaults has its reason here or in docs/architecture.md."""
    address = BrokerAddress.parse(settings.broker_url.get_secret_value())
    app = Celery("maskmill", broker=address.celery_url(), set_as_current=False)
    app.conf.update(
        # Else Celery takes any certificate, and gives its password to whoever has one.
        broker_use_ssl=settings.broker_tls or None,
        task_default_queue=settings.queue,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        # A message is taken while no other is worked on, whatever became of earlier acknowledgements: counted by those
        # (a prefetch of 1), a worker whose broker failed over in the middle of a job was deaf for good (celery#4453).
        worker_prefetch_multiplier=0,
        worker_disable_prefetch=True,
        worker_pool="prefork",
        worker_concurrency=1,
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=300,  # a spawned process imports torch before it answers
        worker_send_task_events=False,
        worker_enable_remote_control=False,  # else any Celery app on the same database can shut the worker down
        worker_hijack_root_logger=False,  # the log is ours (maskmill.logs)
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # leases say whose work it is, not connections
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # else a broker that refuses (no memory, read-only) ends the worker
        broker_transport_options={
            # Nothing renews the visibility timeout (celery#5935): leases recover shards long before it.
            "visibility_timeout": SIX_HOURS_SECONDS,
            **address.celery_transport(),
        },
    )
    return app


class Queue:
    """Wakes workers up; how many messages wait, the ledger tells (`Ledger.queue_length`).

    Each call has a connection of its own: a kept one may lead to a server that was demoted meanwhile (READONLY).

        queue = Queue(settings)
        queue.notify(3)     # three idle workers, if there are so many, ask the ledger for a shard
    """

    def __init__(self, settings: Settings, app: Celery | None = None) -> None:
        self.app = app or new_app(settings)
        self.name = settings.queue

    def notify(self, count: int = 1) -> None:
        """Send so many wake-up messages; raises `BrokerUnavailable`."""
        if count < 1:
            return
        with self._connection() as connection, connection.Producer() as producer, producer.batch():
            for _ in range(count):
                self.app.send_task(WORK, producer=producer, queue=self.name, retry=False)

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        try:
            # Once: what cannot be sent now is sent by who reconciles.
            with self.app.connection_for_write(transport_options={"max_retries": 0}) as connection:
                yield connection
        except (KombuError, RedisError, OSError) as error:
            raise meaning(error) from error
