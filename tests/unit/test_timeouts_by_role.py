"""Sweeps of connections whose roles have timeouts of their own, and the guard over them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from hangup.core.connection import Connection, DurationMs, EpochMs
from hangup.core.policy import IdlePolicy
from hangup.core.recording import RecordingByTimeout
from hangup.testing import START_MS
from tests.support.idle_world import World
from tests.support.precise_world import PreciseWorld

POLICY = IdlePolicy(
    idle_timeout_ms=DurationMs(120_000),
    activity_resolution_ms=DurationMs(0),
    by_role={"speaker": DurationMs(300_000), "listener": DurationMs(80_000)},
)
SPEAKERS_MS, LISTENERS_MS, OTHERS_MS = DurationMs(300_000), DurationMs(80_000), DurationMs(120_000)


def give_timeouts(world: World) -> None:
    """Let the roles of this world have timeouts of their own."""
    world.sweep = replace(
        world.sweep, policy=POLICY, watch=replace(world.sweep.watch, policy=POLICY)
    )


@pytest.fixture
def world() -> World:
    world = World()
    give_timeouts(world)
    return world


def seen_active(world: World, connection_id: str, *, ago_s: float) -> None:
    world.gateway.active_ms[connection_id] = EpochMs(world.clock.now_ms() - round(ago_s * 1000))


class TestSweep:
    def test_closes_each_role_by_its_own_timeout(self, world: World) -> None:
        for role, timeout_s in (("speaker", 300), ("listener", 80), ("admin", 120), (None, 120)):
            world.connect(f"{role}-stays", silent_s=timeout_s, role=role)
            world.connect(f"{role}-goes", silent_s=timeout_s + 0.001, role=role)
        counts = world.run()
        assert counts["closed"] == counts["idle"] == 4
        assert sorted(world.gateway.open_ids) == [
            "None-stays",
            "admin-stays",
            "listener-stays",
            "speaker-stays",
        ]
        assert [notice["idleSeconds"] for notice in world.gateway.sent["speaker-goes"]] == [300]
        assert [notice["idleSeconds"] for notice in world.gateway.sent["listener-goes"]] == [80]

    def test_asks_nothing_about_what_the_filter_returns_too_soon(self, world: World) -> None:
        world.connect("c1", silent_s=299, role="speaker")
        (page,) = world.connections.scan_candidates(
            cutoff_ms=POLICY.cutoff_ms(world.clock.now_ms()),
            now_ms=world.clock.now_ms(),
            segment=0,
            total_segments=1,
        )
        assert [one.connection_id for one in page.candidates] == ["c1"]
        calls: list[str] = []
        world.faults.before = lambda operation, _key: calls.append(operation)
        assert world.run()["idle"] == 0
        assert "Scan" in calls
        assert not {"GetConnection", "UpdateItem"} & set(calls)

    @pytest.mark.parametrize(("role", "is_closed"), [("listener", True), ("speaker", False)])
    def test_api_gateway_s_account_is_judged_by_the_same_timeout(
        self, world: World, role: str, *, is_closed: bool
    ) -> None:
        world.connect("c1", silent_s=301, role=role)
        seen_active(world, "c1", ago_s=100)
        world.run()
        assert (world.gateway.open_ids == set()) == is_closed

    def test_a_control_group_has_only_those_that_are_not_idle_by_their_own_timeout(
        self, world: World
    ) -> None:
        # Gone, all of them. Speakers that are not idle yet show that this is another table.
        for n in range(3):
            world.connect(f"s{n}", silent_s=200, role="speaker")
        world.connect("l1", silent_s=100, role="listener")
        world.gateway.open_ids.clear()
        assert world.run()["held"] is not None
        assert world.record_of("l1") is not None

    def test_fakes_take_timeouts_by_role(self) -> None:
        world = World()
        world.connect("c1", silent_s=100, role="listener")
        world.connect("c2", silent_s=130, role="speaker")
        world.run_sweep(idle_timeouts_by_role_s={"listener": 99, "speaker": 131})
        assert world.gateway.open_ids == {"c2"}


class TestQueue:
    def test_schedules_each_close_for_its_own_deadline(self) -> None:
        world = PreciseWorld()
        give_timeouts(world)
        world.connect("listener", silent_s=60, role="listener")
        world.connect("speaker", silent_s=280, role="speaker")
        world.connect("later", silent_s=200, role="speaker")
        assert world.run()["queued"] == 2
        for _ in range(19):
            world.clock.advance(seconds=1)
            world.deliver()
        assert world.gateway.open_ids == {"listener", "speaker", "later"}
        world.clock.advance(seconds=1)
        world.deliver()
        assert world.gateway.open_ids == {"later"}
        assert world.metrics.values_ms("CloseLateness") == [1, 1]

    def test_a_client_that_was_active_a_moment_later_is_closed_by_its_own_timeout(self) -> None:
        world = PreciseWorld()
        give_timeouts(world)
        world.connect("c1", silent_s=80.5, role="listener")
        # A second after the record, by API Gateway's account: idle half a second from now.
        seen_active(world, "c1", ago_s=79.5)
        world.run()
        idle_ms = world.clock.now_ms() + 501
        world.deliver()
        assert world.gateway.open_ids == set()
        assert world.clock.now_ms() == idle_ms


def fleet(role: str, ages_s: Sequence[float], *, at_s: float = 0) -> list[Connection]:
    return [
        Connection(
            connection_id=f"{role}{n}",
            role=role,
            connected_at_ms=EpochMs(START_MS - 86_400_000),
            last_activity_ms=EpochMs(round(START_MS + (at_s - age_s) * 1000)),
        )
        for n, age_s in enumerate(ages_s)
    ]


def wells(records: Sequence[Connection]) -> dict[DurationMs, bool]:
    """Return whether all is well, by timeout, for who has watched a healthy fleet until now."""
    health = RecordingByTimeout()
    for before_s in range(480, 0, -60):
        listeners = fleet("listener", range(70), at_s=-before_s)
        speakers = fleet("speaker", range(0, 270, 3), at_s=-before_s)
        health.watch([*listeners, *speakers], POLICY, EpochMs(START_MS - before_s * 1000))
    health.watch(records, POLICY, START_MS)
    return {ms: health.is_well(POLICY, START_MS, ms) for ms in POLICY.timeouts_ms}


class TestGuard:
    def test_knows_nothing_before_it_has_watched(self) -> None:
        assert not RecordingByTimeout().is_well(POLICY, START_MS, SPEAKERS_MS)

    def test_a_young_process_knows_enough_for_the_shorter_timeout_first(self) -> None:
        health = RecordingByTimeout()
        records = [*fleet("listener", range(70)), *fleet("speaker", range(0, 270, 3))]
        health.watch(records, POLICY, EpochMs(START_MS - 140_000))
        health.watch(records, POLICY, START_MS)
        assert health.is_well(POLICY, START_MS, LISTENERS_MS)
        assert not health.is_well(POLICY, START_MS, SPEAKERS_MS)

    def test_is_well_where_each_role_sends_within_its_own_timeout(self) -> None:
        records = [*fleet("listener", range(70)), *fleet("speaker", range(0, 270, 3))]
        assert wells(records) == {SPEAKERS_MS: True, LISTENERS_MS: True, OTHERS_MS: True}

    def test_a_role_that_never_sends_holds_the_closes_of_no_other(self) -> None:
        silent = [replace(one, last_activity_ms=None) for one in fleet("speaker", [0] * 20)]
        assert wells([*fleet("listener", range(70)), *silent]) == {
            SPEAKERS_MS: False,
            LISTENERS_MS: True,
            OTHERS_MS: True,
        }

    @pytest.mark.parametrize("speakers", [0, 1, 14])
    def test_few_are_judged_by_everybody_s_records(self, speakers: int) -> None:
        few = fleet("speaker", range(10, 10 + speakers))
        assert wells([*fleet("listener", range(70)), *few])[SPEAKERS_MS]
        # A quarter of the listeners' timeout, a fifteenth of the speakers'.
        few = fleet("speaker", range(30, 30 + speakers))
        assert not wells([*fleet("listener", range(21, 91)), *few])[SPEAKERS_MS]

    @pytest.mark.parametrize(("pause_s", "well"), [(7.9, True), (8.1, False)])
    def test_few_with_the_shorter_timeout_are_held_in_a_short_pause_of_everybody(
        self, pause_s: float, *, well: bool
    ) -> None:
        others = fleet("speaker", [pause_s + n for n in range(250)])
        assert wells([*others, *fleet("listener", [30])])[LISTENERS_MS] == well

    def test_that_all_speak_together_is_not_a_pause(self) -> None:
        together = fleet("speaker", [50 + n / 100 for n in range(200)])
        assert wells([*together, *fleet("listener", [50])])[LISTENERS_MS]

    def test_nobody_on_time_is_an_outage_even_where_all_speak_together(self) -> None:
        together = fleet("speaker", [73 + n / 100 for n in range(200)])
        assert not wells([*together, *fleet("listener", [73])])[LISTENERS_MS]

    @pytest.mark.parametrize(
        ("gap_s", "well"),
        [
            pytest.param(33, False, id="longer than two fifths of the shortest timeout"),
            pytest.param(31, True, id="shorter"),
        ],
    )
    def test_an_outage_that_is_over_shows_as_a_gap(self, gap_s: float, *, well: bool) -> None:
        since = [0.0, 2.0, 4.0]
        before = [4 + gap_s + n for n in range(100)]
        assert (
            wells([*fleet("speaker", since + before), *fleet("listener", [3])])[LISTENERS_MS]
            == well
        )

    def test_a_gap_before_which_few_sent_is_chance(self) -> None:
        ages = [*range(40), *[80 + n for n in range(9)]]
        assert wells([*fleet("speaker", ages), *fleet("listener", [3])])[LISTENERS_MS]

    def test_in_a_small_fleet_each_age_is_a_share_of_its_own_timeout(self) -> None:
        on_time = [*fleet("listener", [10, 70]), *fleet("speaker", [100, 200, 260])]
        assert all(wells(on_time).values())
        late = [*fleet("listener", [75, 79]), *fleet("speaker", [275, 290, 299])]
        assert not any(wells(late).values())

    def test_in_a_small_fleet_where_nobody_ever_sent_all_are_held(self) -> None:
        small = [*fleet("listener", [0, 0]), *fleet("speaker", [0, 0, 0])]
        assert not any(wells([replace(one, last_activity_ms=None) for one in small]).values())

    def test_nobody_who_ever_sent_is_an_outage(self) -> None:
        never = [replace(one, last_activity_ms=None) for one in fleet("speaker", [0] * 20)]
        assert not wells([*never, *fleet("listener", [])])[LISTENERS_MS]
