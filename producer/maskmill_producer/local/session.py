"""Broker, object store and worker of one command on this machine: started side by side, gone at its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from maskmill import parameters
from maskmill.client import Client
from maskmill.job import Job
from maskmill.models.files import require_model
from maskmill.parameters import PipelineParameters
from maskmill.schema import JobStatus
from maskmill.settings import Settings
from maskmill.watch import Watch
from maskmill_producer import embedded
from maskmill_producer.local.worker_process import WorkerProcess, worker_command

DRAIN_SECONDS = 2.0
"""Ctrl-C gives the shard in hand back after so long; what it had stored by then is stored again the next time."""


def check_parts(pipeline_parameters: PipelineParameters, settings: Settings) -> None:
    """Whether all that it takes is here, before anything is started: worker, room, model. Raises what is missing."""
    worker_command()
    embedded.require_room_of_servers(settings.state_dir)
    spec, _ = parameters.parse(**pipeline_parameters)
    require_model(spec, settings.allowed_models)


def asked_of_worker(pipeline_parameters: PipelineParameters) -> dict[str, Any]:
    """What a command asks for as its own worker's settings: their bounds are for others' jobs."""
    _, execution = parameters.parse(**pipeline_parameters)
    asked = {
        "num_workers": execution.num_workers,
        "batch_size": execution.batch_size,
        "fetch_timeout_seconds": execution.timeout,
    }
    return {"drain_seconds": DRAIN_SECONDS, **{name: value for name, value in asked.items() if value is not None}}


class Session:
    """Running servers, a client of theirs, and a worker once it is started.

    `fields` are the settings of both, by the names of `maskmill.settings.Settings`, but for those of the servers.
    """

    def __init__(self, servers: embedded.Servers, worker_options: Sequence[str], fields: Mapping[str, Any]) -> None:
        self.servers = servers
        self.worker: WorkerProcess | None = None
        self._worker_options = worker_options
        self._fields = {**_fields_of(servers), **fields}

    @cached_property
    def client(self) -> Client:
        """A client of the servers; what is wrong with the other settings has been said (`load_settings`)."""
        return Client(Settings(**self._fields))

    def start_worker(self) -> None:
        """Start the worker unless it runs; its log lies beside those of the servers."""
        if self.worker is None:
            self.worker = WorkerProcess(self._worker_options, _as_environment(self._fields), self.worker_log)

    @property
    def worker_log(self) -> Path:
        """What the worker of this queue writes."""
        return self.servers.state_dir / f"worker-{self._fields['queue']}.log"

    def wait(self, job: Job, show: Callable[[JobStatus], None]) -> None:
        """Wait for the job while the worker lives; raises `ModelUnavailable` or `JobFailed` if it will not."""
        watch = job.watch()
        while not watch.closed:
            if status := watch.look():
                show(status)
            if not watch.closed:
                self.check(watch)
                time.sleep(watch.pause())

    def check(self, watch: Watch) -> None:
        """Start the worker again if it ended; raises `ModelUnavailable` or `JobFailed` where that cannot help.

        A server that cannot be reached is one of ours: if it has ended, `EmbeddedServersFailed` says of what.
        """
        if watch.away:
            embedded.require(self.servers.state_dir)
        if self.worker:
            self.worker.check()

    def dismiss_worker(self) -> None:
        """There is no more work: have the worker leave, and do not wait for it."""
        if self.worker:
            self.worker.dismiss()

    def abandon(self) -> None:
        """End a worker that has nothing in hand, at once."""
        if self.worker:
            self.worker.kill()

    def end(self) -> None:
        """Have the worker give back what it has in hand, and wait until it is gone."""
        if self.worker:
            self.worker.stop()


@contextmanager
def session(
    state_dir: Path | None, worker_options: Sequence[str], fields: Mapping[str, Any], *, worker_at_once: bool = True
) -> Iterator[Session]:
    """Servers and a worker for the length of a block; the worker loads its code while the servers come up.

        with session(None, ["--device", "cpu"], {"prefix": "out", "queue": "run-1"}) as here:
            job = here.client.submit("photos/", model="demo")
            here.wait(job, print)

    Without `worker_at_once` it is started by `start_worker`, if at all. Raises `EmbeddedServersFailed`.
    """
    begun: list[Session] = []

    def begin(servers: embedded.Servers) -> None:
        begun.append(Session(servers, worker_options, fields))
        if worker_at_once:
            begun[0].start_worker()

    with ExitStack() as stack:
        stack.callback(lambda: begun[0].abandon() if begun else None)  # if the servers never came up
        servers = stack.enter_context(embedded.running(state_dir, on_launch=begin))
        here = begun[0]
        if here.servers != servers:  # a port was taken between the look at it and its use: they are elsewhere
            here.end()
            begun.clear()
            begin(servers)
            here = begun[0]
        stack.callback(here.end)
        yield here


def _fields_of(servers: embedded.Servers) -> dict[str, Any]:
    """The embedded store is that of the results: the `AWS_*` names stay what they are, for `s3://` sources."""
    return {
        "broker_url": servers.broker_url,
        "bucket": servers.bucket,
        "s3": {
            "endpoint_url": servers.s3_endpoint_url,
            "region": servers.region,
            "access_key_id": servers.access_key_id,
            "secret_access_key": servers.secret_access_key,
        },
        "trust_submitters": True,  # there is one: who typed the command
    }


def _as_environment(fields: Mapping[str, Any]) -> dict[str, str]:
    return {f"MASKMILL_{name.upper()}": _as_text(value) for name, value in fields.items()}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
