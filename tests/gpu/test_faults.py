"""What a device does to real jobs: it is full, it is lost, it is shared; and which processes have a hold on it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from benchmarks.gpu.device import compute_processes
from maskmill import Client, Settings
from maskmill.schema import Counts, Spec
from maskmill_worker.model.models import Models
from maskmill_worker.tasks import EXIT_DEVICE_LOST
from tests.acceptance.images import write_good
from tests.acceptance.poison import write_model, write_poison
from tests.acceptance.test_attempts import LOSES_ITS_DEVICE
from tests.conftest import StartWorker, Worker, wait_for
from tests.exactness.in_process import sample_of

pytestmark = [pytest.mark.gpu, pytest.mark.xdist_group("faults")]  # one after the other: one of them fills the device

WAIT_SECONDS = 120
IMAGES = 24
BATCH = 16
PART = 3
"""A batch finds free this part of what it needs: one of 4 has room."""

RAISED = 'raise torch.AcceleratorError("CUDA error: unspecified launch failure")'
ASSERTED = "torch.zeros(1, device='cuda')[torch.full((1,), 7, device='cuda')]  # the kernel asserts, later"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"shard_size": 8})


def kind(device: str) -> str:
    """As `maskmill-worker --device` calls it."""
    return device.partition(":")[0]


def write_alike(folder: Path, number: int) -> Path:
    """So many scenes of one size, so that they share batches."""
    write_good(folder, 1)
    [scene] = folder.iterdir()
    for index in range(1, number):
        (folder / f"{index:03}{scene.suffix}").write_bytes(scene.read_bytes())
    return folder


@contextmanager
def filled(device: str, left: int) -> Iterator[None]:
    """All of the device's memory but so many bytes taken, by plain allocations of this process."""
    if device == "cpu":
        yield
        return
    torch.cuda.empty_cache()
    block = torch.empty(max(0, torch.cuda.mem_get_info()[0] - left), dtype=torch.uint8, device=device)
    try:
        yield
    finally:
        del block
        torch.cuda.empty_cache()


def bytes_of_a_batch(device: str, model: str, path: Path) -> int:
    """What the model's forward pass over a batch reserves beyond that over one image."""
    if device == "cpu":
        return 0
    segmenter = Models(device).get(Spec(model=model))
    inputs = sample_of(segmenter, path).inputs
    reserved = []
    for images in (1, BATCH):
        segmenter.forward(segmenter.collate([inputs] * images))
        reserved.append(torch.cuda.memory_reserved())
    return reserved[1] - reserved[0]


def test_a_full_device_halves_batches_once_and_loses_nothing(
    device: str, client: Client, start_worker: StartWorker, model_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    model, images = str(model_folder("segformer-150")), write_alike(tmp_path / "some", IMAGES * 4)
    needed = bytes_of_a_batch(device, model, next(images.iterdir()))
    worker = start_worker("--device", kind(device))
    client.submit(str(next(images.iterdir())), model=model).wait(WAIT_SECONDS)  # loaded, with its context made

    with filled(device, needed // PART):
        manifest = client.submit(str(images), model=model, batch_size=BATCH, overwrite=True).wait(WAIT_SECONDS)

    assert manifest.counts == Counts(stored=IMAGES * 4)
    halved = [int(found) for found in re.findall(r"batch_halved.*images=(\d+)", worker.log.read_text())]
    if device != "cpu":
        assert halved[:1] == [BATCH], "the device was full"
        assert halved.count(BATCH) <= 3, "what did not fit is remembered; two were in flight, and one was made up"


def test_a_kernel_that_asserts_ends_the_process_and_the_next_one_stores_every_image(
    device: str, client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "model")
    loses = LOSES_ITS_DEVICE if device == "cpu" else LOSES_ITS_DEVICE.replace(RAISED, ASSERTED)
    assert (ASSERTED in loses) == (device != "cpu")
    code = (model / "poisoned.py").read_text() + f"\nLOST = {str(tmp_path / 'lost')!r}" + loses
    (model / "poisoned.py").write_text(code)
    write_good(tmp_path / "some", IMAGES)
    write_poison(tmp_path / "some", "yellow", "scene-0012")
    trusted = {"MASKMILL_TRUSTED_MODELS": str(model), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    worker = start_worker("--device", kind(device), **trusted)
    before = worker.pool_child

    manifest = client.submit(str(tmp_path / "some"), model=str(model)).wait(WAIT_SECONDS)

    assert manifest.counts == Counts(stored=IMAGES + 1), "no image is to blame"
    assert not before.is_running()
    assert worker.process.poll() is None
    assert f"exitcode {EXIT_DEVICE_LOST}" in worker.log.read_text()


def test_two_workers_share_a_device_to_which_only_their_pool_processes_hold_on(
    device: str, client: Client, start_worker: StartWorker, tmp_path: Path, figure: Callable[..., None]
) -> None:
    write_good(tmp_path / "some", IMAGES * 4)
    fleet = start_worker("--devices", device, "--workers-per-device", "2")
    wait_for(lambda: client.services.ledger.workers() == 2, fleet.log.read_text)
    loaders: set[int] = set()

    job = client.submit(str(tmp_path / "some"), model="demo", num_workers=2)
    manifest = job.wait(WAIT_SECONDS, on_status=lambda _: loaders.update(loaders_of(fleet)))

    assert manifest.counts == Counts(stored=IMAGES * 4)
    family = psutil.Process(fleet.process.pid).children(recursive=True)
    pools = {process.pid for process in family if runs_shards(process)}
    assert len(pools) == 2
    assert loaders
    assert loaders.isdisjoint(pools)
    seen = {process.environ().get("CUDA_VISIBLE_DEVICES") for process in family if process.pid in pools}
    assert seen == {"" if device == "cpu" else visible(device)}
    assert not [pid for pid in (fleet.process.pid, *mains_of(family, pools)) if loads_torch(pid)]
    holders = compute_processes()
    if device != "cpu" and holders is not None:
        ours = {process.pid for process in family} | loaders | {fleet.process.pid}
        assert holders & ours == pools, "no context in supervisor, main or loader processes"
        figure(name="processes with a context", value=len(holders & ours), unit="", settings="two workers, NVML")


def visible(device: str) -> str:
    """What the workers see of the device that this process calls so."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
    return listed[int(device.partition(":")[2])]


def runs_shards(process: psutil.Process) -> bool:
    """Whether it is a worker's pool process: its loaders, which are forked, have its command line."""
    return is_spawned(process) and not is_spawned(process.parent())


def is_spawned(process: psutil.Process | None) -> bool:
    return process is not None and any(sign in " ".join(process.cmdline()) for sign in ("spawn_main", "PoolWorker"))


def loaders_of(fleet: Worker) -> set[int]:
    """The processes that pool processes have started."""
    found = set()
    for process in psutil.Process(fleet.process.pid).children(recursive=True):
        try:
            if is_spawned(process) and is_spawned(process.parent()):
                found.add(process.pid)
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


def mains_of(family: list[psutil.Process], pools: set[int]) -> set[int]:
    return {parent.pid for process in family if process.pid in pools and (parent := process.parent())}


def loads_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
