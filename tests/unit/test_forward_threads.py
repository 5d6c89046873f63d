"""Batches that run through one model side by side."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from threading import Barrier, Event
from types import SimpleNamespace

import pytest
import torch
from transformers import SegformerForSemanticSegmentation

from maskmill.schema import Reference
from maskmill_worker.model.fastest import runs_side_by_side
from maskmill_worker.model.sample import Sample, Task
from maskmill_worker.process.clock import DeviceClock
from maskmill_worker.shards.forward_threads import SWITCH_SECONDS, Batch, ForwardThreads, images_each, thread_count
from tests.torch_threads import torch_threads

SECONDS = 20
"""Longer than any of these takes."""

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


def threads(work: Work, clock: DeviceClock | None = None) -> ForwardThreads:
    return ForwardThreads(work, 2, clock or DeviceClock())


def segmenter(*, side_by_side: bool) -> SimpleNamespace:
    return SimpleNamespace(side_by_side=side_by_side)


@pytest.mark.parametrize(
    ("side_by_side", "asked", "count"), [(True, None, 2), (True, 3, 3), (True, 9, 4), (True, 1, 1), (False, 3, 1)]
)
def test_a_model_runs_side_by_side_if_it_can_in_no_more_threads_than_torch_has(
    side_by_side: bool, asked: int | None, count: int
) -> None:
    assert thread_count(segmenter(side_by_side=side_by_side), asked) == count


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


def test_threads_share_a_heavy_batch_and_each_takes_a_whole_light_one() -> None:
    light, heavy = 2**21 // 4, 2**21 // 4 + 1
    assert images_each(4, light, 2) == 4
    assert [images_each(4, heavy, threads) for threads in (1, 2, 3, 8)] == [4, 2, 2, 1]


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


@pytest.mark.parametrize(("count", "seconds"), [(2, SWITCH_SECONDS), (1, sys.getswitchinterval())])
def test_other_threads_let_go_of_pythons_lock_sooner_while_several_run(count: int, seconds: float) -> None:
    before = sys.getswitchinterval()
    with ForwardThreads(lambda _: None, count, DeviceClock()).open():
        assert sys.getswitchinterval() == pytest.approx(seconds)
    assert sys.getswitchinterval() == before


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


def test_the_clock_hears_for_how_much_of_the_time_no_batch_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads in ten seconds: one waits two and works eight, the other waits six and works four."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock, begun, go = DeviceClock(), [Event(), Event()], Event()

    def work(samples: Batch) -> None:
        begun[samples[0].task.index].set()
        assert go.wait(SECONDS)

    with threads(work, clock).open() as forward:
        for index, at in enumerate((102.0, 106.0)):
            now[0] = at
            forward.run(batch(index), entering=lambda _: None)
            assert begun[index].wait(SECONDS)
        now[0] = 110.0
        go.set()
        forward.finish()
    assert clock.lap().model_dump() == {"busy": 6.0, "loading": 4.0, "storing": 0.0}


def test_a_shard_that_ends_right_after_another_has_the_time_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = DeviceClock()
    now[0] += 0.0002
    assert clock.lap().total == pytest.approx(0.0002)
