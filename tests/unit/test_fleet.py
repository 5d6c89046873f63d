from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from maskmill import exit_codes
from maskmill.child_process import Backoff
from maskmill.errors import UsageError
from maskmill.settings import Settings
from maskmill_worker.process import fleet as fleet_module
from maskmill_worker.process import member
from maskmill_worker.process.fleet import Fleet, FleetFailed
from maskmill_worker.process.member import device_list, members

QUICK = Backoff(first_seconds=0.01)


def fleet_of(program: str, *, number: int = 1, drain_seconds: float = 5, backoff: Backoff = QUICK) -> Fleet:
    """A fleet whose workers run this Python program."""
    return Fleet(members("cpu", number, cores=number), [sys.executable, "-c", program], drain_seconds, backoff)


def names(devices: str, per_device: int = 1) -> list[str]:
    return [each.name for each in members(devices, per_device, cores=1, environment={})]


def test_workers_are_named_by_their_device() -> None:
    assert names("cpu") == ["cpu0"]
    assert names("cuda:0,cuda:3") == ["gpu0", "gpu3"]
    assert names("cuda:0, cuda:1", 2) == ["gpu0-1", "gpu0-2", "gpu1-1", "gpu1-2"]
    assert names("cpu", 2) == ["cpu0-1", "cpu0-2"]


def test_a_worker_is_told_its_device_and_a_name_that_is_unique_among_machines() -> None:
    [cpu, gpu] = members("cpu,cuda:3", cores=1, environment={})

    assert cpu.arguments == ["--device", "cpu", "--name", "cpu0@%h"]
    assert gpu.arguments == ["--device", "cuda", "--name", "gpu3@%h"]


@pytest.mark.parametrize("devices", ["", "gpu", "auto", "cuda", "cuda:", "cuda:-1", "cuda:01", "cuda:0,", "cpu:0"])
def test_what_is_no_list_of_devices_is_refused_with_what_is(devices: str) -> None:
    with pytest.raises(UsageError, match=r"write all, cpu, or cuda:0,cuda:1"):
        device_list(devices)


def test_a_device_twice_is_refused_with_the_option_that_is_meant() -> None:
    with pytest.raises(UsageError, match="--workers-per-device"):
        device_list("cuda:0,cuda:0")


@pytest.mark.parametrize(("count", "listed"), [(0, ["cpu"]), (1, ["cuda:0"]), (3, ["cuda:0", "cuda:1", "cuda:2"])])
def test_all_is_every_cuda_device_else_the_cpu(count: int, listed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "COUNT_DEVICES", f"print({count})")
    assert device_list("all") == listed


def test_a_torch_that_cannot_count_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "COUNT_DEVICES", "raise ImportError('libcudart.so: no such file')")
    with pytest.raises(UsageError, match=r"could not count its devices: ImportError: libcudart\.so"):
        device_list("all")


@pytest.mark.parametrize(
    ("visible", "seen"), [(None, ["0", "1"]), ("2,3", ["2", "3"]), (" GPU-a , MIG-b,7", ["GPU-a", "MIG-b"])]
)
def test_each_worker_sees_one_of_the_devices_that_the_fleet_sees(visible: str | None, seen: list[str]) -> None:
    environment = {"KEPT": "yes"} | ({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})

    made = members("cuda:0,cuda:1", cores=1, environment=environment)

    assert [each.environment["CUDA_VISIBLE_DEVICES"] for each in made] == seen
    assert all(each.environment["KEPT"] == "yes" for each in made)


def test_workers_on_the_cpu_see_no_cuda_device() -> None:
    [each] = members("cpu", cores=1, environment={"CUDA_VISIBLE_DEVICES": "0,1"})
    assert each.environment["CUDA_VISIBLE_DEVICES"] == ""


def test_a_device_that_is_not_visible_is_refused() -> None:
    with pytest.raises(UsageError, match="cuda:2 does not exist"):
        members("cuda:0,cuda:2", cores=1, environment={"CUDA_VISIBLE_DEVICES": "4,5"})


@pytest.mark.parametrize(("cores", "workers", "each"), [(2, 1, 1), (2, 2, 1), (32, 1, 8), (32, 8, 3), (4, 8, 1)])
def test_cores_are_shared_out_and_each_worker_has_loader_processes_for_its_own(
    cores: int, workers: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for made in members("cpu", workers, cores=cores, environment={}):
        monkeypatch.setenv("MASKMILL_CORES", made.environment["MASKMILL_CORES"])
        assert Settings().loader_processes == each
        assert made.environment["OMP_NUM_THREADS"] == made.environment["MASKMILL_CORES"]


def test_workers_on_other_devices_have_their_share_of_the_cores_and_leave_the_threads_to_models_on_the_cpu() -> None:
    cpu, *gpus = members("cpu,cuda:0,cuda:1", cores=12, environment={})
    assert [each.environment["MASKMILL_CORES"] for each in (cpu, *gpus)] == ["4", "4", "4"]
    assert cpu.environment["OMP_NUM_THREADS"] == "12"
    assert not any("OMP_NUM_THREADS" in each.environment for each in gpus)


def test_threads_that_were_asked_for_are_not_shared_out() -> None:
    made = members("cpu", 2, cores=8, environment={"OMP_NUM_THREADS": "3"})
    assert [each.environment["OMP_NUM_THREADS"] for each in made] == ["3", "3"]


def test_a_worker_that_keeps_ending_stops_the_fleet(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    program = f"open({str(starts)!r}, 'a').write('x'); raise SystemExit(9)"

    with pytest.raises(FleetFailed, match=r"cpu0 on cpu ended 5 times in a row .* exit code 9: .* alone") as failed:
        fleet_of(program).run()

    assert failed.value.exit_code == exit_codes.UNAVAILABLE
    assert starts.read_text() == "x" * 5


def test_a_worker_that_is_killed_again_and_again_is_said_to_lack_memory() -> None:
    with pytest.raises(FleetFailed, match=r"signal SIGKILL: .*out of memory"):
        fleet_of("import os; os.kill(os.getpid(), 9)").run()


@pytest.mark.parametrize("code", [exit_codes.USAGE, exit_codes.MODEL])
def test_what_another_start_cannot_change_stops_the_fleet_at_once(code: int, tmp_path: Path) -> None:
    starts = tmp_path / "starts"

    with pytest.raises(FleetFailed, match=f"cannot start: .*exit code {code}") as failed:
        fleet_of(f"open({str(starts)!r}, 'a').write('x'); raise SystemExit({code})").run()

    assert failed.value.exit_code == code
    assert starts.read_text() == "x"


def test_a_failing_worker_takes_the_others_along() -> None:
    first_fails = "import sys, time\nif 'cpu0-1@%h' in sys.argv: raise SystemExit(2)\ntime.sleep(600)"
    with pytest.raises(FleetFailed):
        fleet_of(first_fails, number=2).run()

    assert not [child for child in psutil.Process().children() if "cpu0-2@%h" in child.cmdline()]


def signalled(fleet: Fleet, ready: Path, *numbers: signal.Signals) -> int:
    """Run the fleet; once the file is there, send this process the signals that stop it."""

    def send() -> None:
        wait_for(ready.exists)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(2)  # two at once would be heard as one

    thread = threading.Thread(target=send)
    thread.start()
    try:
        return fleet.run()
    finally:
        thread.join()


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_workers_end_their_work(number: signal.Signals, tmp_path: Path) -> None:
    ready, done = tmp_path / "ready", tmp_path / "done"
    program = (
        "import signal, sys, time, pathlib\n"
        f"def leave(*_): time.sleep(0.5); pathlib.Path({str(done)!r}).touch(); sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(600)"
    )
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    assert signalled(fleet_of(program), ready, number) == 0
    assert done.exists()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers


DEAF = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({path!r}).touch()
time.sleep(600)
"""


def test_a_second_signal_kills(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    fleet = fleet_of(DEAF.format(path=str(ready)), drain_seconds=600)

    assert signalled(fleet, ready, signal.SIGTERM, signal.SIGTERM) == exit_codes.INTERRUPTED


def test_a_worker_that_takes_too_long_to_leave_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "KILL_SECONDS", 0.5)
    ready = tmp_path / "ready"
    fleet = fleet_of(DEAF.format(path=str(ready)), drain_seconds=0.5)

    assert signalled(fleet, ready, signal.SIGTERM) == exit_codes.INTERRUPTED


def test_the_supervisor_loads_no_torch() -> None:
    code = "import sys, maskmill_worker.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
