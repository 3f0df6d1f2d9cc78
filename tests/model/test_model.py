"""The invariants of the design under races, faults and floods."""

import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from hangup.core.connection import DurationMs
from hangup.core.guard import Activity
from hangup.core.hand_over import HandOver
from hangup.testing import Faults
from tests.model.machine import ConnectionsMachine
from tests.model.mutants import MUTANTS
from tests.model.precise import PreciseMachine
from tests.model.stores import DynamoDbStores, StateTableStores, Stores
from tests.model.world import POLICY, Violation, World
from tests.support.documents import page
from tests.support.engines import ENGINES
from tests.support.stores import DynamoDbStore

pytestmark = pytest.mark.slow

SCHEDULES = int(os.environ.get("HANGUP_SCHEDULES", "500"))
ON_TABLES = max(20, SCHEDULES // 500)


def model_settings(schedules: int, *, steps: int = 30) -> settings:
    """Return settings for so many schedules: the same ones every time, unless it is a soak."""
    return settings(
        max_examples=schedules,
        stateful_step_count=steps,
        derandomize="HANGUP_SCHEDULES" not in os.environ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def test_the_invariants_hold_in_memory() -> None:
    run_state_machine_as_test(ConnectionsMachine, settings=model_settings(SCHEDULES))


def test_the_invariants_hold_with_a_queue() -> None:
    run_state_machine_as_test(PreciseMachine, settings=model_settings(SCHEDULES))


@pytest.mark.parametrize("machine", [ConnectionsMachine, PreciseMachine])
def test_the_invariants_hold_with_a_state_table(machine: type[ConnectionsMachine]) -> None:
    class StateTable(machine):  # type: ignore[misc, valid-type]
        def make_stores(self, faults: Faults) -> Stores:
            return StateTableStores(faults)

    run_state_machine_as_test(StateTable, settings=model_settings(SCHEDULES // 5))


@pytest.mark.parametrize("machine", [ConnectionsMachine, PreciseMachine])
def test_the_invariants_hold_where_the_handler_is_called_only_for_what_is_left(
    machine: type[ConnectionsMachine],
) -> None:
    class IfLeft(machine):  # type: ignore[misc, valid-type]
        def make_world(self) -> World:
            world: World = super().make_world()
            world.hand_over = HandOver.IF_LEFT
            return world

    run_state_machine_as_test(IfLeft, settings=model_settings(SCHEDULES // 2))


@pytest.mark.parametrize("machine", [ConnectionsMachine, PreciseMachine])
def test_the_invariants_hold_with_a_timeout_of_each_role(
    machine: type[ConnectionsMachine],
) -> None:
    class ByRole(machine):  # type: ignore[misc, valid-type]
        def make_world(self) -> World:
            world: World = super().make_world()
            # A sweep comes before each deadline, and each is over when the model has settled.
            by_role = {"speaker": DurationMs(180_000), "listener": DurationMs(80_000)}
            world.policy = replace(POLICY, by_role=by_role)
            return world

    run_state_machine_as_test(ByRole, settings=model_settings(SCHEDULES // 4))


@pytest.mark.parametrize("machine", [ConnectionsMachine, PreciseMachine])
def test_the_invariants_hold_where_api_gateway_says_who_is_active(
    machine: type[ConnectionsMachine],
) -> None:
    class ByGateway(machine):  # type: ignore[misc, valid-type]
        def make_world(self) -> World:
            world: World = super().make_world()
            world.activity = Activity.GATEWAY
            return world

    run_state_machine_as_test(ByGateway, settings=model_settings(SCHEDULES // 2))


@pytest.mark.parametrize("machine", [ConnectionsMachine, PreciseMachine])
def test_the_invariants_hold_with_all_of_these_together(machine: type[ConnectionsMachine]) -> None:
    class Together(machine):  # type: ignore[misc, valid-type]
        def make_stores(self, faults: Faults) -> Stores:
            return StateTableStores(faults)

        def make_world(self) -> World:
            world: World = super().make_world()
            world.activity, world.hand_over = Activity.GATEWAY, HandOver.IF_LEFT
            by_role = {"speaker": DurationMs(180_000), "listener": DurationMs(80_000)}
            world.policy = replace(POLICY, by_role=by_role)
            return world

    run_state_machine_as_test(Together, settings=model_settings(SCHEDULES // 10))


def test_the_page_about_reliability_counts_all_mutants() -> None:
    said = f"mutants | {len(MUTANTS)} of {len(MUTANTS)} caught |"
    assert said in page("explanation/reliability")


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    # Without shrinking: that there is a counterexample is enough.
    hunt = settings(model_settings(8_000), phases=[Phase.generate])
    with pytest.raises(Violation):
        run_state_machine_as_test(MUTANTS[name], settings=hunt)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_invariants_hold_on_a_real_engine(engine: str, request: pytest.FixtureRequest) -> None:
    tables = DynamoDbStore(request.getfixturevalue(engine))

    class OnTables(ConnectionsMachine):
        def make_stores(self, faults: Faults) -> Stores:
            stores = DynamoDbStores(
                tables.client, faults, (tables.connections_table, tables.sessions_table)
            )
            stores.clear()
            return stores

    # Every call is a request here: as many schedules as fit into half a minute.
    few = settings(model_settings(ON_TABLES), phases=[Phase.generate])
    try:
        run_state_machine_as_test(OnTables, settings=few)
    finally:
        tables.drop()
