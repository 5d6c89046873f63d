"""Batches that run through one model side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Barrier, Event, Semaphore
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import SegformerForSemanticSegmentation

from maskmill.errors import DeviceLost
from maskmill.schema import Reference
from maskmill_worker.model.fastest import runs_side_by_side
from maskmill_worker.model.sample import Sample, Task
from maskmill_worker.model.segmenter import AtATime
from maskmill_worker.process import clock as process_clock
from maskmill_worker.process.clock import DeviceClock
from maskmill_worker.shards import forward_threads
from maskmill_worker.shards.forward_threads import SWITCH_SECONDS, Batch, ForwardThreads, Lanes, lanes
from tests.clock import Clock
from tests.torch_threads import torch_threads

SECONDS = 20
"""Longer than any of these takes."""

CPU = torch.device("cpu")

Work = Callable[[Batch], None]


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    """What torch has to share out, whatever the machine."""
    with torch_threads(4):
        yield


def batch(*indices: int) -> Batch:
    return [Sample(Task(0, index, Reference(uri="x.jpg", mask_key="masks/x.jpg.png"))) for index in indices]


def indices(samples: Batch) -> list[int]:
    return [sample.task.index for sample in samples]


def threads(work: Work, clock: DeviceClock | None = None, passes: int = 2) -> ForwardThreads:
    return ForwardThreads(work, Lanes(passes, 2, 2, 2), clock or DeviceClock(), CPU)


@pytest.mark.parametrize(
    ("at_a_time", "asked", "passes"),
    [(AtATime.ANY, None, 2), (AtATime.ANY, 3, 3), (AtATime.ANY, 9, 4), (AtATime.ANY, 1, 1), (AtATime.PASS, 3, 1)],
)
@pytest.mark.parametrize(
    ("device", "told", "cores", "more"),
    [("cpu", "4", 4, 0), ("cpu", "4", 5, 1), ("cpu", None, 8, 0), ("cuda", None, 4, 1)],
)
def test_a_model_has_as_many_passes_as_torch_has_threads_for_and_a_thread_more_where_a_core_was_left_to_it(
    at_a_time: AtATime,
    asked: int | None,
    passes: int,
    device: str,
    told: str | None,
    cores: int,
    more: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without OMP_NUM_THREADS torch may have fewer threads than there are logical cores, and still fill them all."""
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    else:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    segmenter: Any = SimpleNamespace(at_a_time=at_a_time, device=torch.device(device))
    found = lanes(segmenter, asked, cores)
    assert (found.passes, found.threads) == (passes, passes + more)
    assert found.cores == max(1, 4 // passes)
    assert found.cores_beside == (1 if (device, more) == ("cpu", 1) else found.cores), "of the one that is left"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_pipeline_of_a_models_own_has_one_batch_at_a_time(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter: Any = SimpleNamespace(at_a_time=AtATime.BATCH, device=torch.device(device))
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    found = lanes(segmenter, 3, cores=8)
    assert (found.passes, found.threads) == (1, 1)


class FromElsewhere(SegformerForSemanticSegmentation):
    """Code of a model's own, as a trusted one brings."""


@pytest.mark.parametrize(
    ("device", "of", "runs"),
    [
        ("cpu", SegformerForSemanticSegmentation, True),
        ("cuda", SegformerForSemanticSegmentation, False),
        ("cpu", FromElsewhere, False),
    ],
)
def test_models_of_transformers_own_code_can_run_side_by_side_on_a_cpu(device: str, of: type, runs: bool) -> None:
    loaded = SimpleNamespace(device=torch.device(device), model=object.__new__(of))
    assert runs_side_by_side(loaded) == runs  # type: ignore[arg-type]


def test_two_batches_run_at_a_time_and_the_model_is_said_to_have_both() -> None:
    both_run, entered = Barrier(2, timeout=SECONDS), []
    with threads(lambda _: both_run.wait()).open() as forward:
        for each in (batch(0, 1), batch(2)):
            forward.run(each, entering=lambda samples: entered.append(indices(samples)))
        forward.finish()
    assert entered == [[0, 1], [0, 1, 2]]


def test_a_third_batch_waits_until_one_of_two_is_out() -> None:
    go, entered = {0: Event(), 1: Event(), 2: Event()}, []

    def work(samples: Batch) -> None:
        assert go[samples[0].task.index].wait(SECONDS)

    def entering(samples: Batch) -> None:
        entered.append(indices(samples))
        if len(entered) == 2:
            go[1].set()  # the other stays in the model

    with threads(work).open() as forward:
        for index in range(3):
            forward.run(batch(index), entering)
        assert forward.at_work
        go[0].set()
        go[2].set()
        forward.finish()
        assert not forward.at_work
    assert entered == [[0], [0, 1], [0, 2]]


def test_other_threads_let_go_of_pythons_lock_sooner_while_batches_run() -> None:
    before = sys.getswitchinterval()
    with threads(lambda _: None).open():
        assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    assert sys.getswitchinterval() == before


def test_a_batch_is_finished_while_the_next_one_has_the_turn() -> None:
    passed, next_passes, finished = Event(), Event(), Event()

    def work(samples: Batch) -> None:
        first = samples[0].task.index == 0
        with forward.turn():
            if not first:
                next_passes.set()
                assert finished.wait(SECONDS)
        if first:
            passed.set()
            assert next_passes.wait(SECONDS)
            finished.set()

    with threads(work, passes=1).open() as forward:
        forward.run(batch(0), entering=lambda _: None)
        assert passed.wait(SECONDS)
        forward.run(batch(1), entering=lambda _: None)
        forward.finish()


@pytest.mark.parametrize("passes", [1, 2])
def test_no_more_passes_run_at_a_time_than_there_may(passes: int) -> None:
    inside, begun, go = [], Semaphore(0), Event()

    def work(samples: Batch) -> None:
        with forward.turn():
            inside.append(samples[0].task.index)
            begun.release()
            assert go.wait(SECONDS)

    with ForwardThreads(work, Lanes(passes, 3, 1, 1), DeviceClock(), CPU).open() as forward:
        for index in range(3):
            forward.run(batch(index), entering=lambda _: None)
        for _ in range(passes):
            assert begun.acquire(timeout=SECONDS)
        assert not begun.acquire(timeout=0.1)
        assert len(inside) == passes
        go.set()
        forward.finish()
    assert len(inside) == 3


def test_what_a_batch_ends_with_is_raised_by_the_next_call() -> None:
    def work(samples: Batch) -> None:
        if samples[0].task.index == 0:
            raise ValueError("no more memory")

    with threads(work).open() as forward:
        forward.run(batch(0), entering=lambda _: None)
        with pytest.raises(ValueError, match="no more memory"):
            forward.finish()
        forward.run(batch(1), entering=lambda _: None)
        forward.finish()


def test_each_thread_has_its_share_of_torchs_threads_whatever_the_others_set() -> None:
    """Post-processing sets one thread for a while; a thread of torch's takes that over at its first operation."""
    other_is_at_one, second_runs = Event(), Event()
    found: list[int] = []

    def work(samples: Batch) -> None:
        if samples[0].task.index == 0:
            found.append(torch.get_num_threads())
            assert second_runs.wait(SECONDS)
            torch.set_num_threads(1)
            other_is_at_one.set()
        else:
            second_runs.set()
            assert other_is_at_one.wait(SECONDS)
            torch.ones(2**20).add_(1)
            found.append(torch.get_num_threads())

    with threads(work).open() as forward:
        for index in range(2):
            forward.run(batch(index), entering=lambda _: None)
        forward.finish()
    assert (found, torch.get_num_threads()) == ([2, 2], 4)


def test_what_is_done_beside_passes_has_the_cores_that_these_leave() -> None:
    found: list[int] = []

    def work(_: Batch) -> None:
        found.append(torch.get_num_threads())
        with forward.turn():
            found.append(torch.get_num_threads())
        found.append(torch.get_num_threads())

    with ForwardThreads(work, Lanes(1, 2, 3, 1), DeviceClock(), CPU).open() as forward:
        forward.run(batch(0), entering=lambda _: None)
        forward.finish()
    assert found == [1, 3, 1]


def test_a_device_that_was_lost_between_slices_is_found_lost_by_the_next_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(forward_threads, "_stream", stream)
    lost = ForwardThreads(lambda _: None, Lanes(1, 2, 1, 1), DeviceClock(), torch.device("cuda"))
    with lost.open() as forward:
        forward.run(batch(0), entering=lambda _: None)
        with pytest.raises(DeviceLost, match="unspecified launch failure"):
            forward.finish()


@pytest.mark.parametrize(("error", "waits"), [(ValueError, True), (SystemExit, False)])
def test_an_error_waits_for_the_batches_in_the_model_and_an_interruption_does_not(
    error: type[BaseException], waits: bool
) -> None:
    go, begun, done = Event(), Event(), Event()

    def work(_: Batch) -> None:
        begun.set()
        go.wait(SECONDS)
        done.set()

    def leave() -> None:
        with threads(work).open() as forward:
            forward.run(batch(0), entering=lambda _: None)
            assert begun.wait(SECONDS)
            if waits:
                go.set()
            raise error

    with pytest.raises(error):
        leave()
    assert done.is_set() == waits
    go.set()


@pytest.fixture
def clock_of_time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(process_clock, "time", made)
    return made


def test_the_clock_hears_for_how_much_of_the_time_no_batch_came(clock_of_time: Clock) -> None:
    """Two passes at a time in ten seconds: one place waits two and works eight, the other waits six and works four."""
    clock, begun, go = DeviceClock(), [Event(), Event()], Event()

    def work(samples: Batch) -> None:
        with forward.turn():
            begun[samples[0].task.index].set()
            assert go.wait(SECONDS)

    with threads(work, clock).open() as forward:
        for index, at in enumerate((1002.0, 1006.0)):
            clock_of_time.now = at
            forward.run(batch(index), entering=lambda _: None)
            assert begun[index].wait(SECONDS)
        clock_of_time.now = 1010.0
        go.set()
        forward.finish()
    assert clock.lap().model_dump() == {"busy": 6.0, "loading": 4.0, "storing": 0.0}


def test_a_pass_that_has_the_model_for_itself_leaves_nothing_to_wait(clock_of_time: Clock) -> None:
    clock = DeviceClock()
    with threads(lambda _: None, clock).open() as forward, forward.whole():
        clock_of_time.now += 4
    assert clock.lap().model_dump() == {"busy": 4.0, "loading": 0.0, "storing": 0.0}


def test_threads_that_nobody_waits_for_make_no_seconds_less_than_none(clock_of_time: Clock) -> None:
    """After an interruption: a batch is in the model while all threads are said to wait no longer."""
    clock, begun, go = DeviceClock(), Event(), Event()

    def work(_: Batch) -> None:
        begun.set()
        go.wait(SECONDS)

    with suppress(SystemExit), threads(work, clock).open() as forward:
        forward.run(batch(0), entering=lambda _: None)
        assert begun.wait(SECONDS)
        raise SystemExit
    clock_of_time.now += 3
    lap = clock.lap()
    go.set()
    assert lap.model_dump() == {"busy": 3.0, "loading": 0.0, "storing": 0.0}


def test_a_thread_that_waits_beside_a_pass_costs_nothing(clock_of_time: Clock) -> None:
    """One pass at a time: four seconds of it, one thread without a batch; then one of uploads that hold both up."""
    clock, begun, go, stored = DeviceClock(), Event(), Event(), Event()

    def work(_: Batch) -> None:
        with forward.turn():
            begun.set()
            assert go.wait(SECONDS)
        with clock.waiting("storing"):
            begun.set()
            assert stored.wait(SECONDS)

    with threads(work, clock, passes=1).open() as forward:
        forward.run(batch(0), entering=lambda _: None)
        assert begun.wait(SECONDS)
        begun.clear()
        clock_of_time.now += 4
        go.set()
        assert begun.wait(SECONDS)
        clock_of_time.now += 1
        stored.set()
        forward.finish()
    assert clock.lap().model_dump() == {"busy": 4.0, "loading": 0.0, "storing": 1.0}


def test_what_is_neither_a_pass_nor_a_wait_is_work(clock_of_time: Clock) -> None:
    clock = DeviceClock()
    clock_of_time.now += 3
    with clock.working():
        clock_of_time.now += 2
    assert clock.lap().model_dump() == {"busy": 5.0, "loading": 0.0, "storing": 0.0}


def test_a_wait_that_goes_on_is_in_each_lap_by_its_part(clock_of_time: Clock) -> None:
    clock = DeviceClock()
    with clock.waiting("loading"):
        clock_of_time.now += 3
        assert clock.lap().loading == 3.0
        clock_of_time.now += 1
    assert clock.lap().model_dump() == {"busy": 0.0, "loading": 1.0, "storing": 0.0}


def test_a_shard_that_ends_right_after_another_has_the_time_in_between(clock_of_time: Clock) -> None:
    clock = DeviceClock()
    clock_of_time.now += 0.0002
    assert clock.lap().total == pytest.approx(0.0002)
