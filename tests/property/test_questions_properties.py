"""``ACTIVITY`` = ``gateway``: whenever clients speak and sweeps come, who is there stays."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hangup.core.connection import Connection
from hangup.testing import START_MS, FakeAws

TIMEOUT_S = 120

gaps = st.lists(st.integers(1, TIMEOUT_S), min_size=20, max_size=60)
"""Between two messages of a client, in seconds; silent for exactly the timeout is not idle."""
waits = st.lists(st.integers(20, 130), min_size=5, max_size=40)
"""Between two sweeps, in seconds: some come late, or not at all."""


@given(gaps=gaps, waits=waits, has_time=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_client_that_speaks_within_each_timeout_stays_and_is_asked_about_when_it_is_due(
    gaps: list[int], waits: list[int], *, has_time: bool
) -> None:
    world = FakeAws()
    world.activity = "gateway"
    world.add_connection("c1")
    if not has_time:
        world.connections.put(Connection(connection_id="c1"))
    asked_ms: list[int] = []

    def note(operation: str, _key: str) -> None:
        if operation == "GetConnection":
            asked_ms.append(world.clock.ms)

    world.faults.before = note
    sweeps = {sum(waits[: n + 1]) for n in range(len(waits))}
    spoken = {sum(gaps[: n + 1]) for n in range(len(gaps))}
    told_ms = [START_MS]
    for second in range(1, min(max(sweeps), max(spoken)) + 1):
        world.clock.advance(seconds=1)
        if second in spoken:
            world.gateway.active_ms["c1"] = world.clock.now_ms()
        if second in sweeps:
            before = len(asked_ms)
            world.run_sweep(idle_timeout_s=TIMEOUT_S)
            if len(asked_ms) > before:
                told_ms.append(world.gateway.active_ms["c1"])
                assert len(asked_ms) == before + 1
    assert world.gateway.open_ids == {"c1"}
    assert world.gateway.sent == {}
    # The first is asked of a record without a time at once.
    for at_ms, known_ms in list(zip(asked_ms, told_ms, strict=False))[1:]:
        assert at_ms > known_ms + TIMEOUT_S * 1000
    for first, third in zip(asked_ms[1:], asked_ms[3:], strict=False):
        assert third - first > TIMEOUT_S * 1000
