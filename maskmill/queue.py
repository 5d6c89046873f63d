"""Celery over Redis, set up once for both sides. A message is a hint: losing or repeating one costs nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from maskmill.errors import BrokerUnavailable
from maskmill.schema import ShardMessage
from maskmill.settings import Settings

PROCESS_SHARD = "maskmill.process_shard"
SIX_HOURS_SECONDS = 6 * 3600


def new_app(settings: Settings) -> Celery:
    """The Celery app; every setting that differs from the default has its reason in docs/architecture.md."""
    app = Celery("maskmill", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    app.conf.update(
        task_default_queue=settings.queue,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_pool="prefork",
        worker_concurrency=1,
        worker_pool_start_method="spawn",
        worker_proc_alive_timeout=300,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # else a broker that refuses (no memory, read-only) ends the worker
        broker_transport_options={
            # Nothing renews the visibility timeout (celery#5935): leases recover shards long before it.
            "visibility_timeout": SIX_HOURS_SECONDS,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
        },
    )
    return app


class Queue:
    """Announces shards to the workers."""

    def __init__(self, settings: Settings, app: Celery | None = None) -> None:
        self.app = app or new_app(settings)
        self.name = settings.queue

    def announce(self, job: str, out: str, shards: Iterable[int]) -> None:
        """Send one message a shard; raises `BrokerUnavailable`."""
        messages = [ShardMessage(job=job, shard=shard, out=out) for shard in shards]
        if not messages:
            return
        try:
            with self.app.producer_or_acquire() as producer:
                for message in messages:
                    self._send(producer, message)
        except (OperationalError, OSError) as error:
            raise BrokerUnavailable.unreachable(error) from error

    def _send(self, producer: Any, message: ShardMessage) -> None:
        self.app.send_task(
            PROCESS_SHARD, (message.model_dump(mode="json"),), producer=producer, queue=self.name, retry=False
        )
