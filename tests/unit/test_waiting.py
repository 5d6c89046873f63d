"""How often a waiting client looks at its job."""

from __future__ import annotations

import pytest

from maskmill.watch import until_next_look


@pytest.mark.parametrize("waited", [2.0, 10.0, 30.0, 50.0])
def test_a_wait_lasts_a_hundredth_longer_than_its_job(waited: float) -> None:
    assert until_next_look(waited) == pytest.approx(waited / 100)


def test_short_and_long_jobs_cost_the_broker_a_bounded_number_of_questions() -> None:
    assert until_next_look(0) == 0.02
    assert until_next_look(86_400) == 0.5
