"""What becomes of a record after a close: the four rules."""

import pytest

from hangup.config import TimeoutSettings
from hangup.core.connection import DurationMs
from hangup.core.events import parse_disconnect
from hangup.core.hand_over import HandOver
from hangup.core.report import SweepReport
from hangup.errors import ConfigurationError, SweepFailed
from hangup.testing import FakeAws

ENVIRONMENT = {
    "API_GATEWAY_ENDPOINT": "https://a1b2c3.execute-api.us-east-1.amazonaws.com/prod",
    "CONNECTIONS_TABLE": "connections",
}


class Stack:
    """A world with one client that has fallen silent, swept under a rule."""

    def __init__(self, rule: HandOver) -> None:
        self.aws = FakeAws()
        functions = self.aws.functions if rule.calls_handler else None
        closer = self.aws.make_closer(hand_over=rule, functions=functions)
        self.sweeper = self.aws.make_sweep(closer=closer)
        self.aws.add_connection("c1=")
        self.aws.clock.advance(seconds=121)

    def sweep(self, *, after_s: int = 0) -> SweepReport:
        self.aws.clock.advance(seconds=after_s)
        return self.sweeper.check_and_close_idle_connections(
            time_left_ms=lambda: DurationMs(60_000), correlation_id="sweep"
        )

    @property
    def is_open(self) -> bool:
        return "c1=" in self.aws.gateway.open_ids

    @property
    def calls(self) -> int:
        return len(self.aws.functions.events)

    @property
    def is_on_record(self) -> bool:
        return self.aws.record_of("c1=") is not None


def test_always_calls_the_handler_at_once() -> None:
    stack = Stack(HandOver.ALWAYS)
    assert stack.sweep().closes.closed == 1
    assert (stack.is_open, stack.calls, stack.is_on_record) == (False, 1, True)


def test_if_left_gives_api_gateways_own_event_a_minute() -> None:
    stack = Stack(HandOver.IF_LEFT)
    stack.sweep()
    assert (stack.is_open, stack.calls) == (False, 0)
    stack.sweep(after_s=59)
    assert stack.calls == 0


def test_if_left_calls_the_handler_where_the_record_stays() -> None:
    stack = Stack(HandOver.IF_LEFT)
    first = stack.sweep()
    second = stack.sweep(after_s=60)
    assert stack.calls == 1
    event = stack.aws.functions.events[0]
    assert parse_disconnect(event) == "c1="
    # Counted once, and its first call is not a repeated one.
    assert (first.closes.closed, second.closes.closed, second.closes.gone) == (1, 0, 0)
    assert second.closes.handovers_repeated == 0


def test_if_left_calls_nobody_where_the_event_cleaned_up() -> None:
    stack = Stack(HandOver.IF_LEFT)
    stack.sweep()
    del stack.aws.connections.records["c1="]
    for _ in range(5):
        stack.sweep(after_s=60)
    assert stack.calls == 0


def test_if_left_waits_for_the_event_of_a_client_that_left_by_itself() -> None:
    stack = Stack(HandOver.IF_LEFT)
    stack.aws.gateway.open_ids.clear()
    stack.sweep()
    assert stack.calls == 0
    stack.sweep(after_s=60)
    assert stack.calls == 1


def test_if_left_calls_again_later_and_later() -> None:
    stack = Stack(HandOver.IF_LEFT)
    stack.sweep()
    minutes: list[int] = []
    for minute in range(1, 40):
        stack.sweep(after_s=60)
        if stack.calls > len(minutes):
            minutes.append(minute)
    assert minutes == [1, 3, 7, 15, 31]


def test_if_left_rings_at_the_third_call_as_always_does() -> None:
    for rule in (HandOver.ALWAYS, HandOver.IF_LEFT):
        stack = Stack(rule)
        calls_at_repeats = [
            stack.calls for _ in range(40) if stack.sweep(after_s=60).closes.handovers_repeated
        ]
        assert calls_at_repeats == list(range(3, stack.calls + 1)), rule
        assert len(calls_at_repeats) > 1, rule


@pytest.mark.parametrize(
    ("rule", "calls"),
    [
        (HandOver.ALWAYS, [1, 1]),
        (HandOver.IF_LEFT, [0, 1]),
        (HandOver.DELETE, [0]),
        (HandOver.NEVER, [0, 0]),
    ],
)
def test_the_log_says_what_became_of_those_that_had_left(rule: HandOver, calls: list[int]) -> None:
    stack = Stack(rule)
    stack.aws.gateway.open_ids.clear()
    stack.sweep()
    stack.sweep(after_s=60)
    lines = [
        (fields["handOver"], fields["handlerCalls"])
        for _, event, fields in stack.aws.log.lines
        if event == "found idle connections that had left"
    ]
    assert lines == [(rule, number) for number in calls]
    assert stack.calls == sum(calls)


def test_delete_removes_the_record_and_calls_nobody() -> None:
    stack = Stack(HandOver.DELETE)
    assert stack.sweep().closes.closed == 1
    assert (stack.is_open, stack.calls, stack.is_on_record) == (False, 0, False)


def test_delete_removes_a_ghosts_record() -> None:
    stack = Stack(HandOver.DELETE)
    stack.aws.gateway.open_ids.clear()
    stack.sweep()
    assert not stack.is_on_record


def test_a_delete_that_fails_is_made_by_the_next_sweep_without_a_second_notice() -> None:
    stack = Stack(HandOver.DELETE)
    stack.aws.faults.fail("DeleteItem")
    with pytest.raises(SweepFailed, match="left 1 of 1 idle"):
        stack.sweep()
    stack.sweep(after_s=60)
    assert stack.aws.connections.records == {}
    assert len(stack.aws.gateway.sent["c1="]) == 1


def test_never_leaves_the_record_and_rings_no_alarm() -> None:
    stack = Stack(HandOver.NEVER)
    reports = [stack.sweep(after_s=60) for _ in range(20)]
    assert (stack.is_open, stack.calls, stack.is_on_record) == (False, 0, True)
    assert sum(report.closes.closed for report in reports) == 1
    assert all(report.closes.handovers_repeated == 0 for report in reports)


@pytest.mark.parametrize("rule", HandOver)
def test_a_handler_is_required_where_the_rule_calls_it(rule: HandOver) -> None:
    environment = {**ENVIRONMENT, "HAND_OVER": rule}
    if rule.calls_handler:
        with pytest.raises(ConfigurationError, match="DISCONNECT_HANDLER_FUNCTION is not set"):
            TimeoutSettings.from_env(environment)
    else:
        assert TimeoutSettings.from_env(environment).disconnect_function is None


def test_a_rule_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="HAND_OVER must be always, if_left, delete or"):
        TimeoutSettings.from_env({**ENVIRONMENT, "HAND_OVER": "sometimes"})
