from __future__ import annotations

import ctypes
import gc
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image

from maskmill.errors import (
    DeviceLost,
    ImageCrashed,
    ImageError,
    ImageNotFound,
    ImageOutOfMemory,
    ImageOverdue,
    LoaderDied,
    StoreUnavailable,
)
from maskmill.schema import Reference
from maskmill.settings import S3Settings, Settings
from maskmill_worker.loading import process as loader_process
from maskmill_worker.loading.child import PREFETCH
from maskmill_worker.loading.loader import Loader
from maskmill_worker.loading.process import LoaderProcess
from maskmill_worker.model.sample import Sample, Task
from tests.conftest import wait_for
from tests.serving import serving


def samples_of(loader: Loader, tasks: Iterable[Task]) -> Iterator[Sample]:
    """The samples of the tasks, which are put when there is room, as the flow of a shard does it."""
    source = iter(tasks)
    while True:
        while loader.room and (task := next(source, None)):
            loader.put(task)
        sample = loader.next()
        if sample is None:
            return
        yield sample


def processes_of(loader: Loader) -> list[LoaderProcess]:
    return loader._source._processes


class Preprocessor:
    """What a loader needs of a segmenter."""

    device = torch.device("cpu")

    def preprocess(self, image: Image.Image) -> dict[str, Any]:
        return {"side": torch.tensor([image.width]), "pid": os.getpid()}


@pytest.fixture(autouse=True)
def who_submits_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKMILL_TRUST_SUBMITTERS", "true")  # with the files of this machine


@pytest.fixture(params=[0, 1, 2])
def loader(request: pytest.FixtureRequest) -> Iterator[Loader]:
    made = Loader(Preprocessor(), Settings(num_workers=request.param, fetch_threads=4))
    yield made
    made.close()


@pytest.fixture
def images(tmp_path: Path) -> list[Task]:
    """Forty images; the side of the n-th is n + 1."""
    for n in range(40):
        Image.new("RGB", (n + 1, n + 1)).save(tmp_path / f"{n}.png")
    return [task(n, str(tmp_path / f"{n}.png")) for n in range(40)]


def task(index: int, uri: str) -> Task:
    return Task(0, index, Reference(uri=uri, mask_key=f"masks/{index}.png"))


def by_index(samples: list[Sample]) -> dict[int, Sample]:
    assert len({sample.task.index for sample in samples}) == len(samples)
    return {sample.task.index: sample for sample in samples}


def test_each_task_becomes_one_sample(loader: Loader, images: list[Task]) -> None:
    samples = by_index(list(samples_of(loader, images)))
    assert {index: int(sample.inputs["side"]) for index, sample in samples.items()} == {n: n + 1 for n in range(40)}
    assert {(s.width, s.height) for s in samples.values()} == {(n + 1, n + 1) for n in range(40)}
    assert all(sample.seconds.keys() == {"fetch", "decode", "preprocess"} for sample in samples.values())


def test_the_processes_serve_one_stream_after_the_other(loader: Loader, images: list[Task]) -> None:
    pids = [{sample.inputs["pid"] for sample in samples_of(loader, images)} for _ in range(3)]
    inline = os.getpid() in pids[0]
    assert len(set.union(*pids)) <= (1 if inline else len(processes_of(loader)))


def test_an_image_that_cannot_be_read_is_a_sample_with_its_error(loader: Loader, images: list[Task]) -> None:
    samples = by_index(list(samples_of(loader, [*images[:3], task(99, "/no/such/file.png")])))
    assert isinstance(samples[99].error, ImageNotFound)
    assert [samples[n].error for n in range(3)] == [None] * 3


def test_tasks_are_taken_only_when_there_is_room(loader: Loader, images: list[Task]) -> None:
    taken = 0

    def tasks() -> Iterator[Task]:
        nonlocal taken
        for n in range(1000):
            taken += 1
            yield task(n, images[n % 40].reference.uri)

    samples = samples_of(loader, tasks())
    for _ in range(100):
        next(samples)
    assert taken <= 100 + 2 * (2 * 4 + 4) + 1


@pytest.mark.parametrize("closed", [True, False])
def test_an_inline_loader_that_is_dropped_leaves_no_thread(images: list[Task], closed: bool) -> None:
    before = threading.active_count()
    loader = Loader(Preprocessor(), Settings(num_workers=0, fetch_threads=2))
    next(samples_of(loader, images))
    if closed:
        loader.close()
    del loader
    gc.collect()
    deadline = time.monotonic() + 300
    while threading.active_count() > before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


def test_an_empty_stream_has_no_samples(loader: Loader) -> None:
    assert list(samples_of(loader, [])) == []


def test_an_error_of_the_store_is_nobody_s_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmill_worker.loading.reader.WORKER_ATTEMPTS", 1)
    nowhere = S3Settings(endpoint_url="http://127.0.0.1:9", access_key_id="a", secret_access_key="b", region="r")
    loader = Loader(Preprocessor(), Settings(num_workers=1, source_s3=nowhere))
    with pytest.raises(StoreUnavailable):
        list(samples_of(loader, [task(0, "s3://bucket/a.png")]))
    loader.close()


def test_closing_ends_the_processes_whatever_they_have_in_hand(images: list[Task]) -> None:
    loader = Loader(Preprocessor(), Settings(num_workers=2))
    next(samples_of(loader, images))
    children = {process.pid for process in processes_of(loader)}
    started = time.monotonic()
    loader.close()
    assert not [pid for pid in children if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
    assert time.monotonic() - started < 60


def test_closing_never_waits_for_a_lock_that_ended_with_a_process(images: list[Task]) -> None:
    """Without care one in some hundred rounds hangs for good."""
    for _ in range(8):
        loader = Loader(Preprocessor(), Settings(num_workers=2, fetch_threads=4))
        assert len(list(samples_of(loader, images))) == 40
        loader.close()


class Poisonous(Preprocessor):
    """Images of some sides do to their process what broken decoders do; `seen` counts the images of side 11."""

    def __init__(self, seen: Path) -> None:
        self.seen = seen

    def preprocess(self, image: Image.Image) -> dict[str, Any]:
        if image.width == 6:
            ctypes.string_at(0)
        if image.width == 8:
            threading.Event().wait()
        if image.width == 10:
            torch.ones(2**31, dtype=torch.float64)
        if image.width == 11 and not self.seen.exists():
            self.seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when others have taken the memory
        return super().preprocess(image)


def test_a_death_concerns_one_process_alone(images: list[Task], tmp_path: Path) -> None:
    loader = Loader(Poisonous(tmp_path / "seen"), Settings(num_workers=3, image_timeout_seconds=60))
    before = {process.pid for process in processes_of(loader)}
    samples = by_index(list(samples_of(loader, [images[0], images[10]])))
    assert samples[10].error is None
    assert len(before & {process.pid for process in processes_of(loader)}) == 2
    loader.close()


def test_a_sample_that_cannot_be_handed_over_is_this_image_s_failure(images: list[Task]) -> None:
    loader = Loader(Unpicklable(), Settings(num_workers=1))
    samples = by_index(list(samples_of(loader, images[:3])))
    assert [type(samples[n].error) for n in range(3)] == [type(None), ImageError, type(None)]
    loader.close()


class Unpicklable(Preprocessor):
    def preprocess(self, image: Image.Image) -> dict[str, Any]:
        return super().preprocess(image) | ({"local": lambda: None} if image.width == 2 else {})


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_device_that_is_lost_while_samples_wait_for_it_is_no_loaders_fault(
    images: list[Task], num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnADevice(Preprocessor):
        device = torch.device("cuda")

    def lost(_: torch.Tensor) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.Tensor, "pin_memory", lost)
    loader = Loader(OnADevice(), Settings(num_workers=num_workers))
    with pytest.raises(DeviceLost, match="unspecified launch failure"):
        list(samples_of(loader, images[:2]))
    loader.close()


def test_samples_take_no_room_in_dev_shm(images: list[Task]) -> None:
    """Containers have 64 MiB of it, and what does not fit would never arrive."""
    loader = Loader(Large(), Settings(num_workers=1))
    first = next(samples_of(loader, images))
    for pid in (os.getpid(), processes_of(loader)[0].pid):
        maps = [each.path for each in psutil.Process(pid).memory_maps() if "/dev/shm" in each.path]
        assert all("/sem." in path for path in maps), maps  # DataLoader's own locks
    loader.close()
    assert first.inputs["pixel_values"].sum() == 0


class Large(Preprocessor):
    def preprocess(self, image: Image.Image) -> dict[str, Any]:
        return {"pixel_values": torch.zeros(8 * 2**20)}


def test_a_death_shows_no_secrets_in_the_log(server: SlowServer, capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(num_workers=1, allow_private_hosts=("all",))
    loader = Loader(Fatal(), settings)
    address = f"http://alice:PASSWORD@127.0.0.1:{server.server_port}/image?X-Amz-Signature=SECRET"
    (sample,) = samples_of(loader, [task(0, address)])
    loader.close()
    assert isinstance(sample.error, ImageCrashed)
    log = "".join(capsys.readouterr())
    assert "/image" in log
    assert "PASSWORD" not in log
    assert "SECRET" not in log


class Fatal(Preprocessor):
    def preprocess(self, image: Image.Image) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_loaders_that_come_and_go_leave_nothing_behind(images: list[Task]) -> None:
    def come_and_go() -> None:
        loader = Loader(Preprocessor(), Settings(num_workers=2, fetch_threads=4))
        assert len(list(samples_of(loader, images[:5]))) == 5
        loader.close()

    come_and_go()
    gc.collect()
    me = psutil.Process()
    before = me.num_fds(), threading.active_count(), len(me.children())
    for _ in range(5):
        come_and_go()
    gc.collect()
    assert (me.num_fds(), threading.active_count(), len(me.children())) == before


def test_processes_that_cannot_be_started_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there are no more processes to be had, and each attempt at a shard tries again."""

    def full(*_: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(loader_process, "_data_loader", full)
    gc.collect()
    before = psutil.Process().num_fds()
    for _ in range(3):
        with pytest.raises(LoaderDied, match="could not be started"):
            Loader(Preprocessor(), Settings(num_workers=2))
    gc.collect()
    assert psutil.Process().num_fds() == before


@pytest.mark.parametrize("processes", [1, 2])
def test_poison_costs_only_itself(processes: int, images: list[Task], tmp_path: Path) -> None:
    settings = Settings(num_workers=processes, image_timeout_seconds=1, loader_memory_bytes=2**30)
    loader = Loader(Poisonous(tmp_path / "seen"), settings)
    samples = by_index(list(samples_of(loader, images)))
    loader.close()
    assert len(samples) == 40
    errors = {index + 1: type(sample.error) for index, sample in samples.items() if sample.error}
    assert errors == {6: ImageCrashed, 8: ImageOverdue, 10: ImageOutOfMemory}


def test_a_dead_process_does_not_interrupt_the_main_thread(images: list[Task]) -> None:
    loader = Loader(Preprocessor(), Settings(num_workers=1))
    samples = samples_of(loader, images)
    seen = [next(samples)]
    os.kill(processes_of(loader)[0].pid, signal.SIGKILL)
    time.sleep(1)  # torch's own handler would raise here
    seen += samples
    loader.close()
    assert len(by_index(seen)) == 40
    assert not [sample.error for sample in seen if sample.error]


def test_processes_that_die_without_an_image_are_nobodys_image_fault(server: SlowServer) -> None:
    """They die while they fetch, again and again."""
    loader = Loader(Preprocessor(), Settings(num_workers=1, allow_private_hosts=("all",)))
    loader.put(task(0, url(server, "slow")))
    os.kill(processes_of(loader)[0].pid, signal.SIGKILL)
    threading.Thread(target=_kill_the_next, args=(loader, processes_of(loader)[0]), daemon=True).start()
    with pytest.raises(LoaderDied):
        loader.next()
    loader.close()


def _kill_the_next(loader: Loader, before: LoaderProcess) -> None:
    while processes_of(loader)[0] is before:
        time.sleep(0.01)
    os.kill(processes_of(loader)[0].pid, signal.SIGKILL)


class Bulky(Preprocessor):
    """Its samples do not fit into a pipe: a process whose samples nobody takes is stopped in the middle of one."""

    def preprocess(self, image: Image.Image) -> dict[str, Any]:
        return {"bulk": torch.full((500, 500), image.width, dtype=torch.float32)}


@pytest.fixture
def bulky() -> Iterator[Loader]:
    made = Loader(Bulky(), Settings(num_workers=2, fetch_threads=4))
    yield made
    made.close()


def test_processes_that_die_while_they_hand_a_sample_over_lose_none(bulky: Loader, images: list[Task]) -> None:
    samples = samples_of(bulky, images)
    seen = [next(samples)]
    time.sleep(2)  # nobody takes a sample: one process waits in the middle of handing one over, the other for its turn
    for process in processes_of(bulky):
        os.kill(process.pid, signal.SIGKILL)
    seen += samples
    assert {index: sample.inputs["bulk"][0, 0] for index, sample in by_index(seen).items()} == {
        n: n + 1 for n in range(40)
    }


def test_one_process_that_dies_while_it_hands_a_sample_over_holds_up_no_other(
    bulky: Loader, images: list[Task]
) -> None:
    """It dies with the lock that the other one wants."""
    for victim in range(2):
        samples = samples_of(bulky, images)
        seen = [next(samples)]
        time.sleep(2)
        os.kill(processes_of(bulky)[victim].pid, signal.SIGKILL)
        seen += samples
        assert len(by_index(seen)) == 40


def test_a_process_that_dies_when_its_samples_are_ready_is_no_error(images: list[Task]) -> None:
    loader = Loader(Bulky(), Settings(num_workers=1, fetch_threads=4))
    for _ in range(4):
        samples = samples_of(loader, images)
        process = psutil.Process(processes_of(loader)[0].pid)
        seen = [next(samples)]
        received = loader._source._received
        wait_for(lambda received=received: received.qsize() == PREFETCH, received.qsize)
        process.suspend()
        seen += [next(samples) for _ in range(PREFETCH)]
        process.kill()
        seen += samples
        assert len(by_index(seen)) == 40
    loader.close()


def test_a_process_that_is_stopped_can_be_closed(images: list[Task]) -> None:
    loader = Loader(Bulky(), Settings(num_workers=1, fetch_threads=4))
    next(samples_of(loader, images))
    pid = processes_of(loader)[0].pid
    os.kill(pid, signal.SIGSTOP)
    loader.close()
    assert not psutil.pid_exists(pid)


class SlowServer(ThreadingHTTPServer):
    """Answers at once, but for `/slow`, which it holds until `release`; counts the requests that it has open."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        self.release = threading.Event()
        self.open = self.most = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), SlowHandler)


class SlowHandler(BaseHTTPRequestHandler):
    server: SlowServer

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.open += 1
            server.most = max(server.most, server.open)
        if self.path == "/slow":
            server.release.wait(60)
        with server.lock:
            server.open -= 1
        if self.path.startswith("/image"):
            self.send_response(200)
            self.end_headers()
            Image.new("RGB", (8, 8)).save(self.wfile, "PNG")
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[SlowServer]:
    with serving(SlowServer()) as running:
        yield running
        running.release.set()


def url(server: SlowServer, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


@pytest.mark.parametrize("processes", [0, 1])
def test_one_slow_fetch_holds_up_no_other_image(server: SlowServer, processes: int) -> None:
    loader = Loader(Preprocessor(), Settings(num_workers=processes, fetch_threads=4, allow_private_hosts=("all",)))
    samples = samples_of(loader, [task(0, url(server, "slow")), *(task(n, url(server, "fast")) for n in range(1, 6))])
    assert sorted(next(samples).task.index for _ in range(5)) == [1, 2, 3, 4, 5]
    server.release.set()
    assert [sample.task.index for sample in samples] == [0]
    loader.close()


def test_a_process_fetches_several_images_at_a_time(server: SlowServer) -> None:
    loader = Loader(Preprocessor(), Settings(num_workers=1, fetch_threads=4, allow_private_hosts=("all",)))
    samples = samples_of(loader, [task(n, url(server, "slow")) for n in range(8)])
    threading.Thread(target=_release_when_open, args=(server, 4), daemon=True).start()
    assert len(list(samples)) == 8
    assert server.most == 4
    loader.close()


def _release_when_open(server: SlowServer, number: int) -> None:
    deadline = time.monotonic() + 300
    while server.open < number and time.monotonic() < deadline:
        time.sleep(0.01)
    server.release.set()
