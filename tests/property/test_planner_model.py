"""How late closes are, whatever the fleet: within bounds that follow from the mechanism."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hangup.planner.fleet import Fleet
from hangup.planner.model import Percentiles, estimate_sweep, inline_lateness_s, simulate_queue

FLEETS = st.builds(
    Fleet,
    connections=st.integers(1, 10**7),
    heartbeat_s=st.floats(0.1, 39),
    idle_timeout_s=st.integers(40, 300),
    idle_share=st.floats(0, 1),
    lifetime_s=st.floats(300, 7_200),
    sweep_interval_s=st.sampled_from([30, 60]),
    activity_resolution_s=st.integers(0, 39),
    closes_per_second=st.integers(0, 1_000),
    page_latency_ms=st.floats(0.1, 5_000),
    close_cpu_ms=st.floats(0.01, 20),
)
CALLS_S = 0.04


def in_order(late_s: Percentiles) -> bool:
    percentiles = [seconds for name, seconds in late_s.items() if name != "mean"]
    return percentiles == sorted(percentiles) and late_s["mean"] <= late_s["max"] + 1e-9


@given(fleet=FLEETS)
def test_a_sweep_closes_after_the_deadline_and_within_an_interval_and_a_sweep(
    fleet: Fleet,
) -> None:
    sweep = estimate_sweep(fleet)
    late_s = inline_lateness_s(fleet, sweep)
    assert (late_s is not None) == sweep.fits
    if late_s is not None:
        assert in_order(late_s)
        assert late_s["p50"] >= fleet.sweep_interval_s / 2 - 0.1
        assert late_s["max"] == fleet.sweep_interval_s + sweep.duration_s


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(fleet=FLEETS)
def test_a_queue_closes_after_the_deadline_and_the_calls(fleet: Fleet) -> None:
    precise = replace(fleet, precise=True)
    sweep = estimate_sweep(precise)
    queue = simulate_queue(precise, sweep)
    assert (queue.late_s is not None) == (queue.keeps_up and sweep.fits)
    assert 1 <= queue.batch <= 10
    assert queue == simulate_queue(precise, sweep)
    if queue.late_s is not None:
        assert in_order(queue.late_s)
        assert queue.late_s["p50"] >= CALLS_S - 1e-6
        # Billed: at least the calls; at most a wait of a second and a full batch.
        full_s = 10 * queue.functions / queue.per_second_at_most
        assert CALLS_S - 1e-6 <= queue.batch_s <= 1 + full_s
